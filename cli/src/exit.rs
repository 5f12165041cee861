//! With what the process ends, for scripts: docs/install.md lists it.

use std::fmt;
use std::process::ExitCode;

use anyhow::Error;

/// What was asked for makes no sense; nothing was done.
pub(crate) const USAGE: u8 = 2;
/// All was answered, and something is not as it was meant.
pub(crate) const AMISS: u8 = 3;
/// Whoever should answer cannot be reached.
pub(crate) const UNREACHABLE: u8 = 4;

/// An error that ends the process with a code of its own.
#[derive(Debug)]
pub(crate) struct Coded {
    code: u8,
    cause: Error,
}

pub(crate) struct Usage;

impl Usage {
    pub(crate) fn of(cause: impl Into<Error>) -> Error {
        Coded { code: USAGE, cause: cause.into() }.into()
    }
}

pub(crate) struct Unreachable;

impl Unreachable {
    pub(crate) fn of(cause: impl Into<Error>) -> Error {
        Coded { code: UNREACHABLE, cause: cause.into() }.into()
    }
}

/// The code that the innermost part of the error asks for.
pub(crate) fn code(error: &Error) -> ExitCode {
    let coded = error.chain().find_map(|cause| cause.downcast_ref::<Coded>());
    coded.map_or(ExitCode::FAILURE, |coded| ExitCode::from(coded.code))
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.cause, f)
    }
}

impl std::error::Error for Coded {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_code_survives_what_is_said_around_it() {
        let error = Err::<(), _>(Unreachable::of(anyhow::anyhow!("away"))).context("primary");
        let error = error.unwrap_err();
        assert_eq!(format!("{error:#}"), "primary: away");
        assert_eq!(format!("{:?}", code(&error)), format!("{:?}", ExitCode::from(UNREACHABLE)));
        let plain = code(&anyhow::anyhow!("other"));
        assert_eq!(format!("{plain:?}"), format!("{:?}", ExitCode::FAILURE));
    }
}
