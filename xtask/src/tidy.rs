//! The shape of the tree, as checks: what a reviewer should not have to look for.
//!
//! Each check is a function of a [`Tree`] (paths and texts) or of cargo's metadata, and beside each
//! stands a test with a made-up tree that it must refuse: a check that cannot fail checks nothing.

mod changelog;
mod graph;
mod length;
mod link;
mod machine;
mod name;
mod orphan;
mod pure;
mod tree;
mod wall;

use std::fmt;

use anyhow::Result;

use crate::metadata::Metadata;
use crate::workshop::Workshop;
pub(crate) use tree::Tree;

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    place: String,
    says: String,
}

pub(crate) fn check(workshop: &Workshop) -> Result<Vec<Finding>> {
    let tree = Tree::read(workshop)?;
    let mut findings = graph::check(&Metadata::read(workshop)?);
    for check in [
        changelog::check,
        length::check,
        link::check,
        machine::check,
        name::check,
        orphan::check,
        pure::check,
        wall::check,
    ] {
        findings.extend(check(&tree));
    }
    findings.sort();
    Ok(findings)
}

impl Finding {
    fn new(place: impl Into<String>, says: impl Into<String>) -> Self {
        Self { place: place.into(), says: says.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.says)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_is_tidy() {
        let findings = check(&Workshop::here()).unwrap();
        let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
