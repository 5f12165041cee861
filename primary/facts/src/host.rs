//! DNS names that stand for gateways. Never an address: the two are different types.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::mesh_text::is_domain;
use crate::names;

/// Lower case, without a trailing dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(Arc<str>);

impl HostName {
    /// # Errors
    /// Says why the text is no name that could be asked for.
    pub fn new(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        if name.parse::<IpAddr>().is_ok() {
            return Err(format!("{:?} is an IP address, not a hostname", names::short(text)));
        }
        if !is_domain(name) {
            return Err(format!("{:?} is not a hostname", names::short(text)));
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regress_linkerd_5343_a_name_is_never_an_address_nor_an_address_a_name() {
        for (text, expected) in [
            ("gw.example.com", Some("gw.example.com")),
            ("GW.Example.com.", Some("gw.example.com")),
            ("10.0.0.1", None),
            ("fd00::1", None),
            ("*.example.com", None),
            ("gw_1.example.com", None),
            ("", None),
            (".", None),
        ] {
            let name = HostName::new(text).ok();
            assert_eq!(name.as_ref().map(HostName::as_str), expected, "{text:?}");
        }
    }
}
