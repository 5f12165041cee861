//! The mesh file: what the operator says of the mesh and its clusters.
//!
//! It is one document and taken as a whole: whatever is wrong in it refuses it, so that a slip of
//! the pen cannot take a cluster out of the mesh. Only gateways of meshNetworks that cannot be
//! used yet are left out one by one.

use diolkos_topology::{ClusterSettings, ExportMode, Grants, MeshSettings};
use diolkos_trust::TrustDomain;

use crate::finding::{Finding, Findings};
use crate::mesh_networks;
use crate::mesh_text::{self, ClusterText, Document, SpecText, TokensText};
use crate::names;
use crate::rejection::{Rejection, Severity};
use crate::text::{self, Fault, Field, Node, at};

pub use crate::mesh_networks::{MeshGateway, MeshGatewayTarget, MeshNetworks};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeshFile {
    pub name: String,
    pub trust_domain: TrustDomain,
    pub settings: MeshSettings,
    /// In the order of the file; names are unique.
    pub clusters: Vec<ClusterEntry>,
    pub networks: MeshNetworks,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterEntry {
    pub settings: ClusterSettings,
    pub origin: Origin,
    /// The certificate that signs its workloads, relative to the mesh file.
    pub ca_certificate: Option<String>,
    /// Who issues tokens to its workloads.
    pub tokens: Option<TokenSource>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSource {
    /// As it stands in the tokens.
    pub issuer: String,
    /// Its published keys, relative to the mesh file.
    pub jwks: String,
}

/// Where a cluster's facts come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Manifests in a folder, relative to the mesh file.
    Folder(String),
    /// Its API server.
    Kubernetes,
}

impl ClusterEntry {
    /// Empty where there is none.
    pub fn folder(&self) -> &str {
        match &self.origin {
            Origin::Folder(folder) => folder,
            Origin::Kubernetes => "",
        }
    }
}

/// The file, or why there is none; and what else someone should know of it. The caller names the
/// file in the rejections.
pub fn parse_mesh(text: &str) -> (Result<MeshFile, Rejection>, Vec<Rejection>) {
    read(text, mesh)
}

/// Reads one document and places what is found in it.
pub(crate) fn read<T>(
    text: &str,
    make: impl FnOnce(Document, &mut Findings, &mut Findings) -> Option<T>,
) -> (Result<T, Rejection>, Vec<Rejection>) {
    let root = match root(text) {
        Ok(root) => root,
        Err(fault) => return (Err(refused(fault, None)), Vec::new()),
    };
    let object = root.get("metadata").and_then(|meta| meta.get("name")).and_then(Node::text);
    let object = object.map(|name| format!("Mesh {name}"));
    let document = match decoded(&root) {
        Ok(document) => document,
        Err(fault) => return (Err(refused(fault, object)), Vec::new()),
    };
    let mut fatal = Findings::default();
    let mut notes = Findings::default();
    let made = make(document, &mut fatal, &mut notes);
    let placed = |finding: Finding| Rejection {
        file: String::new(),
        line: root.line_at(&finding.field),
        object: object.clone(),
        cause: finding.cause,
        way_out: finding.way_out,
        severity: finding.severity,
    };
    let mut fatal = fatal.0.into_iter().map(placed);
    match (made, fatal.next()) {
        (Some(made), None) => (Ok(made), notes.0.into_iter().map(placed).collect()),
        (_, Some(first)) => (Err(first), fatal.collect()),
        (None, None) => {
            let fault = Fault::new(root.line, "the mesh could not be read");
            (Err(refused(fault, object)), Vec::new())
        }
    }
}

fn refused(fault: Fault, object: Option<String>) -> Rejection {
    Rejection {
        file: String::new(),
        line: fault.line,
        object,
        cause: fault.cause,
        way_out: "correct the mesh file; until then the last good one counts".into(),
        severity: Severity::Refused,
    }
}

fn root(text: &str) -> Result<Node, Fault> {
    match text::split(text)[..] {
        [] => Err(Fault::new(0, "the mesh file is empty")),
        [piece] => {
            let mut root = text::parse(piece.text, piece.line)?;
            mesh_text::unwrap_networks(&mut root);
            Ok(root)
        }
        [_, second, ..] => Err(Fault::new(second.line, "a mesh file has one document, not more")),
    }
}

fn decoded(root: &Node) -> Result<Document, Fault> {
    let decoded = text::decode::<Document>(root)?;
    if let Some(unknown) = decoded.unknown.first() {
        return Err(Fault::new(unknown.line, format!("unknown field {}", unknown.cause)));
    }
    let document = decoded.value;
    for (field, found, expected) in [
        ("apiVersion", document.api_version.as_str(), mesh_text::API_VERSION),
        ("kind", document.kind.as_str(), mesh_text::KIND),
    ] {
        if found != expected {
            let line = root.line_at(&at![field]);
            return Err(Fault::new(line, format!("{field}: expected {expected}, found {found:?}")));
        }
    }
    Ok(document)
}

fn mesh(document: Document, fatal: &mut Findings, notes: &mut Findings) -> Option<MeshFile> {
    let spec = &document.spec;
    let trust_domain = trust_domain(spec, fatal);
    let settings = settings(spec, fatal);
    let listed = mesh_networks::registries(&spec.mesh_networks, fatal);
    let mut clusters: Vec<ClusterEntry> = Vec::new();
    let listed_clusters = spec.clusters.as_deref().unwrap_or_default();
    if listed_clusters.is_empty() {
        fatal.refuse(at!["spec", "clusters"], "no clusters", "name at least one");
    }
    for (index, text) in listed_clusters.iter().enumerate() {
        let field = at!["spec", "clusters", index];
        let trust_domain = trust_domain.as_ref();
        let Some(entry) = cluster(text, &field, trust_domain, &listed, fatal) else { continue };
        let name = &entry.settings.cluster;
        if clusters.iter().any(|other| other.settings.cluster == *name) {
            fatal.refuse(field, format!("cluster {name} is listed twice"), "rename one of them");
            continue;
        }
        if let Some(other) = clusters.iter().find(|other| other.origin == entry.origin) {
            let cause = format!(
                "clusters {} and {name} have the same folder {}",
                other.settings.cluster,
                entry.folder()
            );
            fatal.refuse(field, cause, "give each cluster its own");
            continue;
        }
        if entry.ca_certificate.is_none() && entry.tokens.is_none() {
            let cause = format!(
                "cluster {name} has no caCertificate and no tokens: its clients cannot be told \
                 apart and are refused"
            );
            notes.warn(field, cause, "name the file of the certificate that signs its workloads");
        }
        clusters.push(entry);
    }
    let networks = mesh_networks::resolved(&spec.mesh_networks, &clusters, fatal, notes);
    let name = document.metadata.name;
    Some(MeshFile { name, trust_domain: trust_domain?, settings: settings?, clusters, networks })
}

pub(crate) fn trust_domain(spec: &SpecText, fatal: &mut Findings) -> Option<TrustDomain> {
    let parsed = TrustDomain::new(&spec.trust_domain);
    kept(parsed, at!["spec", "trustDomain"], "write it like mesh.example", fatal)
}

pub(crate) fn settings(spec: &SpecText, fatal: &mut Findings) -> Option<MeshSettings> {
    let defaults = MeshSettings::default();
    let export = match spec.export.as_deref() {
        None | Some("listed") => Some(ExportMode::Listed),
        Some("all") => Some(ExportMode::All),
        Some(other) => {
            let cause = format!("{other:?} is no export mode");
            fatal.refuse(at!["spec", "export"], cause, "use listed or all");
            None
        }
    };
    let domain = spec.cluster_domain.clone().unwrap_or(defaults.cluster_domain);
    if !mesh_text::is_domain(&domain) {
        let cause = format!("{domain:?} is not a DNS name in lower case");
        fatal.refuse(at!["spec", "clusterDomain"], cause, "write it like cluster.local");
    }
    let stale_ms_max = spec.stale_after.as_deref().map(mesh_text::milliseconds);
    if stale_ms_max == Some(None) {
        let cause = "not a duration";
        fatal.refuse(at!["spec", "staleAfter"], cause, "write it like 90s, 5m or 1h30m");
    }
    let rules = spec.cluster_local.iter().enumerate();
    let cluster_local = rules.map(|(index, rule)| mesh_text::local_rule(rule, index, fatal));
    let cluster_local = cluster_local.collect();
    Some(MeshSettings {
        export: export?,
        cluster_domain: domain,
        cluster_local,
        stale_ms_max: stale_ms_max.flatten(),
    })
}

fn cluster(
    text: &ClusterText,
    field: &Field,
    trust_domain: Option<&TrustDomain>,
    registries: &mesh_networks::Registries,
    fatal: &mut Findings,
) -> Option<ClusterEntry> {
    let under = |key: &str| [field.as_slice(), &at![key]].concat();
    let way_out = "use letters, digits and '-'";
    let cluster = diolkos_topology::ClusterId::new(&text.name);
    let cluster = kept(cluster, under("name"), way_out, fatal)?;
    let named = text.network.as_deref().map(diolkos_topology::NetworkId::new);
    let network = match named {
        Some(named) => kept(named, under("network"), way_out, fatal)?,
        None => registries
            .get(cluster.as_str())
            .cloned()
            .unwrap_or_else(diolkos_topology::NetworkId::unnamed),
    };
    let mut addresses = Vec::new();
    for (index, range) in text.addresses.iter().enumerate() {
        let field = [field.as_slice(), &at!["addresses", index]].concat();
        addresses.extend(mesh_networks::range(range, field, fatal));
    }
    let folder = match &text.folder {
        Some(folder) if folder.is_empty() => {
            fatal.refuse(under("folder"), "the folder is empty", "name one, or drop the field");
            return None;
        }
        Some(folder) => folder.trim_end_matches('/').to_owned(),
        None => format!("clusters/{cluster}"),
    };
    let tokens = match &text.tokens {
        None => None,
        Some(tokens) => Some(token_source(tokens, &under("tokens"), fatal)?),
    };
    let trust_domain = trust_domain?.clone();
    let grants = Grants::everything();
    let settings = ClusterSettings { cluster, trust_domain, network, addresses, grants };
    let origin = Origin::Folder(folder);
    Some(ClusterEntry { settings, origin, ca_certificate: text.ca_certificate.clone(), tokens })
}

fn token_source(text: &TokensText, field: &Field, fatal: &mut Findings) -> Option<TokenSource> {
    let under = |key: &str| [field.as_slice(), &at![key]].concat();
    let TokensText { issuer, jwks } = text;
    if !mesh_text::is_issuer(issuer) {
        let cause = format!("{:?} is not an issuer", names::short(issuer));
        let way_out = "write what the API server has as --service-account-issuer, https://...";
        fatal.refuse(under("issuer"), cause, way_out);
        return None;
    }
    if jwks.is_empty() {
        let way_out = "name one with what the API server says at /openid/v1/jwks";
        fatal.refuse(under("jwks"), "the file is not named", way_out);
        return None;
    }
    Some(TokenSource { issuer: issuer.clone(), jwks: jwks.clone() })
}

/// The value, or a refusal that carries the error's words.
fn kept<T, E: std::fmt::Display>(
    parsed: Result<T, E>,
    field: Field,
    way_out: &str,
    fatal: &mut Findings,
) -> Option<T> {
    parsed.map_err(|error| names::refuse_error(&error, field, way_out, fatal)).ok()
}
