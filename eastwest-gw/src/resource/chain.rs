//! The listener that an istiod makes of a Gateway with `AUTO_PASSTHROUGH`: a filter chain for each
//! server name, each with a `tcp_proxy` to a cluster.
//!
//! A chain is taken or refused by itself. Where a chain is refused, what its names led to before
//! stays, as it would in Envoy.

use std::sync::Arc;

use diolkos_route::{Chain, ChainTable, HostName, sni};
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use prost::Message;

use super::{Entry, ListenerPlan, socket_address, typed};

/// They count and tell, and pass everything on as it came.
const WATCHING: [&str; 2] = ["istio.stats", "istio.metadata_exchange"];
/// It reads the ClientHello, as we do. Any other (PROXY protocol, say) would change what is read.
const TLS_INSPECTOR: &str = "envoy.filters.listener.tls_inspector";
/// How the server names of `AUTO_PASSTHROUGH` begin.
const SNI_BEGIN: &str = "outbound_.";

/// What a listener is to this gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Plan {
        plan: ListenerPlan,
        faults: Vec<ChainFault>,
    },
    /// Somebody else's: what it does is not what this gateway is for.
    Other(String),
}

/// A filter chain that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainFault {
    /// Its name, else its first server name, else its place.
    pub chain: String,
    pub reason: String,
}

/// # Errors
/// With the reason, in words for whoever runs the istiod.
pub fn chains(body: &[u8], before: Option<&ChainTable>) -> Result<Heard, String> {
    let listener = listener::Listener::decode(body).map_err(|error| error.to_string())?;
    let passes = |chain: &listener::FilterChain| names(chain).iter().any(|name| is_sni(name));
    if !listener.filter_chains.iter().any(passes) {
        return Ok(Heard::Other(format!(
            "none of its {} filter chains has a server name {SNI_BEGIN}<port>_.<subset>_.<host>, \
             as those of AUTO_PASSTHROUGH have",
            listener.filter_chains.len()
        )));
    }
    let address = address(&listener)?;
    let foreign = listener.listener_filters.iter().find(|filter| filter.name != TLS_INSPECTOR);
    if let Some(foreign) = foreign {
        return Err(format!("this gateway has no listener filter {:?}", foreign.name));
    }
    let (mut table, mut faults) = (ChainTable::default(), Vec::new());
    let mut kept = Vec::new();
    for (index, chain) in listener.filter_chains.iter().enumerate() {
        if let Err(reason) = take(chain, &mut table) {
            faults.push(ChainFault { chain: called(chain, index), reason });
            kept.extend(names(chain).iter().filter_map(|name| HostName::new(name.as_bytes()).ok()));
        }
    }
    if listener.default_filter_chain.is_some() {
        let reason = "this gateway lets in no names but those of a chain".to_owned();
        faults.push(ChainFault { chain: "default".into(), reason });
    }
    for name in kept {
        if let Some(chain) = before.and_then(|before| before.get(&name)) {
            table.insert(name, chain.clone());
        }
    }
    let entry = Entry::Chains(Arc::new(table));
    Ok(Heard::Plan { plan: ListenerPlan { name: listener.name, address, entry }, faults })
}

/// One address, or every address of both IP families.
fn address(listener: &listener::Listener) -> Result<std::net::SocketAddr, String> {
    let first = socket_address(listener.address.as_ref().ok_or("it has no address")?)?;
    let mut whole = first;
    for more in &listener.additional_addresses {
        let more = socket_address(more.address.as_ref().ok_or("an address is missing")?)?;
        if !(more.ip().is_unspecified() && first.ip().is_unspecified())
            || more.port() != first.port()
        {
            return Err(format!("this gateway listens on one address, not on {first} and {more}"));
        }
        if more.is_ipv6() {
            whole = more;
        }
    }
    Ok(whole)
}

fn take(chain: &listener::FilterChain, table: &mut ChainTable) -> Result<(), String> {
    if chain.transport_socket.is_some() {
        return Err("its transport socket would end the workloads' TLS".into());
    }
    let found = chain.filter_chain_match.clone().unwrap_or_default();
    let understood = listener::FilterChainMatch {
        server_names: found.server_names.clone(),
        application_protocols: found.application_protocols.clone(),
        transport_protocol: found.transport_protocol.clone(),
        ..Default::default()
    };
    if found != understood || !matches!(found.transport_protocol.as_str(), "" | "tls") {
        return Err("it matches on more than server names, TLS and ALPN".into());
    }
    if found.application_protocols.is_empty() {
        return Err("it matches any ALPN; name application_protocols".into());
    }
    let name = |name: &String| match is_sni(name) {
        true => HostName::new(name.as_bytes()).map_err(|why| format!("{name:?}: {why}")),
        false => Err(format!("its server name {name:?} does not begin with {SNI_BEGIN}")),
    };
    let names: Vec<HostName> = found.server_names.iter().map(name).collect::<Result<_, _>>()?;
    if names.is_empty() {
        return Err("it matches any server name".into());
    }
    if let Some(taken) = names.iter().find(|name| table.get(name).is_some()) {
        return Err(format!("its server name {taken} has a chain before it"));
    }
    let chain = Chain { cluster: cluster(chain)?, protocols: found.application_protocols.into() };
    for name in names {
        table.insert(name, chain.clone());
    }
    Ok(())
}

/// Where its one acting filter leads. Timeouts, hashing and access logs are this gateway's own.
fn cluster(chain: &listener::FilterChain) -> Result<HostName, String> {
    let acting = chain.filters.iter().filter(|filter| !WATCHING.contains(&filter.name.as_str()));
    let acting: Vec<_> = acting.collect();
    let proxy = match acting.as_slice() {
        [only] => typed::<TcpProxy>(only),
        _ => None,
    };
    let Some(proxy) = proxy else {
        let names: Vec<&str> = acting.iter().map(|filter| filter.name.as_str()).collect();
        return Err(format!("its filters are {}, not tcp_proxy alone", names.join(", ")));
    };
    if proxy.tunneling_config.is_some() {
        return Err("its tcp_proxy tunnels".into());
    }
    let Some(ClusterSpecifier::Cluster(name)) = proxy.cluster_specifier else {
        return Err("its tcp_proxy does not lead to one cluster".into());
    };
    sni::decode(&name).map_err(|error| format!("its cluster: {error}"))?;
    HostName::new(name.as_bytes()).map_err(|refusal| refusal.to_string())
}

fn names(chain: &listener::FilterChain) -> &[String] {
    chain.filter_chain_match.as_ref().map_or(&[], |found| &found.server_names)
}

/// Whether it is meant for a gateway of this kind. It may still be malformed.
pub fn is_sni(name: &str) -> bool {
    name.starts_with(SNI_BEGIN)
}

fn called(chain: &listener::FilterChain, index: usize) -> String {
    match (chain.name.as_str(), names(chain).first()) {
        ("", Some(name)) => name.clone(),
        ("", None) => format!("number {}", index + 1),
        (name, _) => name.to_owned(),
    }
}
