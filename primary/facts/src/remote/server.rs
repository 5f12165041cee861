//! The address of a remote API server, read strictly: what two programs could read differently is
//! not read at all.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::code::{Code, Flaw};
use super::destination::{AllowedRanges, may_connect};
use crate::limit;

/// `https://host:port/path`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub host: Host,
    pub port: u16,
    /// Empty, or `/` and segments, without one at the end: what stands before `/api`.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Address(IpAddr),
    /// Lower case, without a dot at the end.
    Name(String),
}

const HTTPS_PORT: u16 = 443;
const WRITE_IT: &str = "write it like https://east.example:6443";

impl Server {
    /// The line is the caller's to say.
    pub(super) fn parse(text: &str, allowed: &AllowedRanges) -> Result<Self, Flaw> {
        let rest = after_scheme(text)?;
        if rest.contains('@') {
            let cause = "the server has a user or a password in its address";
            let way_out = "put a token into the user instead";
            return Err(Flaw::new(0, Code::ServerUserinfo, cause, way_out));
        }
        if rest.contains(['?', '#']) {
            return Err(wrong("has a query or a fragment"));
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (host, port) = split_port(authority).map_err(wrong)?;
        let host = Host::parse(host).map_err(wrong)?;
        let port = match port {
            None => HTTPS_PORT,
            Some(port) => port_of(port).ok_or_else(|| wrong("has no port from 1 to 65535"))?,
        };
        let path = path_of(path).map_err(wrong)?;
        host.check(allowed)?;
        Ok(Self { host, port, path })
    }
}

impl Host {
    /// An address, or a name as DNS has it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']').and_then(|text| text.parse::<Ipv6Addr>().ok());
            let address = address.ok_or("has no IPv6 address between its brackets")?;
            return Ok(Self::Address(address.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Address(address.into()));
        }
        let name = text.to_ascii_lowercase();
        if name.is_empty() {
            return Err("has no host");
        }
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if name.len() > limit::HOST_BYTES_MAX || !name.split('.').all(label) {
            return Err("has a host that is no DNS name and no address");
        }
        // 127.1, 0x7f.1, 2130706433: some programs read an address there.
        let last = name.rsplit('.').next().unwrap_or_default();
        let hex = last.strip_prefix("0x").is_some_and(|d| d.chars().all(|c| c.is_ascii_hexdigit()));
        if hex || last.chars().all(|c| c.is_ascii_digit()) {
            return Err("has a host that is nearly an IPv4 address");
        }
        Ok(Self::Name(name))
    }

    fn check(&self, allowed: &AllowedRanges) -> Result<(), Flaw> {
        let address = match self {
            Self::Address(address) => *address,
            // RFC 6761: always loopback, whatever a resolver says.
            Self::Name(name) if name == "localhost" || name.ends_with(".localhost") => {
                Ipv4Addr::LOCALHOST.into()
            }
            Self::Name(_) => return Ok(()),
        };
        may_connect(address, allowed).map_err(|forbidden| {
            let way_out = "give the address by which other machines reach the API server \
                           (create-remote-secret --server)";
            Flaw::new(0, Code::ServerAddress, format!("the server's address {forbidden}"), way_out)
        })
    }
}

fn after_scheme(text: &str) -> Result<&str, Flaw> {
    let scheme = |cause: &str| Flaw::new(0, Code::ServerScheme, cause, WRITE_IT);
    let Some((name, rest)) = text.split_once("://") else {
        return Err(scheme("the server does not begin with https://"));
    };
    if name.eq_ignore_ascii_case("https") {
        return Ok(rest);
    }
    if name.eq_ignore_ascii_case("http") {
        return Err(scheme("the server is spoken to without TLS (http)"));
    }
    Err(scheme("the server does not begin with https://"))
}

/// Without the text: somebody may have put a secret into it.
fn wrong(why: &str) -> Flaw {
    Flaw::new(0, Code::Server, format!("the server {why}"), WRITE_IT)
}

/// Brackets stay with the host.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), &'static str> {
    let (host, rest) = match authority.find(']') {
        Some(at) => authority.split_at(at + 1),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        Some(port) => Ok((host, Some(port))),
        None => Err("has something between its address and its port"),
    }
}

fn port_of(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port != 0)
}

fn path_of(text: &str) -> Result<String, &'static str> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.len() > limit::SERVER_PATH_BYTES_MAX {
        return Err("has a path that is too long");
    }
    let inner = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
    let good = |part: &str| !matches!(part, "" | "." | "..") && part.chars().all(inner);
    if text.is_empty() || text.split('/').skip(1).all(good) {
        return Ok(text.to_owned());
    }
    Err("has a path of other than plain segments")
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}{}", self.host, self.port, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, Code> {
        let server = Server::parse(text, &AllowedRanges::default());
        server.map(|server| server.to_string()).map_err(|flaw| flaw.code)
    }

    #[test]
    fn what_is_read_has_one_spelling() {
        let cases = [
            ("https://a.example:6443", "https://a.example:6443"),
            ("https://a.example", "https://a.example:443"),
            ("HTTPS://A.Example/", "https://a.example:443"),
            ("https://10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("https://[2001:DB8::1]", "https://[2001:db8::1]:443"),
            ("https://[2001:db8::1]:6443/", "https://[2001:db8::1]:6443"),
            (
                "https://r.example/k8s/clusters/c-m-1:x",
                "https://r.example:443/k8s/clusters/c-m-1:x",
            ),
            ("https://a_b.example:1/x/", "https://a_b.example:1/x"),
            ("https://7.example:65535", "https://7.example:65535"),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a4_what_could_be_read_in_two_ways_is_not_read() {
        let long_path = format!("https://a/{}", "x".repeat(limit::SERVER_PATH_BYTES_MAX));
        let long_host = format!("https://{}a", "a.".repeat(127));
        let longest = format!("https://{}a", "a.".repeat(126));
        assert!(read(&longest).is_ok());
        assert!(read(&long_path[..long_path.len() - 1]).is_ok());
        let cases = [
            ("", Code::ServerScheme),
            ("a.example:6443", Code::ServerScheme),
            ("http://a.example", Code::ServerScheme),
            ("unix:///run/a", Code::ServerScheme),
            ("file:///etc/passwd", Code::ServerScheme),
            (" https://a.example", Code::ServerScheme),
            ("https://u:p@a.example", Code::ServerUserinfo),
            ("https://a.example@169.254.169.254", Code::ServerUserinfo),
            ("https://a.example/?x", Code::Server),
            ("https://a.example/#x", Code::Server),
            ("https://", Code::Server),
            ("https://:6443", Code::Server),
            ("https://a.example:", Code::Server),
            ("https://a.example:0", Code::Server),
            ("https://a.example:+1", Code::Server),
            ("https://a.example:65536", Code::Server),
            ("https://a.example:000443", Code::Server),
            ("https://a.example:1:2", Code::Server),
            ("https://a.example.", Code::Server),
            ("https://a..example", Code::Server),
            ("https://a b.example", Code::Server),
            ("https://a\\b.example", Code::Server),
            ("https://ä.example", Code::Server),
            ("https://a%2eexample", Code::Server),
            ("https://127.1", Code::Server),
            ("https://2130706433", Code::Server),
            ("https://0x7f.0.0.1", Code::Server),
            ("https://a.0x7f", Code::Server),
            ("https://0177.0.0.1", Code::Server),
            ("https://2001:db8::1", Code::Server),
            ("https://[2001:db8::1", Code::Server),
            ("https://[fe80::1%25eth0]", Code::Server),
            ("https://[10.0.0.1]", Code::Server),
            ("https://[2001:db8::1]6443", Code::Server),
            ("https://a.example//x", Code::Server),
            ("https://a.example/../x", Code::Server),
            ("https://a.example/%2e%2e/x", Code::Server),
            (&long_path, Code::Server),
            (&long_host, Code::Server),
            ("https://127.0.0.1:6443", Code::ServerAddress),
            ("https://localhost:6443", Code::ServerAddress),
            ("https://x.LOCALHOST:6443", Code::ServerAddress),
            ("https://[::1]:6443", Code::ServerAddress),
            ("https://[::ffff:10.0.0.1]:6443", Code::ServerAddress),
            ("https://169.254.169.254", Code::ServerAddress),
            ("https://0.0.0.0", Code::ServerAddress),
        ];
        for (text, code) in cases {
            assert_eq!(read(text), Err(code), "{text}");
        }
        let allowed = AllowedRanges(vec!["127.0.0.0/8".parse().expect("a range")]);
        for text in ["https://127.0.0.1:6443", "https://localhost:6443"] {
            assert!(Server::parse(text, &allowed).is_ok(), "{text}");
        }
    }
}
