//! Certificates of every kind, good and evil, and handshakes between them in memory.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use diolkos_tls::{Identity, Roots};
use diolkos_trust::{Bundle, Bundles, SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName as Subject, Error,
    ServerConfig, ServerConnection, SignatureScheme, SupportedProtocolVersion,
};

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn domain(text: &str) -> TrustDomain {
    TrustDomain::new(text).unwrap()
}

pub fn id(text: &str) -> SpiffeId {
    SpiffeId::parse(text).unwrap()
}

/// A CA that signs whatever it is told to.
pub struct Ca {
    pub der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub fn root(name: &str) -> Self {
        Self::root_until(name, SystemTime::now() + 1000 * HOUR)
    }

    pub fn root_until(name: &str, not_after: SystemTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = ca_params(name, BasicConstraints::Unconstrained);
        params.not_after = not_after.into();
        let der = params.self_signed(&key).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    pub fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with_key(name, KeyPair::generate().unwrap())
    }

    pub fn intermediate_with_key(&self, name: &str, key: KeyPair) -> Self {
        self.signing(ca_params(name, BasicConstraints::Constrained(0)), key)
    }

    /// Of these localities, and with so many CAs below it.
    pub fn intermediate_at(&self, localities: &[&str], below: u8) -> Self {
        let mut params = ca_params("a CA", BasicConstraints::Constrained(below));
        for locality in localities {
            // Its keys are unique but for their type.
            let kind = DnType::CustomDnType(vec![2, 5, 4, 7]);
            let kind = if *locality == localities[0] { DnType::LocalityName } else { kind };
            params.distinguished_name.push(kind, *locality);
        }
        self.signing(params, KeyPair::generate().unwrap())
    }

    fn signing(&self, params: CertificateParams, key: KeyPair) -> Self {
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { der, issuer: Issuer::new(params, key) }
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The leaf alone; `with` adds what is presented beside it.
    pub fn sign(&self, leaf: &Leaf) -> Chain {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.params().signed_by(&key, &self.issuer).unwrap().der().clone();
        Chain { certificates: vec![certificate], key }
    }
}

fn ca_params(name: &str, constraints: BasicConstraints) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(constraints);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// A good leaf by default; each test breaks one thing.
#[derive(Clone)]
pub struct Leaf {
    pub names: Vec<SanType>,
    /// `O` of the subject.
    pub organization: Option<String>,
    pub not_before: SystemTime,
    pub not_after: SystemTime,
    pub is_ca: IsCa,
    pub key_usages: Vec<KeyUsagePurpose>,
    pub uses: Vec<ExtendedKeyUsagePurpose>,
    pub extensions: Vec<CustomExtension>,
}

impl Leaf {
    pub fn of(uris: &[&str]) -> Self {
        let uri = |text: &&str| SanType::URI((*text).try_into().unwrap());
        Self {
            names: uris.iter().map(uri).collect(),
            organization: None,
            not_before: SystemTime::now() - HOUR,
            not_after: SystemTime::now() + HOUR,
            is_ca: IsCa::NoCa,
            key_usages: vec![KeyUsagePurpose::DigitalSignature],
            uses: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            extensions: Vec::new(),
        }
    }

    pub fn dns(mut self, name: &str) -> Self {
        self.names.push(SanType::DnsName(name.try_into().unwrap()));
        self
    }

    /// A subject alternative name extension of these tagged values, besides any other.
    pub fn raw_names(mut self, names: &[(u8, &[u8])]) -> Self {
        let mut values = Vec::new();
        for (tag, value) in names {
            values.extend([*tag, u8::try_from(value.len()).unwrap()]);
            values.extend_from_slice(value);
        }
        let length = u8::try_from(values.len()).unwrap();
        assert!(length < 0x80, "short form of DER lengths only");
        let content = [&[0x30, length], &values[..]].concat();
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 17], content);
        self.extensions.push(extension);
        self
    }

    pub fn ip(mut self, address: IpAddr) -> Self {
        self.names.push(SanType::IpAddress(address));
        self
    }

    pub fn valid(mut self, not_before: SystemTime, not_after: SystemTime) -> Self {
        (self.not_before, self.not_after) = (not_before, not_after);
        self
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(name) = &self.organization {
            params.distinguished_name.push(DnType::OrganizationName, name.as_str());
        }
        params.subject_alt_names = self.names.clone();
        params.not_before = self.not_before.into();
        params.not_after = self.not_after.into();
        params.is_ca = self.is_ca;
        params.key_usages = self.key_usages.clone();
        params.extended_key_usages = self.uses.clone();
        params.custom_extensions = self.extensions.clone();
        params
    }
}

/// What one end presents.
pub struct Chain {
    pub certificates: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

impl Chain {
    pub fn with(mut self, authorities: &[&Ca]) -> Self {
        self.certificates.extend(authorities.iter().map(|ca| ca.der.clone()));
        self
    }

    /// The leaf as if it were a CA.
    pub fn as_ca(&self, leaf: &Leaf) -> Ca {
        let key = KeyPair::from_pem(&self.key.serialize_pem()).unwrap();
        let issuer = Issuer::new(leaf.params(), key);
        Ca { der: self.certificates[0].clone(), issuer }
    }

    pub fn write(&self, dir: &Path, roots: &[&Ca]) {
        let pem = |ders: &[CertificateDer<'static>]| -> String {
            let block = |der: &CertificateDer<'static>| pem_block("CERTIFICATE", der);
            ders.iter().map(block).collect()
        };
        let roots: Vec<_> = roots.iter().map(|ca| ca.der.clone()).collect();
        std::fs::write(dir.join("cert-chain.pem"), pem(&self.certificates)).unwrap();
        std::fs::write(dir.join("key.pem"), self.key.serialize_pem()).unwrap();
        std::fs::write(dir.join("root-cert.pem"), pem(&roots)).unwrap();
    }

    /// Through a folder, as every role does it.
    pub fn identity(&self) -> Identity {
        let dir = tempfile::tempdir().unwrap();
        self.write(dir.path(), &[]);
        Identity::load(dir.path()).unwrap()
    }

    fn certified(&self) -> Arc<CertifiedKey> {
        let der = PrivatePkcs8KeyDer::from(self.key.serialize_der()).into();
        let key = rustls::crypto::ring::sign::any_supported_type(&der).unwrap();
        Arc::new(CertifiedKey::new(self.certificates.clone(), key))
    }
}

fn pem_block(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let bits = u32::from_be_bytes([
            0,
            chunk[0],
            chunk.get(1).copied().unwrap_or(0),
            chunk.get(2).copied().unwrap_or(0),
        ]);
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place)) & 63;
            let pad = place > chunk.len();
            text.push(if pad { '=' } else { char::from(ALPHABET[index as usize]) });
        }
    }
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

pub fn roots(bundles: &[(&str, &[&Ca])]) -> Roots {
    Roots::new(bundles_of(bundles))
}

pub fn bundles_of(bundles: &[(&str, &[&Ca])]) -> Bundles {
    let bundle = |(td, cas): &(&str, &[&Ca])| {
        Bundle::new(domain(td), cas.iter().map(|ca| ca.der.to_vec())).unwrap()
    };
    bundles.iter().map(bundle).collect()
}

/// An end that presents what it likes and believes everyone.
#[derive(Debug)]
struct Gullible(Option<Arc<CertifiedKey>>);

impl Gullible {
    fn schemes() -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl ResolvesServerCert for Gullible {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

impl ResolvesClientCert for Gullible {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

macro_rules! believes_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn verify_tls13_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Ok(HandshakeSignatureValid::assertion())
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            Self::schemes()
        }
    };
}

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    believes_signatures!();
}

impl ClientCertVerifier for Gullible {
    fn root_hint_subjects(&self) -> &[Subject] {
        &[]
    }
    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    believes_signatures!();
}

pub type Version = &'static SupportedProtocolVersion;

pub fn gullible_client(presents: Option<&Chain>, version: Version) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let end = Arc::new(Gullible(presents.map(Chain::certified)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&end) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(end);
    Arc::new(config)
}

pub fn gullible_server(presents: &Chain, version: Version) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let end = Arc::new(Gullible(Some(presents.certified())));
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(Arc::clone(&end) as Arc<dyn ClientCertVerifier>)
        .with_cert_resolver(end);
    Arc::new(config)
}

/// Both ends after a handshake, or why each gave up.
pub struct Met {
    pub client: Result<ClientConnection, Error>,
    pub server: Result<ServerConnection, Error>,
}

impl Met {
    /// The leaf and chain that the client saw, and the server.
    pub fn seen(&self) -> (&[CertificateDer<'static>], &[CertificateDer<'static>]) {
        let client = self.client.as_ref().map_err(Clone::clone).unwrap();
        let server = self.server.as_ref().map_err(Clone::clone).unwrap();
        (client.peer_certificates().unwrap(), server.peer_certificates().unwrap())
    }
}

pub fn meet(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, sni: &str) -> Met {
    let name = diolkos_tls::server_name(sni).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::clone(server)).unwrap();
    let (mut client_fault, mut server_fault) = (None, None);
    // A TLS 1.3 handshake takes three flights; more is a loop.
    for _ in 0..8 {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        feed(&flight, |bytes| server.read_tls(bytes));
        server_fault = server_fault.or(server.process_new_packets().err());
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        feed(&flight, |bytes| client.read_tls(bytes));
        client_fault = client_fault.or(client.process_new_packets().err());
    }
    if client_fault.is_none() && server_fault.is_none() {
        assert!(!client.is_handshaking() && !server.is_handshaking());
    }
    Met {
        client: client_fault.map_or(Ok(client), Err),
        server: server_fault.map_or(Ok(server), Err),
    }
}

fn feed(mut bytes: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
    // An end that has failed reads no more.
    while !bytes.is_empty() && read(&mut bytes).is_ok_and(|taken| taken > 0) {}
}
