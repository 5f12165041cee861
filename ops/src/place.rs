//! Whom to dial, as an operator says it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::limit;

/// `NAME:PORT`, or an address and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// An IPv6 address stands here without brackets.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// What the name leads to now, at least one: what it names may move, so ask anew for each
    /// connection.
    ///
    /// # Errors
    /// When the name is not found in time, or has no address.
    pub async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let asked = lookup_host((self.host.as_str(), self.port));
        let found = timeout(limit::LOOKUP_MAX, asked).await.map_err(|_| {
            let cause = format!("no answer within {} s", limit::LOOKUP_MAX.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, cause)
        })??;
        let addresses: Vec<_> = found.take(limit::ADDRESSES_MAX).collect();
        match addresses.is_empty() {
            true => Err(io::Error::other("it has none")),
            false => Ok(addresses),
        }
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not NAME:PORT, such as primary.example:15012");
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let bracketed = bare.is_some();
        let host = bare.unwrap_or(host);
        match port.parse() {
            Ok(port @ 1..) if !host.is_empty() && host.contains(':') == bracketed => {
                Ok(Self { host: host.to_owned(), port })
            }
            _ => Err(shape()),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_name_and_a_port() {
        let service = "diolkos-primary.diolkos-system.svc";
        for (text, host, port) in [
            (format!("{service}:15012").as_str(), service, 15012),
            ("10.0.0.1:1", "10.0.0.1", 1),
            ("[fd00::1]:15012", "fd00::1", 15012),
        ] {
            let place: HostPort = text.parse().unwrap();
            assert_eq!((place.host.as_str(), place.port), (host, port));
            assert_eq!(place.to_string(), text);
        }
        for text in
            ["", "primary", "primary:", "primary:0", ":15012", "primary:70000", "fd00::1", "[a]:1"]
        {
            assert!(text.parse::<HostPort>().unwrap_err().contains("NAME:PORT"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_name_is_looked_up_and_one_that_is_not_there_is_said() {
        for text in ["127.0.0.3:15012", "[::1]:15012"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(HostPort::from(address).look_up().await.unwrap(), [address]);
        }
        let local: HostPort = "localhost:15012".parse().unwrap();
        let found = local.look_up().await.unwrap();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        let nowhere: HostPort = "primary.invalid:15012".parse().unwrap();
        assert!(nowhere.look_up().await.is_err());
    }
}
