//! The primary's own ports, passed through for clusters that have none: by exact server name, and
//! to one target that the operator named.
//!
//! Any ALPN is let through, for webhooks and Envoys have their own; who may speak to the primary is
//! the primary's to say. The target's name is looked up beforehand and again and again, never for a
//! connection: whoever connects causes no lookup, and what was found last holds while it fails.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use diolkos_ops::printable;
use diolkos_route::{ClientHello, Decision, HostName, RouteTable, Target};
use serde::Serialize;
use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

use crate::limit::{
    CONTROL_ADDRESSES_MAX, CONTROL_LOOKUP_INTERVAL, CONTROL_LOOKUP_MAX, CONTROL_LOOKUP_RETRY,
};

/// One port of the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPort {
    pub listen: SocketAddr,
    /// The names by which clients know the primary; no other is let through.
    pub names: Vec<HostName>,
    /// Where the primary is: a name that is looked up, or an address.
    pub host: String,
    pub port: u16,
}

/// What is known of a port, for whoever asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ControlShown {
    listen: String,
    names: Vec<String>,
    target: String,
    addresses: Vec<String>,
    /// Why the name was not looked up anew, while it cannot be.
    fault: Option<String>,
}

#[derive(Debug)]
pub struct Control {
    pub(crate) port: ControlPort,
    found: RwLock<Found>,
}

#[derive(Debug, Default)]
struct Found {
    table: RouteTable,
    addresses: Vec<SocketAddr>,
    fault: Option<String>,
}

impl Control {
    pub fn new(port: ControlPort) -> Arc<Self> {
        let mut found = Found::default();
        for name in &port.names {
            found.table.upsert_cluster(name.clone());
        }
        Arc::new(Self { port, found: RwLock::new(found) })
    }

    pub(crate) fn decide(&self, hello: &ClientHello) -> Decision {
        self.found.read().unwrap_or_else(PoisonError::into_inner).table.decide_by_name(hello)
    }

    pub(crate) fn shown(&self) -> ControlShown {
        let found = self.found.read().unwrap_or_else(PoisonError::into_inner);
        ControlShown {
            listen: self.port.listen.to_string(),
            names: self.port.names.iter().map(ToString::to_string).collect(),
            target: format!("{}:{}", self.port.host, self.port.port),
            addresses: found.addresses.iter().map(ToString::to_string).collect(),
            fault: found.fault.clone(),
        }
    }

    /// Looks the target up again and again; never returns.
    pub async fn follow(&self) {
        loop {
            let looked_up = timeout(CONTROL_LOOKUP_MAX, self.look_up()).await;
            let wait = match looked_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(addresses) => {
                    self.take(addresses);
                    CONTROL_LOOKUP_INTERVAL
                }
                Err(cause) => {
                    self.miss(&cause);
                    CONTROL_LOOKUP_RETRY
                }
            };
            sleep(wait).await;
        }
    }

    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let found = lookup_host((self.port.host.as_str(), self.port.port)).await?;
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(CONTROL_ADDRESSES_MAX);
        match addresses.is_empty() {
            true => Err(io::Error::other("no address")),
            false => Ok(addresses),
        }
    }

    fn take(&self, addresses: Vec<SocketAddr>) {
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        found.fault = None;
        if found.addresses == addresses {
            return;
        }
        tracing::info!(host = %self.port.host, ?addresses, "the primary's addresses");
        let targets =
            addresses.iter().map(|address| Target { address: *address, weight: 1, priority: 0 });
        let targets: Vec<_> = targets.collect();
        for name in &self.port.names {
            found.table.upsert_endpoints(name, targets.clone());
        }
        found.addresses = addresses;
    }

    fn miss(&self, cause: &io::Error) {
        let fault = printable(&cause.to_string()).into_owned();
        let mut found = self.found.write().unwrap_or_else(PoisonError::into_inner);
        if found.fault.as_ref() != Some(&fault) {
            let (host, known) = (&self.port.host, found.addresses.len());
            tracing::warn!(%host, fault, known, "the primary's name is not found");
            found.fault = Some(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(name: &str) -> ClientHello {
        ClientHello { sni: HostName::new(name.as_bytes()).ok(), alpn: ["h2"].into_iter().collect() }
    }

    fn control() -> Arc<Control> {
        Control::new(ControlPort {
            listen: "127.0.0.1:15012".parse().unwrap(),
            names: vec![HostName::new(b"primary.test").unwrap()],
            host: "primary.test".into(),
            port: 15012,
        })
    }

    fn addresses(control: &Control, name: &str) -> usize {
        match control.decide(&hello(name)) {
            Decision::Splice(route) => route.targets().len(),
            Decision::Refuse(_) => 0,
        }
    }

    #[test]
    fn r18_what_was_found_last_holds_while_the_name_has_no_address() {
        let control = control();
        let two = ["10.0.0.1:15012", "[fd00::1]:15012"].map(|text| text.parse().unwrap());
        assert_eq!(addresses(&control, "primary.test"), 0);
        control.take(two.to_vec());
        control.miss(&io::Error::other("no such name\u{1b}[2J"));
        assert_eq!(addresses(&control, "primary.test"), 2);
        assert_eq!(addresses(&control, "other.test"), 0);
        let shown = control.shown();
        assert_eq!(shown.addresses, ["10.0.0.1:15012", "[fd00::1]:15012"]);
        assert!(!shown.fault.unwrap().contains('\u{1b}'));
        control.take(two[..1].to_vec());
        assert_eq!((addresses(&control, "primary.test"), control.shown().fault), (1, None));
    }
}
