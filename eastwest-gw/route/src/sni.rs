//! The codec of Istio's server names: `outbound_.<service port>_.<subset>_.<host>`.
//!
//! The text is cut three times from the left, for a host could hold the separator if cut from the
//! right; a host that does hold it is refused. The port is the service's, never the target's.

use std::fmt;

use crate::{HostName, Refusal};

const SEPARATOR: &str = "_.";
const DIRECTION: &str = "outbound";

/// Joins the parts. Only what [`SniName::new`] accepts comes back from [`decode`].
pub fn encode(port: u16, subset: &str, host: &str) -> String {
    format!("{DIRECTION}{SEPARATOR}{port}{SEPARATOR}{subset}{SEPARATOR}{host}")
}

pub fn decode(text: &str) -> Result<SniName, SniError> {
    let fail = |fault| SniError { text: text.into(), fault };
    let mut parts = text.splitn(4, SEPARATOR);
    let (Some(direction), Some(port), Some(subset), Some(host)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(fail(SniFault::Parts));
    };
    if direction != DIRECTION {
        return Err(fail(SniFault::Direction));
    }
    let number = port.parse::<u16>().ok().filter(|number| number.to_string() == port);
    let port = number.ok_or_else(|| fail(SniFault::Port))?;
    SniName::new(port, subset, host)
}

/// A service port as one control plane names it to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SniName {
    port: u16,
    subset: String,
    host: HostName,
}

impl SniName {
    /// Subset and host come out in lower case: the table knows no other.
    pub fn new(port: u16, subset: &str, host: &str) -> Result<Self, SniError> {
        let fail = |fault| SniError { text: encode(port, subset, host), fault };
        if port == 0 {
            return Err(fail(SniFault::Port));
        }
        if subset.contains(SEPARATOR) || host.contains(SEPARATOR) {
            return Err(fail(SniFault::Separator));
        }
        let subset_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if subset.starts_with('.') || !subset.chars().all(subset_allowed) {
            return Err(fail(SniFault::Subset));
        }
        HostName::new(encode(port, subset, host).as_bytes())
            .map_err(|refusal| fail(SniFault::Name(refusal)))?;
        let host =
            HostName::new(host.as_bytes()).map_err(|refusal| fail(SniFault::Name(refusal)))?;
        Ok(Self { port, subset: subset.to_ascii_lowercase(), host })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Empty where the service is meant as a whole.
    pub fn subset(&self) -> &str {
        &self.subset
    }

    pub fn host(&self) -> &HostName {
        &self.host
    }
}

impl fmt::Display for SniName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode(self.port, &self.subset, self.host.as_str()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server name {text:?}: {fault}; expected outbound_.<port>_.<subset>_.<host>")]
pub struct SniError {
    pub text: String,
    pub fault: SniFault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SniFault {
    #[error("it has fewer than four parts")]
    Parts,
    #[error("its direction is not outbound")]
    Direction,
    #[error("its port is not a number from 1 to 65535")]
    Port,
    #[error("its subset is not letters, digits, '-', '_', '.'")]
    Subset,
    #[error("its subset or host contains the separator \"_.\"")]
    Separator,
    #[error("{0}")]
    Name(Refusal),
}

#[cfg(test)]
mod tests {
    use super::*;

    type Decoded<'a> = Result<(u16, &'a str, &'a str), SniFault>;

    #[test]
    fn names_decode_or_say_why_not() {
        use SniFault::*;
        let long = "a".repeat(254);
        let too_long = format!("outbound_.80_._.{long}");
        let cases: &[(&str, Decoded<'_>)] = &[
            ("outbound_.8080_._.catalog.shop.svc", Ok((8080, "", "catalog.shop.svc"))),
            ("outbound_.80_.v1_.a.b", Ok((80, "v1", "a.b"))),
            ("outbound_.80_.v1__.a.b", Ok((80, "v1_", "a.b"))),
            ("outbound_.80_.V1_.A.b", Ok((80, "v1", "a.b"))),
            ("outbound_.80_._.a_.b", Err(Separator)),
            ("outbound_.80_._.", Err(Name(Refusal::TrailingDot))),
            ("outbound_.80_._._b", Ok((80, "", "_b"))),
            ("inbound_.80_._.a.b", Err(Direction)),
            ("OUTBOUND_.80_._.a.b", Err(Direction)),
            ("outbound_.80_.a.b", Err(Parts)),
            ("a.b", Err(Parts)),
            ("", Err(Parts)),
            ("outbound_.0_._.a.b", Err(Port)),
            ("outbound_.080_._.a.b", Err(Port)),
            ("outbound_.+80_._.a.b", Err(Port)),
            ("outbound_.65536_._.a.b", Err(Port)),
            ("outbound_.65535_._.a.b", Ok((65535, "", "a.b"))),
            ("outbound_._._.a.b", Err(Port)),
            ("outbound_.80_.v 1_.a.b", Err(Subset)),
            (&too_long, Err(Name(Refusal::NameTooLong))),
        ];
        for (text, want) in cases {
            let got = decode(text);
            let got = got.as_ref().map(|n| (n.port(), n.subset(), n.host().as_str()));
            assert_eq!(got.map_err(|error| error.fault), *want, "{text:?}");
        }
    }
}
