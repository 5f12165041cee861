//! rustls configurations for both ends.

use std::sync::Arc;

use diolkos_trust::{SpiffeId, TrustDomain};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::ServerName;

use crate::error::TlsError;
use crate::identity::Identity;
use crate::roots::Roots;
use crate::verifier::Verifier;

/// Who the other end must be, beyond having a chain to the roots of its trust domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// One of these, exactly.
    Ids(Vec<SpiffeId>),
    /// Any workload of one of these trust domains.
    AnyOf(Vec<TrustDomain>),
    /// A certificate for this DNS name or address. Where it carries a SPIFFE id, that id's trust
    /// domain chooses the roots; where it carries none, each bundle is tried by itself, so give
    /// only the roots that may vouch for this name.
    Dns(String),
}

/// The server name that the caller connects with is sent as SNI and nothing else.
pub fn client_config(
    identity: &Identity,
    roots: &Roots,
    expect: Expect,
    alpn: &[&str],
) -> Arc<ClientConfig> {
    client(Some(identity), roots, expect, alpn)
}

/// A client that shows no certificate and is known by something else. It verifies its server all
/// the same.
pub fn anonymous_client_config(roots: &Roots, expect: Expect, alpn: &[&str]) -> Arc<ClientConfig> {
    client(None, roots, expect, alpn)
}

/// A client must present a certificate.
pub fn server_config(
    identity: &Identity,
    roots: &Roots,
    expect: Expect,
    alpn: &[&str],
) -> Arc<ServerConfig> {
    server(identity, Arc::new(Verifier::new(roots, expect)), alpn)
}

/// A client may present none, and is a stranger then: whoever serves it has to know it by something
/// else. One that is presented is verified as strictly as by [`server_config`].
pub fn open_server_config(
    identity: &Identity,
    roots: &Roots,
    expect: Expect,
    alpn: &[&str],
) -> Arc<ServerConfig> {
    server(identity, Arc::new(Verifier::new(roots, expect).optional()), alpn)
}

/// The server's end of a tunnel: as [`server_config`], TLS 1.3 alone.
pub fn tunnel_server_config(
    identity: &Identity,
    roots: &Roots,
    expect: Expect,
    alpn: &[&str],
) -> Arc<ServerConfig> {
    let verifier = Arc::new(Verifier::new(roots, expect));
    Arc::new(server_of(&[&TLS13], identity, verifier, alpn))
}

/// The client's end of a tunnel: as [`client_config`], TLS 1.3 alone, and no SNI is sent.
pub fn tunnel_client_config(
    identity: &Identity,
    roots: &Roots,
    expect: Expect,
    alpn: &[&str],
) -> Arc<ClientConfig> {
    let mut config = client_of(&[&TLS13], Some(identity), roots, expect, alpn);
    config.enable_sni = false;
    Arc::new(config)
}

/// Clients are not asked for a certificate, as an API server that calls a webhook has none.
pub fn public_server_config(identity: &Identity, alpn: &[&str]) -> Arc<ServerConfig> {
    server(identity, WebPkiClientVerifier::no_client_auth(), alpn)
}

fn client(
    identity: Option<&Identity>,
    roots: &Roots,
    expect: Expect,
    alpn: &[&str],
) -> Arc<ClientConfig> {
    Arc::new(client_of(VERSIONS, identity, roots, expect, alpn))
}

fn client_of(
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&Identity>,
    roots: &Roots,
    expect: Expect,
    alpn: &[&str],
) -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring has cipher suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(roots, expect)));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(Arc::new(identity.clone())),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols(alpn);
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config
}

fn server(
    identity: &Identity,
    clients: Arc<dyn ClientCertVerifier>,
    alpn: &[&str],
) -> Arc<ServerConfig> {
    Arc::new(server_of(VERSIONS, identity, clients, alpn))
}

fn server_of(
    versions: &[&'static SupportedProtocolVersion],
    identity: &Identity,
    clients: Arc<dyn ClientCertVerifier>,
    alpn: &[&str],
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .expect("ring has cipher suites for both versions")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(identity.clone()));
    config.alpn_protocols = protocols(alpn);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config
}

/// A name to send as SNI: DNS syntax plus underscores, as Istio's names need. An address is
/// accepted and, as the protocol wants it, not sent.
pub fn server_name(sni: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(sni.to_string())
        .map_err(|error| TlsError::ServerName { text: sni.into(), cause: error.to_string() })
}

const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
}
