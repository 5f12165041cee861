//! A stock Envoy's bootstrap: who it is, where its primary is, and nothing else.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use diolkos_xds_client::NodeClaims;
use serde_json::{Value, json};

#[derive(Clone, Debug)]
pub(crate) struct Envoy<'a> {
    /// Its working directory: secrets lie below it, where the primary's clusters look for them.
    pub(crate) dir: &'a Path,
    pub(crate) node: &'a NodeClaims,
    /// Folder with cert-chain.pem, key.pem and root-cert.pem.
    pub(crate) identity: &'a Path,
    pub(crate) primary: SocketAddr,
    pub(crate) primary_name: &'a str,
    /// Dials everything from here.
    pub(crate) source: Option<IpAddr>,
    pub(crate) admin: SocketAddr,
}

impl Envoy<'_> {
    /// Writes bootstrap and secrets; answers Envoy's arguments.
    pub(crate) fn prepare(&self) -> anyhow::Result<Vec<String>> {
        let write = |path: &str, value: &Value| {
            let path = self.dir.join(path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, serde_json::to_vec_pretty(value)?)
                .with_context(|| format!("cannot write {}", path.display()))
        };
        write("bootstrap.json", &self.bootstrap())?;
        write(
            "sds/default.json",
            &secret(
                "default",
                "tls_certificate",
                &json!({
                    "certificate_chain": self.file("cert-chain.pem"),
                    "private_key": self.file("key.pem"),
                }),
            ),
        )?;
        write(
            "sds/root.json",
            &secret(
                "ROOTCA",
                "validation_context",
                &json!({
                    "trusted_ca": self.file("root-cert.pem"),
                }),
            ),
        )?;
        let args = ["-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1"];
        let quiet = ["--log-level", "warning"];
        Ok(args.into_iter().chain(quiet).map(str::to_owned).collect())
    }

    fn file(&self, name: &str) -> Value {
        json!({ "filename": self.identity.join(name) })
    }

    fn bootstrap(&self) -> Value {
        let mut bootstrap = json!({
            "node": {
                "id": self.node.id(),
                "cluster": self.node.pod,
                "metadata": self.node.metadata(),
            },
            "admin": { "address": address(self.admin) },
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{ "envoy_grpc": {
                        "cluster_name": "primary",
                        "retry_policy": { "retry_back_off": {
                            "base_interval": "0.1s", "max_interval": "5s",
                        }},
                    }}],
                },
                "cds_config": { "ads": {}, "resource_api_version": "V3" },
                "lds_config": { "ads": {}, "resource_api_version": "V3" },
            },
            "static_resources": { "clusters": [self.primary_cluster()] },
        });
        if let Some(source) = self.source {
            bootstrap["cluster_manager"] = json!({
                "upstream_bind_config": { "source_address": { "address": source, "port_value": 0 } },
            });
        }
        bootstrap
    }

    fn primary_cluster(&self) -> Value {
        json!({
            "name": "primary",
            "type": "STATIC",
            "connect_timeout": "1s",
            "load_assignment": {
                "cluster_name": "primary",
                "endpoints": [{ "lb_endpoints": [{
                    "endpoint": { "address": address(self.primary) },
                }]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": { "http2_protocol_options": {
                        "connection_keepalive": { "interval": "5s", "timeout": "5s" },
                    }},
                },
            },
            "transport_socket": {
                "name": "envoy.transport_sockets.tls",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                    "sni": self.primary_name,
                    "common_tls_context": {
                        "alpn_protocols": ["h2"],
                        "tls_certificates": [{
                            "certificate_chain": self.file("cert-chain.pem"),
                            "private_key": self.file("key.pem"),
                        }],
                        "validation_context": {
                            "trusted_ca": self.file("root-cert.pem"),
                            "match_typed_subject_alt_names": [{
                                "san_type": "DNS",
                                "matcher": { "exact": self.primary_name },
                            }],
                        },
                    },
                },
            },
        })
    }
}

fn secret(name: &str, kind: &str, body: &Value) -> Value {
    let mut secret = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "name": name,
    });
    secret[kind] = body.clone();
    json!({ "resources": [secret] })
}

fn address(of: SocketAddr) -> Value {
    json!({ "socket_address": { "address": of.ip(), "port_value": of.port() } })
}

/// The named binary, the project's own copy (below this folder), or the one on the path.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = named {
        if path.is_file() {
            return Ok(path.canonicalize()?);
        }
        bail!("{} is not a file: --envoy-bin names the Envoy to run", path.display());
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = own_copies();
    places.extend(std::env::split_paths(&on_path).map(|dir| dir.join("envoy")));
    match places.iter().find(|place| place.is_file()) {
        Some(place) => Ok(place.canonicalize()?),
        None => bail!(
            "no Envoy found: `cargo xtask test envoy` puts one into .tools, or name yours with \
             --envoy-bin"
        ),
    }
}

/// Where `cargo xtask` puts it: `.tools/envoy/lib/python<version>/site-packages/envoy/_bin/envoy`.
fn own_copies() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir(".tools/envoy/lib") else { return Vec::new() };
    let binary = |dir: PathBuf| dir.join("site-packages/envoy/_bin/envoy");
    versions.filter_map(Result::ok).map(|version| binary(version.path())).collect()
}
