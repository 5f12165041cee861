//! What a CONNECT asks for: a service's host and port, exactly, or nothing.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use diolkos_route::HostName;

use crate::Refused;

/// `host:port` of a service, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    host: HostName,
    port: u16,
}

impl Destination {
    /// Of an `:authority`. No user, no address, no name without a port; the port as numbers are
    /// written, or two texts would be one service.
    ///
    /// # Errors
    /// [`Refused::Address`] or [`Refused::BadAuthority`].
    pub fn parse(authority: &str) -> Result<Self, Refused> {
        let (host, port) = authority.rsplit_once(':').ok_or(Refused::BadAuthority)?;
        let number = port.parse::<u16>().ok().filter(|number| number.to_string() == port);
        let port = number.filter(|port| *port != 0).ok_or(Refused::BadAuthority)?;
        if is_address(host) {
            return Err(Refused::Address);
        }
        let host = HostName::new(host.as_bytes()).map_err(|_| Refused::BadAuthority)?;
        Ok(Self { host, port })
    }

    pub fn host(&self) -> &HostName {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

fn is_address(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok() || bare.unwrap_or(host).parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_its_host_and_port_in_exactly_one_way() {
        let read = |text| Destination::parse(text).map(|to| to.to_string());
        let service = "catalog.shop.svc.cluster.local:8080";
        assert_eq!(read(service).as_deref(), Ok(service));
        assert_eq!(read("Catalog.SHOP.svc.cluster.local:8080").as_deref(), Ok(service));
        let long = format!("{}:80", "a".repeat(254));
        for text in [
            "",
            ":",
            "catalog.shop",
            "catalog.shop:",
            ":8080",
            "catalog.shop:0",
            "catalog.shop:08080",
            "catalog.shop:+8080",
            "catalog.shop:65536",
            "catalog.shop:http",
            "user@catalog.shop:8080",
            "*.shop:8080",
            "catalog.shop.:8080",
            "catalog..shop:8080",
            "catalog shop:8080",
            "0x7f.0.0.1:8080",
            "2130706433:8080",
            "127.1:8080",
            "[catalog.shop]:8080",
            &long,
        ] {
            assert_eq!(read(text), Err(Refused::BadAuthority), "{text:?}");
        }
        for text in ["127.0.0.1:15000", "169.254.169.254:80", "[::1]:15000", "::1:15000"] {
            assert_eq!(read(text), Err(Refused::Address), "{text:?}");
        }
    }
}
