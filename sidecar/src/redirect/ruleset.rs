//! Settings to text. No process, no socket.

use std::fmt::{Display, Write as _};

use ipnet::IpNet;

use super::RedirectSettings;

pub(super) const TABLE: &str = "diolkos";

/// Answered by the sidecar or its Envoy themselves, in plaintext: 15008 and 15090 by Istio's
/// conventions, probes and health by ours.
const OWN_PORTS: [u16; 4] = [15_008, 15_020, 15_021, 15_090];

/// The table as `nft -f` takes it: what was there of it is replaced in the same transaction.
pub fn ruleset(settings: &RedirectSettings) -> String {
    let RedirectSettings { outbound_port, inbound_port, uid, .. } = settings;
    let mut text = String::new();
    let mut line = |depth: usize, rule: &str| {
        let _ = writeln!(text, "{}{rule}", "\t".repeat(depth));
    };
    line(0, &format!("add table inet {TABLE}"));
    line(0, &format!("delete table inet {TABLE}"));
    line(0, &format!("table inet {TABLE} {{"));
    line(1, &format!("comment \"{}\"", fingerprint(settings)));
    line(1, "chain out {");
    line(2, "type nat hook output priority -100; policy accept;");
    for rule in out_rules(settings, *uid, *inbound_port, *outbound_port) {
        line(2, &rule);
    }
    line(1, "}");
    line(1, "chain in {");
    line(2, "type nat hook prerouting priority -100; policy accept;");
    for rule in in_rules(settings, *inbound_port) {
        line(2, &rule);
    }
    line(1, "}");
    line(0, "}");
    text
}

pub(super) fn removal() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// The first that fits decides.
pub(super) fn out_rules(
    settings: &RedirectSettings,
    uid: u32,
    inbound: u16,
    outbound: u16,
) -> Vec<String> {
    let to_inbound = format!("meta l4proto tcp redirect to :{inbound}");
    let own = format!("meta skuid {uid}");
    let mut rules = vec![
        // From the address that Envoy's inbound side hands on from: it has been through.
        format!("{own} oifname \"lo\" ip saddr 127.0.0.6 return"),
        format!("{own} oifname \"lo\" ip6 saddr ::6 return"),
        // The pod calls itself by a service's address: mutual TLS that Envoy has to end.
        format!("{own} oifname \"lo\" ip daddr != 127.0.0.0/8 {to_inbound}"),
        format!("{own} oifname \"lo\" ip6 daddr != ::1 {to_inbound}"),
        format!("{own} return"),
        "fib daddr type local return".into(),
    ];
    let ranges = &settings.exclude_outbound_ranges;
    let of_family = |wanted: fn(&IpNet) -> bool| -> Vec<&IpNet> {
        ranges.iter().filter(|range| wanted(range)).collect()
    };
    for (key, ranges) in [
        ("ip daddr", of_family(|range| matches!(range, IpNet::V4(_)))),
        ("ip6 daddr", of_family(|range| matches!(range, IpNet::V6(_)))),
    ] {
        rules.extend(excluding(key, &ranges));
    }
    rules.extend(excluding("tcp dport", &settings.exclude_outbound_ports));
    rules.push(format!("meta l4proto tcp redirect to :{outbound}"));
    rules
}

pub(super) fn in_rules(settings: &RedirectSettings, inbound: u16) -> Vec<String> {
    let mut ports = [&OWN_PORTS[..], &settings.exclude_inbound_ports].concat();
    ports.sort_unstable();
    ports.dedup();
    let mut rules = vec!["iifname \"lo\" return".to_owned()];
    rules.extend(excluding("tcp dport", &ports));
    rules.push(format!("meta l4proto tcp redirect to :{inbound}"));
    rules
}

fn excluding<T: Display>(key: &str, values: &[T]) -> Option<String> {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    (!values.is_empty()).then(|| format!("{key} {{ {} }} return", values.join(", ")))
}

/// Says of a table that is there which settings it was laid for.
pub(super) fn fingerprint(settings: &RedirectSettings) -> String {
    let list = |values: Vec<String>| match values.is_empty() {
        true => "none".to_owned(),
        false => values.join(","),
    };
    let texts = |ports: &[u16]| list(ports.iter().map(u16::to_string).collect());
    let ranges = settings.exclude_outbound_ranges.iter().map(ToString::to_string).collect();
    // FNV-1a of what would not fit into a comment: told apart, not protected.
    let all = format!(
        "{} {} {} {} {} {}",
        settings.outbound_port,
        settings.inbound_port,
        settings.uid,
        texts(&settings.exclude_inbound_ports),
        texts(&settings.exclude_outbound_ports),
        list(ranges),
    );
    let hash = all.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("diolkos redirect {hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RedirectSettings {
        RedirectSettings {
            outbound_port: 15_001,
            inbound_port: 15_006,
            uid: 1337,
            exclude_inbound_ports: vec![],
            exclude_outbound_ports: vec![],
            exclude_outbound_ranges: vec![],
        }
    }

    const PLAIN: &str = "\
add table inet diolkos
delete table inet diolkos
table inet diolkos {
	comment \"diolkos redirect FINGERPRINT\"
	chain out {
		type nat hook output priority -100; policy accept;
		meta skuid 1337 oifname \"lo\" ip saddr 127.0.0.6 return
		meta skuid 1337 oifname \"lo\" ip6 saddr ::6 return
		meta skuid 1337 oifname \"lo\" ip daddr != 127.0.0.0/8 meta l4proto tcp redirect to :15006
		meta skuid 1337 oifname \"lo\" ip6 daddr != ::1 meta l4proto tcp redirect to :15006
		meta skuid 1337 return
		fib daddr type local return
		meta l4proto tcp redirect to :15001
	}
	chain in {
		type nat hook prerouting priority -100; policy accept;
		iifname \"lo\" return
		tcp dport { 15008, 15020, 15021, 15090 } return
		meta l4proto tcp redirect to :15006
	}
}
";

    const EXCLUDING: &str = "\
		fib daddr type local return
		ip daddr { 10.1.0.0/16, 169.254.169.254/32 } return
		ip6 daddr { fd00:1::/64 } return
		tcp dport { 25, 5432 } return
		meta l4proto tcp redirect to :16001
	}
	chain in {
		type nat hook prerouting priority -100; policy accept;
		iifname \"lo\" return
		tcp dport { 22, 15008, 15020, 15021, 15090 } return
		meta l4proto tcp redirect to :16006
	}
}
";

    #[test]
    fn a_ruleset_reads_as_it_was_reviewed() {
        let text = ruleset(&settings());
        let print = fingerprint(&settings());
        let print = print.strip_prefix("diolkos redirect ").unwrap();
        assert_eq!(text, PLAIN.replace("FINGERPRINT", print));
        let range = |text: &str| text.parse().unwrap();
        let text = ruleset(&RedirectSettings {
            outbound_port: 16_001,
            inbound_port: 16_006,
            uid: 99,
            exclude_inbound_ports: vec![15_021, 22],
            exclude_outbound_ports: vec![25, 5432],
            exclude_outbound_ranges: vec![
                range("10.1.0.0/16"),
                range("169.254.169.254/32"),
                range("fd00:1::/64"),
            ],
        });
        assert!(text.ends_with(EXCLUDING), "{text}");
        assert!(!text.contains("1337"), "{text}");
    }

    #[test]
    fn each_setting_is_another_fingerprint() {
        let changes: [fn(&mut RedirectSettings); 6] = [
            |it| it.outbound_port = 1,
            |it| it.inbound_port = 1,
            |it| it.uid = 1,
            |it| it.exclude_inbound_ports = vec![1],
            |it| it.exclude_outbound_ports = vec![1],
            |it| it.exclude_outbound_ranges = vec!["10.0.0.0/8".parse().unwrap()],
        ];
        let mut seen = vec![fingerprint(&settings())];
        for change in changes {
            let mut changed = settings();
            change(&mut changed);
            seen.push(fingerprint(&changed));
        }
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count);
    }
}
