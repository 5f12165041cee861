//! Traffic that a pod wants left alone, by Istio's annotations, read strictly: a port that was
//! mistyped would be in the mesh while its owner believes it is not.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::limit::{EXCLUDED_PORTS_MAX, EXCLUDED_RANGES_MAX};

const INBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeInboundPorts";
const OUTBOUND_PORTS: &str = "traffic.sidecar.istio.io/excludeOutboundPorts";
const OUTBOUND_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";

/// In order and without repetition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    pub inbound_ports: Vec<u16>,
    pub outbound_ports: Vec<u16>,
    pub outbound_ranges: Vec<IpNet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExcludeFault {
    NoText { key: &'static str },
    Port { key: &'static str, text: String },
    Range { key: &'static str, text: String },
    HostBits { key: &'static str, text: String, network: IpNet },
    TooMany { key: &'static str, found: usize, max: usize },
}

impl Exclusions {
    pub(crate) fn of(annotations: &Map<String, Value>) -> Result<Self, ExcludeFault> {
        let ports = |key| listed(annotations, key, EXCLUDED_PORTS_MAX, port);
        Ok(Self {
            inbound_ports: ports(INBOUND_PORTS)?,
            outbound_ports: ports(OUTBOUND_PORTS)?,
            outbound_ranges: listed(annotations, OUTBOUND_RANGES, EXCLUDED_RANGES_MAX, range)?,
        })
    }
}

fn listed<T: Ord>(
    annotations: &Map<String, Value>,
    key: &'static str,
    max: usize,
    read: fn(&'static str, &str) -> Result<T, ExcludeFault>,
) -> Result<Vec<T>, ExcludeFault> {
    let text = match annotations.get(key) {
        None => return Ok(Vec::new()),
        Some(value) => value.as_str().ok_or(ExcludeFault::NoText { key })?,
    };
    // Set and empty, as charts write it.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let found = text.split(',').count();
    if found > max {
        return Err(ExcludeFault::TooMany { key, found, max });
    }
    let mut list: Vec<T> =
        text.split(',').map(|part| read(key, part.trim())).collect::<Result<_, _>>()?;
    list.sort();
    list.dedup();
    Ok(list)
}

fn port(key: &'static str, text: &str) -> Result<u16, ExcludeFault> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(ExcludeFault::Port { key, text: shown(text) }),
    }
}

fn range(key: &'static str, text: &str) -> Result<IpNet, ExcludeFault> {
    let range =
        IpNet::from_str(text).map_err(|_| ExcludeFault::Range { key, text: shown(text) })?;
    match range.trunc() {
        network if network == range => Ok(range),
        network => Err(ExcludeFault::HostBits { key, text: shown(text), network }),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for ExcludeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoText { key } => write!(f, "annotation {key} is no text; quote its value"),
            Self::Port { key, text } => write!(
                f,
                "annotation {key}: {text:?} is not a port; list ports from 1 to 65535 with commas \
                 between"
            ),
            Self::Range { key, text } => write!(
                f,
                "annotation {key}: {text:?} is not an address range; list ranges such as \
                 10.1.0.0/16 or fd00::/8 with commas between"
            ),
            Self::HostBits { key, text, network } => {
                write!(f, "annotation {key}: {text:?} is not the start of a range; write {network}")
            }
            Self::TooMany { key, found, max } => {
                write!(f, "annotation {key} lists {found} entries, at most {max} are taken")
            }
        }
    }
}

impl std::error::Error for ExcludeFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, value: Value) -> Result<Exclusions, ExcludeFault> {
        Exclusions::of(&Map::from_iter([(key.to_owned(), value)]))
    }

    #[test]
    fn lists_are_read_in_order_and_once() {
        let ports = of(INBOUND_PORTS, " 9090, 80,9090 ".into()).unwrap();
        assert_eq!(ports.inbound_ports, [80, 9090]);
        let ranges = of(OUTBOUND_RANGES, "fd00::/8,10.0.0.0/8".into()).unwrap().outbound_ranges;
        assert_eq!(ranges, ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        assert_eq!(of(OUTBOUND_PORTS, "".into()).unwrap(), Exclusions::default());
    }

    #[test]
    fn what_is_no_list_is_refused_by_its_part() {
        for text in ["0", "65536", "-1", "80,,81", "80 81", "http", "80,", "+80", "*"] {
            let fault = of(OUTBOUND_PORTS, text.into()).unwrap_err();
            assert!(matches!(fault, ExcludeFault::Port { .. }), "{text}: {fault}");
        }
        for text in ["10.0.0.0", "10.0.0.0/33", "*", "10.0.0.0/8;fd00::/8"] {
            let fault = of(OUTBOUND_RANGES, text.into()).unwrap_err();
            assert!(matches!(fault, ExcludeFault::Range { .. }), "{text}: {fault}");
        }
        let fault = of(OUTBOUND_RANGES, "10.1.2.3/8".into()).unwrap_err();
        assert!(fault.to_string().ends_with("is not the start of a range; write 10.0.0.0/8"));
        assert!(of(INBOUND_PORTS, 80.into()).unwrap_err().to_string().ends_with("quote its value"));
    }

    #[test]
    fn as_many_as_the_limit_and_not_one_more() {
        let list = |count: usize| vec!["80"; count].join(",");
        assert!(of(INBOUND_PORTS, list(EXCLUDED_PORTS_MAX).into()).is_ok());
        let fault = of(INBOUND_PORTS, list(EXCLUDED_PORTS_MAX + 1).into()).unwrap_err();
        assert!(fault.to_string().ends_with("lists 129 entries, at most 128 are taken"));
    }
}
