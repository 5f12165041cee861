//! What a leaf certificate says of itself. Nothing here is trusted until its path is verified.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use diolkos_trust::SpiffeId;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::AttributeTypeAndValue;

use crate::error::{LeafFault, Names};

#[derive(Debug)]
pub(crate) struct Leaf {
    uris: Vec<String>,
    hosts: Vec<String>,
    /// The subject's, if it has exactly one.
    pub(crate) organization: Option<String>,
    not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    authority: bool,
}

impl Leaf {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, LeafFault> {
        let encoding = |cause: &dyn std::fmt::Display| LeafFault::Encoding(cause.to_string());
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| encoding(&error))?;
        if !rest.is_empty() {
            return Err(LeafFault::Encoding("bytes follow the certificate".into()));
        }
        let constraints = certificate.basic_constraints().map_err(|error| encoding(&error))?;
        let key_usage = certificate.key_usage().map_err(|error| encoding(&error))?;
        let mut leaf = Self {
            uris: Vec::new(),
            hosts: Vec::new(),
            organization: organization(&certificate),
            not_before: system_time(certificate.validity().not_before),
            not_after: system_time(certificate.validity().not_after),
            // X.509-SVID, section 5.2: any of the three makes it no leaf.
            authority: constraints.is_some_and(|found| found.value.ca)
                || key_usage
                    .is_some_and(|found| found.value.key_cert_sign() || found.value.crl_sign()),
        };
        let names = certificate.subject_alternative_name().map_err(|error| encoding(&error))?;
        for name in names.iter().flat_map(|found| &found.value.general_names) {
            leaf.add(name)?;
        }
        Ok(leaf)
    }

    fn add(&mut self, name: &GeneralName<'_>) -> Result<(), LeafFault> {
        match name {
            GeneralName::URI(uri) => self.uris.push((*uri).to_string()),
            GeneralName::DNSName(dns) => self.hosts.push((*dns).to_string()),
            GeneralName::IPAddress(bytes) => {
                let octets = |found: &[u8]| <[u8; 4]>::try_from(found).map(IpAddr::from).ok();
                let long = |found: &[u8]| <[u8; 16]>::try_from(found).map(IpAddr::from).ok();
                let address = octets(bytes).or_else(|| long(bytes));
                self.hosts.extend(address.map(|found| found.to_string()));
            }
            // A name that cannot be read may be a second URI to another reader.
            GeneralName::Invalid(..) => {
                return Err(LeafFault::Encoding("a subject alternative name is malformed".into()));
            }
            _ => {}
        }
        Ok(())
    }

    /// The one SPIFFE id; several URI names or none are a fault.
    pub(crate) fn id(&self) -> Result<SpiffeId, LeafFault> {
        match self.uris.as_slice() {
            [] => Err(LeafFault::NoSpiffeId { names: Names(self.hosts.clone()) }),
            [uri] => SpiffeId::parse(uri).map_err(LeafFault::BadSpiffeId),
            several => Err(LeafFault::SeveralUris { uris: Names(several.to_vec()) }),
        }
    }

    /// `None` where the leaf has no URI name at all, as certificates for DNS names may.
    pub(crate) fn id_if_any(&self) -> Result<Option<SpiffeId>, LeafFault> {
        if self.uris.is_empty() { Ok(None) } else { self.id().map(Some) }
    }

    /// DNS names and addresses.
    pub(crate) fn hosts(&self) -> Names {
        Names(self.hosts.clone())
    }

    /// What to call it in an error.
    pub(crate) fn subject(&self) -> Names {
        match (self.uris.as_slice(), self.hosts.as_slice()) {
            ([], []) => Names(vec!["an unnamed workload".into()]),
            ([], hosts) => Names(hosts.to_vec()),
            (uris, _) => Names(uris.to_vec()),
        }
    }

    pub(crate) fn check(&self, now: SystemTime) -> Result<(), LeafFault> {
        if self.authority {
            return Err(LeafFault::Authority { subject: self.subject() });
        }
        if let Ok(wait) = self.not_before.duration_since(now)
            && !wait.is_zero()
        {
            return Err(LeafFault::NotYetValid { subject: self.subject(), wait });
        }
        match now.duration_since(self.not_after) {
            Ok(ago) if !ago.is_zero() => Err(LeafFault::Expired { subject: self.subject(), ago }),
            _ => Ok(()),
        }
    }
}

fn organization(certificate: &X509Certificate<'_>) -> Option<String> {
    only_text(certificate.subject().iter_organization())
}

/// Several, or one that is no text, could be read as another by somebody else: then there is none.
pub(crate) fn only_text<'a>(
    mut found: impl Iterator<Item = &'a AttributeTypeAndValue<'a>>,
) -> Option<String> {
    match (found.next(), found.next()) {
        (Some(one), None) => one.as_str().ok().map(str::to_owned),
        _ => None,
    }
}

/// Before 1970 is 1970: nothing is valid or expires earlier than that.
pub(crate) fn system_time(time: ASN1Time) -> SystemTime {
    let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
