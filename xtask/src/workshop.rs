//! Where the work happens: the tree, its tools, and whether a machine or a person is looking.

use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(crate) struct Workshop {
    root: PathBuf,
    strict: Strictness,
}

/// What a missing tool or an empty tier means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// On someone's machine: named and skipped.
    Lenient,
    /// Under `CI`: a failure, and the lock file is not touched.
    Strict,
}

impl Workshop {
    pub(crate) fn here() -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = own.parent().unwrap_or(own).to_owned();
        Self { root, strict: Strictness::of(std::env::var("CI").ok().as_deref()) }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    pub(crate) fn is_strict(&self) -> bool {
        self.strict == Strictness::Strict
    }
}

impl Strictness {
    fn of(ci: Option<&str>) -> Self {
        match ci {
            None | Some("" | "0" | "false") => Self::Lenient,
            Some(_) => Self::Strict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ci_is_strict_unless_it_says_no() {
        for (ci, strict) in [
            (None, Strictness::Lenient),
            (Some(""), Strictness::Lenient),
            (Some("false"), Strictness::Lenient),
            (Some("0"), Strictness::Lenient),
            (Some("true"), Strictness::Strict),
            (Some("1"), Strictness::Strict),
        ] {
            assert_eq!(Strictness::of(ci), strict, "{ci:?}");
        }
    }
}
