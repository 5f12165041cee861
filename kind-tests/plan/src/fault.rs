//! Faults between clusters, as the router's rules. All that are in force are rendered at once: to
//! take one away is to render the others.

use std::fmt::{self, Write as _};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::address::{Ranges, Slot};
use crate::model::Topology;
use crate::space::router_link;

/// Where the fault proxies listen in the router, one port for each fault that needs one.
const FIRST_PROXY_PORT: u16 = 20000;
/// Of a slow link, as a router at the end of one would have it.
const QUEUE_BYTES: u32 = 64 * 1024;

/// Between two clusters.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    pub from: String,
    pub to: String,
    /// Else in both directions.
    #[serde(default)]
    pub one_way: bool,
    /// Only connections to this port; else all packets.
    #[serde(default)]
    pub port: Option<u16>,
}

/// Something wrong with the network between two clusters.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum LinkFault {
    /// Packets vanish.
    Cut(Between),
    /// Packets queue for a link of this many kilobits a second.
    Rate { between: Between, kbit: u64 },
    /// Connections pass through something that spoils them.
    Streams { between: Between, spoil: Spoil },
}

/// What becomes of TCP connections; each direction is a stream of its own.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Spoil {
    /// Later by this many milliseconds.
    pub delay_ms: u64,
    /// And by up to this many more, each piece for itself.
    pub jitter_ms: u64,
    /// At most this many bytes a second; 0 is no limit.
    pub bytes_per_second: u64,
    /// In pieces of this many bytes; 0 leaves them as they come.
    pub slice_bytes: usize,
    /// Reset once so many bytes went one way.
    pub reset_after_bytes: Option<u64>,
    /// Nothing passes from the one who dialled.
    pub stall_out: bool,
    /// Nothing passes to the one who dialled.
    pub stall_in: bool,
    /// The one who dialled is answered, the other end never dialled: a half-open connection.
    pub half_open: bool,
}

impl LinkFault {
    #[must_use]
    pub fn between(&self) -> &Between {
        match self {
            Self::Cut(between) | Self::Rate { between, .. } | Self::Streams { between, .. } => {
                between
            }
        }
    }

    /// Whether `other` says the same of the same, if with other figures.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        let same_kind = std::mem::discriminant(self) == std::mem::discriminant(other);
        same_kind && self.between() == other.between()
    }
}

/// What the router is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRules {
    /// For `nft -f`.
    pub nft: String,
    /// For `tc -batch`, by link; a link without lines has no queue.
    pub queues: Vec<(String, Vec<String>)>,
    pub proxies: Vec<Proxy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    pub port: u16,
    pub spoil: Spoil,
}

/// # Errors
/// The first cluster that is none.
pub fn fault_rules(
    topology: &Topology,
    slot: Slot,
    faults: &[LinkFault],
) -> Result<FaultRules, String> {
    let mut render = Render::new(topology, slot);
    for fault in faults {
        render.add(fault)?;
    }
    Ok(render.finish())
}

struct Render<'t> {
    topology: &'t Topology,
    slot: Slot,
    cutting: String,
    marking: String,
    turning: String,
    queues: Vec<(String, Vec<String>)>,
    proxies: Vec<Proxy>,
}

impl<'t> Render<'t> {
    fn new(topology: &'t Topology, slot: Slot) -> Self {
        let queues = (0..topology.clusters.len()).map(|index| (router_link(index), Vec::new()));
        Self {
            topology,
            slot,
            cutting: String::new(),
            marking: String::new(),
            turning: String::new(),
            queues: queues.collect(),
            proxies: Vec::new(),
        }
    }

    fn add(&mut self, fault: &LinkFault) -> Result<(), String> {
        let between = fault.between();
        let (from, to) = (self.index(&between.from)?, self.index(&between.to)?);
        if from == to {
            return Err(format!("{} and {} are one cluster", between.from, between.to));
        }
        let proxy = match fault {
            LinkFault::Streams { spoil, .. } => {
                // There are fewer faults than ports: limit::FAULTS_MAX.
                let port = FIRST_PROXY_PORT + u16::try_from(self.proxies.len()).unwrap_or(0);
                self.proxies.push(Proxy { port, spoil: spoil.clone() });
                port
            }
            LinkFault::Cut(_) | LinkFault::Rate { .. } => 0,
        };
        let ways: &[(usize, usize)] =
            if between.one_way { &[(from, to)] } else { &[(from, to), (to, from)] };
        for (from, to) in ways {
            match fault {
                LinkFault::Cut(_) => self.cut(*from, *to, between.port),
                LinkFault::Rate { kbit, .. } => self.slow(*from, *to, between.port, *kbit),
                LinkFault::Streams { .. } => self.turn(*from, *to, between.port, proxy),
            }
        }
        Ok(())
    }

    fn index(&self, name: &str) -> Result<usize, String> {
        let mut clusters = self.topology.clusters.iter();
        clusters.position(|cluster| &cluster.name == name).ok_or_else(|| {
            let names: Vec<&str> =
                self.topology.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
            format!("no cluster is named {name}; there are {}", names.join(", "))
        })
    }

    fn cut(&mut self, from: usize, to: usize, port: Option<u16>) {
        for packets in self.packets(from, to) {
            let port = port.map_or(String::new(), |port| format!(" tcp dport {port}"));
            let _ = writeln!(self.cutting, "    {packets}{port} counter drop");
        }
    }

    /// A class of the queue towards `to` for what comes from `from`: packets are told their class by
    /// the number that queues look at, for this kernel may have no other classifier.
    fn slow(&mut self, from: usize, to: usize, port: Option<u16>, kbit: u64) {
        let class = 0x10 + from;
        let (source, link) = (router_link(from), router_link(to));
        let port = port.map_or(String::new(), |port| format!(" tcp dport {port}"));
        let _ = writeln!(
            self.marking,
            "    iifname \"{source}\" oifname \"{link}\"{port} meta priority set 1:{class:x}"
        );
        let lines = &mut self.queues[to].1;
        if lines.is_empty() {
            lines.push(format!("qdisc add dev {link} root handle 1: htb default 1"));
            lines.push(format!(
                "class add dev {link} parent 1: classid 1:1 htb rate 10gbit quantum 1514"
            ));
        }
        lines.push(format!(
            "class add dev {link} parent 1: classid 1:{class:x} htb rate {kbit}kbit burst 2k \
             quantum 1514"
        ));
        lines.push(format!("qdisc add dev {link} parent 1:{class:x} bfifo limit {QUEUE_BYTES}"));
    }

    /// Only whole connections: one that was there before would not survive another end.
    fn turn(&mut self, from: usize, to: usize, port: Option<u16>, proxy: u16) {
        let first = "tcp flags & (fin | syn | rst | ack) == syn";
        for packets in self.packets(from, to) {
            let port = port.map_or(String::new(), |port| format!(" tcp dport {port}"));
            let _ = writeln!(self.turning, "    {packets} {first}{port} redirect to :{proxy}");
        }
    }

    /// How the router sees what goes from the one cluster to the other, in both families.
    fn packets(&self, from: usize, to: usize) -> [String; 2] {
        let clusters = &self.topology.clusters;
        let ranges = Ranges::of(self.slot, to);
        let near = clusters[from].network == clusters[to].network;
        let link = router_link(from);
        let matching = |family: &str, outside: IpNet, pods: IpNet| {
            let pods = if near { format!(", {pods}") } else { String::new() };
            format!("iifname \"{link}\" {family} daddr {{ {outside}{pods} }}")
        };
        [
            matching("ip", ranges.outside.v4, ranges.pods.v4),
            matching("ip6", ranges.outside.v6, ranges.pods.v6),
        ]
    }

    fn finish(self) -> FaultRules {
        let Self { cutting, marking, turning, queues, proxies, .. } = self;
        let chain = |name: &str, hook: &str, rules: &str| match rules {
            "" => String::new(),
            rules => format!("  chain {name} {{\n    type {hook}; policy accept;\n{rules}  }}\n"),
        };
        // Before the boundary counts: what a fault swallows is nobody's transgression.
        let cutting = chain("cutting", "filter hook prerouting priority raw - 10", &cutting);
        let marking = chain("marking", "filter hook forward priority mangle", &marking);
        let turning = chain("turning", "nat hook prerouting priority dstnat", &turning);
        let table = "table inet diolkos_faults";
        let nft = format!("{table}\ndelete {table}\n{table} {{\n{cutting}{marking}{turning}}}\n");
        FaultRules { nft, queues, proxies }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.one_way { "->" } else { "<->" };
        write!(f, "{} {arrow} {}", self.from, self.to)?;
        self.port.map_or(Ok(()), |port| write!(f, " port {port}"))
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut(between) => write!(f, "cut {between}"),
            Self::Rate { between, kbit } => write!(f, "{between} at {kbit} kbit/s"),
            Self::Streams { between, spoil } => write!(f, "streams {between}: {spoil}"),
        }
    }
}

impl fmt::Display for Spoil {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut says = Vec::new();
        let number = |says: &mut Vec<String>, value: u64, text: &str| {
            if value > 0 {
                says.push(text.replace('#', &value.to_string()));
            }
        };
        number(&mut says, self.delay_ms, "# ms later");
        number(&mut says, self.jitter_ms, "up to # ms more");
        number(&mut says, self.bytes_per_second, "# bytes/s");
        number(&mut says, self.slice_bytes as u64, "in pieces of # bytes");
        number(&mut says, self.reset_after_bytes.unwrap_or(0), "reset after # bytes");
        for (is, text) in [
            (self.stall_out, "nothing passes out"),
            (self.stall_in, "nothing comes back"),
            (self.half_open, "half-open"),
        ] {
            says.extend(is.then(|| text.to_owned()));
        }
        f.write_str(&says.join(", "))
    }
}
