//! Keys, certificates and tokens of one cluster. They live as long as the topology.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diolkos_kind_plan::{ClusterPlan, USERS};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::state::write_private;

const TOKEN_BYTES: usize = 32;

/// What `${CLUSTER/...}` stands for in a plan's files.
#[derive(Clone, Debug)]
pub(crate) struct Secrets {
    of: BTreeMap<String, String>,
    /// PEM of the API server's CA.
    pub(crate) ca: String,
    pub(crate) admin: String,
}

impl Secrets {
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.of.get(name).cloned()
    }

    /// Makes them, and writes those that programs read as files of their own.
    pub(crate) fn make(plan: &ClusterPlan) -> anyhow::Result<Self> {
        let name = plan.name.as_str();
        let pki = Path::new(&plan.folder).join("pki");
        let write = |file: &str, text: &str| write_private(&pki.join(file), text.as_bytes());
        let ca_key = KeyPair::generate()?;
        let ca = authority(name)?;
        let certificate = ca.self_signed(&ca_key)?;
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate()?;
        let leaf = serving(&plan.serving.dns, &plan.serving.ips)?.signed_by(&key, &issuer)?;
        write("ca.crt", &certificate.pem())?;
        write("apiserver.crt", &format!("{}{}", leaf.pem(), certificate.pem()))?;
        write("apiserver.key", &key.serialize_pem())?;
        let service_accounts = KeyPair::generate()?;
        write("sa.key", &service_accounts.serialize_pem())?;
        write("sa.pub", &service_accounts.public_key_pem())?;
        let mut of = BTreeMap::new();
        for (user, ..) in USERS {
            of.insert(format!("{name}/token:{user}"), token());
        }
        let ca = certificate.pem();
        of.insert(format!("{name}/base64:pki/ca.crt"), STANDARD.encode(&ca));
        let admin = of.get(&format!("{name}/token:admin")).cloned().context("no admin")?;
        Ok(Self { of, ca, admin })
    }
}

fn token() -> String {
    let bytes: [u8; TOKEN_BYTES] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn authority(cluster: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("{cluster} API server CA"));
    valid(&mut params);
    Ok(params)
}

fn serving(dns: &[String], ips: &[IpAddr]) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(dns.to_vec())?;
    params.subject_alt_names.extend(ips.iter().map(|ip| SanType::IpAddress(*ip)));
    params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    valid(&mut params);
    Ok(params)
}

/// From an hour ago, for clocks that differ, for a month: no topology is up for that long.
fn valid(params: &mut CertificateParams) {
    let now = time::OffsetDateTime::now_utc();
    params.not_before = now - time::Duration::hours(1);
    params.not_after = now + time::Duration::days(30);
}
