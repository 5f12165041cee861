//! Material as Envoy's secrets, each with a version.

use diolkos_trust_client::Material;
use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret, TlsCertificate, secret::Type,
};
use envoy_types::pb::google::protobuf::Any;
use prost::{Message as _, Name as _};

/// Istio's names, which every cluster and listener asks for.
pub(crate) const DEFAULT: &str = "default";
pub(crate) const ROOTS: &str = "ROOTCA";

/// One secret as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Versioned {
    pub(crate) name: &'static str,
    pub(crate) version: String,
    pub(crate) body: Any,
}

/// The two, or none yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Secrets(Vec<Versioned>);

impl Secrets {
    /// Versions count from the secrets before. Roots that are the same stay the same version, so
    /// that a renewal does not touch those who verify.
    pub(crate) fn after(before: &Self, material: Option<&Material>) -> Self {
        let Some(material) = material else { return Self::default() };
        let secrets = [(DEFAULT, certificate(material)), (ROOTS, roots(material))];
        let next = |(name, secret): (&'static str, Secret)| {
            let body = Any { type_url: Secret::type_url(), value: secret.encode_to_vec() };
            match before.get(name) {
                Some(same) if same.body == body => same.clone(),
                known => {
                    let last = known.and_then(|known| known.version.parse::<u64>().ok());
                    let version = (last.unwrap_or(0) + 1).to_string();
                    Versioned { name, version, body }
                }
            }
        };
        Self(secrets.into_iter().map(next).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Versioned> {
        self.0.iter().find(|secret| secret.name == name)
    }
}

fn certificate(material: &Material) -> Secret {
    secret(
        DEFAULT,
        Type::TlsCertificate(TlsCertificate {
            certificate_chain: inline(&material.chain_pem),
            private_key: inline(&material.key_pem),
            ..TlsCertificate::default()
        }),
    )
}

fn roots(material: &Material) -> Secret {
    secret(
        ROOTS,
        Type::ValidationContext(CertificateValidationContext {
            trusted_ca: inline(&material.roots_pem),
            ..CertificateValidationContext::default()
        }),
    )
}

fn secret(name: &str, r#type: Type) -> Secret {
    Secret { name: name.into(), r#type: Some(r#type) }
}

fn inline(pem: &str) -> Option<DataSource> {
    let specifier = Some(Specifier::InlineBytes(pem.as_bytes().to_vec()));
    Some(DataSource { specifier, ..DataSource::default() })
}
