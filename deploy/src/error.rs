//! Why settings are refused, each with the way out.

use diolkos_topology::NameError;

use crate::limit;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("the values cannot be read: {0}")]
    Values(String),
    #[error("the values have {0} bytes, at most {max} are read", max = limit::VALUES_BYTES_MAX)]
    TooLarge(usize),
    #[error("{name} is missing for profile {profile}; give {flag}")]
    Missing { name: &'static str, profile: &'static str, flag: &'static str },
    #[error("{flag} means nothing for profile {profile}; leave it out")]
    Unused { flag: &'static str, profile: &'static str },
    #[error("{flag}: {cause}")]
    Name { flag: &'static str, cause: NameError },
    #[error("{flag} {said:?}: {cause}; {way_out}")]
    Value { flag: &'static str, said: String, cause: &'static str, way_out: &'static str },
    #[error("{flag} {said} is out of range; use {min} to {max}")]
    Range { flag: &'static str, said: u64, min: u64, max: u64 },
    #[error("mesh settings: {0}")]
    Mesh(String),
}
