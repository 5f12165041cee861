//! TLS to an API server, as a kubeconfig says it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::Config;
use kube::config::AuthInfo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::ExposeSecret;

/// Where systems keep the roots that they trust, for servers whose kubeconfig names none.
const SYSTEM_ROOTS: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

pub(super) fn config(config: &Config) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(config)?);
    match identity(&config.auth_info)? {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).context("its client certificate")
        }
    }
}

fn roots(config: &Config) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let Some(said) = &config.root_cert else {
        let system = std::env::var("SSL_CERT_FILE").ok();
        let candidates = system.iter().map(String::as_str).chain(SYSTEM_ROOTS);
        let pem = candidates.into_iter().find_map(|path| std::fs::read(path).ok());
        let pem = pem.context(
            "it names no certificate authority, and this system has no file of roots; give \
             certificate-authority-data, or SSL_CERT_FILE",
        )?;
        // One that cannot be read is not trusted; the others are.
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
        return Ok(roots);
    };
    for der in said {
        roots.add(CertificateDer::from(der.clone())).context("its certificate authority")?;
    }
    Ok(roots)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(auth: &AuthInfo) -> anyhow::Result<Option<Identity>> {
    let said = auth.client_certificate_data.as_deref();
    let chain = content(said, auth.client_certificate.as_deref());
    let key = auth.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let key = content(key, auth.client_key.as_deref());
    let chain = chain.context("its client certificate")?;
    let key = key.context("its client key")?;
    match (chain, key) {
        (None, None) => Ok(None),
        (Some(chain), Some(key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(&chain)
                .collect::<Result<_, _>>()
                .map_err(|_| anyhow!("its client certificate is no PEM"))?;
            let key = PrivateKeyDer::from_pem_slice(&key);
            let key = key.map_err(|_| anyhow!("its client key is no PEM that holds a key"))?;
            Ok(Some((chain, key)))
        }
        _ => bail!("it has half of a client certificate; give certificate and key"),
    }
}

/// What stands in the kubeconfig, else in the file that it names.
fn content(data: Option<&str>, file: Option<&str>) -> anyhow::Result<Option<Vec<u8>>> {
    match (data, file) {
        (Some(data), _) => STANDARD.decode(data).map(Some).map_err(|_| anyhow!("it is no base64")),
        (None, Some(path)) => {
            let read = std::fs::read(Path::new(path));
            read.map(Some).with_context(|| format!("cannot read {path}"))
        }
        (None, None) => Ok(None),
    }
}

/// Certificates as files have them.
pub(super) fn pem(certificates: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for der in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(der).as_bytes().chunks(64) {
            let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
