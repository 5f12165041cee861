//! A primary's page as text: what is amiss stands out, and what is many is counted.

use std::collections::BTreeMap;
use std::fmt;

use diolkos_ops::printable;

use super::page::{Cluster, Gateway, Network, Page, Rejection, Stream, Told};
use crate::table::{Table, span};

/// Lines of one kind; the rest is in the JSON.
const LINES_MAX: usize = 20;

pub(super) struct Shown<'a> {
    pub(super) name: &'a str,
    pub(super) page: &'a Page,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) all_clients: bool,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Page { cluster, trust_domain, ready, waiting_for, .. } = self.page;
        let (name, cluster) = (printable(self.name), printable(cluster));
        write!(
            f,
            "primary {name} of cluster {cluster}, trust domain {}: ",
            printable(trust_domain)
        )?;
        match (ready, waiting_for) {
            (true, _) => writeln!(f, "ready")?,
            (false, Some(what)) => writeln!(f, "not ready, waiting for {}", printable(what))?,
            (false, None) => writeln!(f, "not ready")?,
        }
        writeln!(f, "\n{}", clusters(self.page).text())?;
        writeln!(f, "{}", networks(self.page).text())?;
        self.clients(f)?;
        let rejections = self.page.rejections.iter().map(Rejection::line);
        lines(f, "rejections", rejections, self.page.rejections_untold)?;
        lines(f, "authorities", self.page.authorities.iter().cloned(), 0)?;
        lines(f, "clients turned away", self.told(&self.page.denials), 0)?;
        lines(f, "notices", self.told(&self.page.notices), 0)
    }
}

impl Shown<'_> {
    fn clients(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let streams = &self.page.streams;
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for stream in streams {
            *kinds.entry(stream.kind()).or_default() += 1;
        }
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let refusing = streams.iter().filter(|stream| stream.refuses().is_some()).count();
        write!(f, "clients: {} connected", streams.len())?;
        if !kinds.is_empty() {
            write!(f, " ({})", printable(&kinds.join(", ")))?;
        }
        match refusing {
            0 => writeln!(f)?,
            _ => writeln!(f, ", {refusing} refuse what they were sent last")?,
        }
        let listed: Vec<&Stream> = match self.all_clients {
            true => streams.iter().collect(),
            false => {
                let refused = streams.iter().filter(|stream| stream.refused().next().is_some());
                refused.take(LINES_MAX).collect()
            }
        };
        if !listed.is_empty() {
            write!(f, "{}", clients(&listed, self.now).text())?;
        }
        writeln!(f)
    }

    /// The last first.
    fn told<'t>(&self, told: &'t [Told]) -> impl Iterator<Item = String> + use<'t> {
        let now = self.now;
        told.iter().rev().map(move |one| {
            let ago = span(now.saturating_sub(one.last));
            let often =
                if one.count > 1 { format!(", {} times", one.count) } else { String::new() };
            format!("{} ({ago} ago{often})", one.text)
        })
    }
}

impl Rejection {
    fn line(&self) -> String {
        let Self { cluster, severity, text } = self;
        match cluster {
            // What is read from API servers names its cluster itself.
            Some(of) if !text.starts_with(&format!("{of}: ")) => {
                format!("{severity}: {of}: {text}")
            }
            _ => format!("{severity}: {text}"),
        }
    }
}

fn lines(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    lines: impl Iterator<Item = String>,
    untold: u64,
) -> fmt::Result {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return Ok(());
    }
    let count = lines.len() as u64 + untold;
    writeln!(f, "{what}: {count}")?;
    for line in lines.iter().take(LINES_MAX) {
        writeln!(f, "  {}", printable(line))?;
    }
    let left_out = count - lines.len().min(LINES_MAX) as u64;
    if left_out > 0 {
        writeln!(f, "  and {left_out} more; --output json lists what the primary keeps of them")?;
    }
    writeln!(f)
}

fn clusters(page: &Page) -> Table {
    let head =
        ["CLUSTER", "NETWORK", "SERVICES", "ENDPOINTS", "GATEWAYS", "REFUSED", "FROM", "STATE"];
    let mut table = Table::new(&head);
    for cluster in &page.clusters {
        let refused = &cluster.refused;
        table.row([
            cluster.name.clone(),
            cluster.network.clone(),
            cluster.services.to_string(),
            cluster.endpoints.to_string(),
            cluster.gateways.to_string(),
            (refused.services + refused.endpoints + refused.gateways).to_string(),
            match &cluster.source {
                None => "files".into(),
                Some(source) if source.registered_by.is_empty() => "own API server".into(),
                Some(source) => source.registered_by.clone(),
            },
            state(cluster),
        ]);
    }
    table
}

fn state(cluster: &Cluster) -> String {
    let Some(source) = &cluster.source else {
        return match cluster.stale_seconds {
            Some(seconds) => format!("stale for {}", span(seconds)),
            None => cluster.state.clone(),
        };
    };
    let mut text = match (source.state.as_str(), cluster.stale_seconds) {
        (state, Some(seconds)) if state.starts_with("stale") => {
            format!("stale for {}", span(seconds))
        }
        (state, _) => state.to_owned(),
    };
    if let Some(age) = source.restored_age_seconds {
        text.push_str(&format!("; as it was {} ago", span(age)));
    }
    match &source.refused_because {
        Some(why) if !text.starts_with("refused") => {
            format!("{text}; its registration is not followed: {why}")
        }
        _ => text,
    }
}

fn networks(page: &Page) -> Table {
    let mut table = Table::new(&["NETWORK", "CLUSTERS", "GATEWAYS"]);
    for Network { name, clusters, gateways, exits } in &page.networks {
        let gateway = |gateway: &Gateway| match clusters == &gateway.clusters {
            true => gateway.address.clone(),
            false => format!("{} of {}", gateway.address, gateway.clusters.join(", ")),
        };
        let exits = exits.iter().map(|exit| format!("out by {}", gateway(exit)));
        let gateways: Vec<String> = gateways.iter().map(gateway).chain(exits).collect();
        table.row([name.clone(), clusters.join(", "), gateways.join(", ")]);
    }
    table
}

fn clients(streams: &[&Stream], now: u64) -> Table {
    let mut table =
        Table::new(&["  CLIENT", "IDENTITY", "BY", "AUDIENCE", "PROTOCOL", "FOR", "REFUSED"]);
    for stream in streams {
        let refused = stream.refused().map(|(of, nack)| {
            let when = if nack.nonce == of.sent_nonce { "now" } else { "earlier" };
            format!("{} ({when}, {} times): {}", of.r#type, of.nacks, nack.reason)
        });
        let refused: Vec<String> = refused.collect();
        table.row([
            format!("  {} {}/{}", stream.cluster, stream.namespace, stream.pod),
            stream.identity.clone(),
            stream.credential.clone(),
            stream.audience.clone(),
            stream.protocol.clone(),
            span(now.saturating_sub(stream.opened)),
            refused.join("; "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_names_its_cluster_once() {
        let line = |cluster: Option<&str>, text: &str| {
            let (severity, text) = ("warning".to_owned(), text.to_owned());
            Rejection { cluster: cluster.map(str::to_owned), severity, text }.line()
        };
        assert_eq!(line(Some("east"), "east: Service a/b: x"), "warning: east: Service a/b: x");
        assert_eq!(line(Some("east"), "a.yaml:2: x"), "warning: east: a.yaml:2: x");
        assert_eq!(line(None, "mesh.yaml: x"), "warning: mesh.yaml: x");
    }

    #[test]
    fn what_is_out_of_sight_or_not_followed_is_told_with_its_age_and_reason() {
        let shown = |cluster: serde_json::Value| state(&serde_json::from_value(cluster).unwrap());
        for (cluster, text) in [
            (serde_json::json!({"state": "live"}), "live"),
            (serde_json::json!({"state": "stale since 7", "staleSeconds": 180}), "stale for 3 min"),
            (
                serde_json::json!({"staleSeconds": 7_200, "source": {"state": "stale since 9 s",
                    "restoredAgeSeconds": 172_800}}),
                "stale for 2 h; as it was 2 d ago",
            ),
            (
                serde_json::json!({"source": {"state": "synced", "refusedBecause": "no token"}}),
                "synced; its registration is not followed: no token",
            ),
            (
                serde_json::json!({"source": {"state": "refused because x", "refusedBecause": "x"}}),
                "refused because x",
            ),
        ] {
            assert_eq!(shown(cluster), text);
        }
    }
}
