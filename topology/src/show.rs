//! How effects read: one line each, as scenarios, logs and `diolkos explain` print them.

use std::fmt;

use crate::audience::AudienceId;
use crate::event::{Effects, StatusWish};
use crate::fact::{AppProtocol, Mtls};
use crate::name::Stamp;
use crate::view::{
    Change, PortView, Restricted, ServiceView, ViewDelta, ViewEndpoint, ViewGateway, WEIGHT_UNIT,
    What,
};

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.view)?;
        for notice in &self.notices {
            writeln!(f, "notice {notice}")?;
        }
        for wish in &self.status_wishes {
            writeln!(f, "wish {wish}")?;
        }
        Ok(())
    }
}

/// Each line ends.
impl fmt::Display for ViewDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.changes.iter().try_for_each(|change| writeln!(f, "{change}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.audience, self.what)
    }
}

impl fmt::Display for AudienceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.0)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint { port, address, entry: Some(entry) } => {
                write!(f, "+ {port} endpoint {address} {entry}")
            }
            Self::Endpoint { port, address, entry: None } => {
                write!(f, "- {port} endpoint {address}")
            }
            Self::Gateway { port, address, entry: Some(entry) } => {
                write!(f, "+ {port} gateway {address} {entry}")
            }
            Self::Gateway { port, address, entry: None } => write!(f, "- {port} gateway {address}"),
            Self::Identities { port, identities } => {
                write!(f, "= {port} identities")?;
                identities.iter().try_for_each(|identity| write!(f, " {identity}"))
            }
            Self::Service { entry: Some(entry), .. } => write!(f, "+ {entry}"),
            Self::Service { key, entry: None } => write!(f, "- {key}"),
        }
    }
}

impl fmt::Display for ServiceView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ports=", self.key)?;
        list(f, &self.ports)?;
        f.write_str(" vips=")?;
        list(f, &self.vips)?;
        f.write_str(" from=")?;
        list(f, &self.clusters)?;
        for Restricted { cluster, consumers } in &self.restricted {
            write!(f, " {cluster}-for=")?;
            list(f, consumers)?;
        }
        Ok(())
    }
}

/// `-` for none, else separated by commas.
fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, entries: &[T]) -> fmt::Result {
    if entries.is_empty() {
        return f.write_str("-");
    }
    for (place, entry) in entries.iter().enumerate() {
        write!(f, "{}{entry}", if place == 0 { "" } else { "," })?;
    }
    Ok(())
}

impl fmt::Display for PortView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}/{}", self.name, self.port, self.protocol)
    }
}

impl fmt::Display for AppProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        })
    }
}

impl fmt::Display for Mtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Istio => "mtls",
            Self::Plaintext => "plaintext",
        })
    }
}

impl fmt::Display for ViewEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, locality, priority, mtls, workload: _, weight } = self;
        write!(f, "of {cluster} at {locality} priority={priority} {mtls}")?;
        if *weight == WEIGHT_UNIT { Ok(()) } else { write!(f, " weight={}", Weight(*weight)) }
    }
}

impl fmt::Display for ViewGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, locality, priority, weight } = self;
        write!(f, "of {cluster} at {locality} priority={priority} weight={}", Weight(*weight))
    }
}

/// In endpoints, as a mixed fraction: `2+1/3`.
struct Weight(u64);

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / WEIGHT_UNIT, self.0 % WEIGHT_UNIT);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let common = greatest_common_divisor(rest, WEIGHT_UNIT);
        let fraction = (rest / common, WEIGHT_UNIT / common);
        if whole > 0 {
            write!(f, "{whole}+")?;
        }
        write!(f, "{}/{}", fraction.0, fraction.1)
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl fmt::Display for StatusWish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ExportCondition { cluster, service, conflict: None } => {
                write!(f, "export {service} in {cluster}: Conflict=False")
            }
            Self::ExportCondition { cluster, service, conflict: Some(conflict) } => {
                write!(f, "export {service} in {cluster}: Conflict=True, {conflict}")
            }
        }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch.0, self.seq.0)
    }
}
