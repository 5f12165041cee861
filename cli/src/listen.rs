//! Where to listen, as an operator says it.

use std::net::{Ipv6Addr, SocketAddr};

/// An address and a port. `*:15021` is every address of both IP families.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let everywhere = |port: &str| Some((Ipv6Addr::UNSPECIFIED, port.parse().ok()?).into());
    let read = match text.strip_prefix("*:") {
        Some(port) => everywhere(port),
        None => text.parse().ok(),
    };
    read.ok_or_else(|| format!("{text:?} is no ADDRESS:PORT, nor *:PORT for every address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asterisk_is_every_address() {
        for (text, address) in [
            ("*:15012", "[::]:15012"),
            ("0.0.0.0:15012", "0.0.0.0:15012"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[fd00::1]:1", "[fd00::1]:1"),
        ] {
            assert_eq!(super::address(text), Ok(address.parse().unwrap()), "{text}");
        }
        for text in ["", "*", "*:", ":15012", "15012", "*:70000", "*:x", "*.1:2", "primary:15012"] {
            assert!(address(text).unwrap_err().contains("*:PORT"), "{text}");
        }
    }
}
