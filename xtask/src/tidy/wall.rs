//! The clippy.toml of each crate. Clippy takes the nearest and does not merge it with those above,
//! so a crate below a pure one needs its own, and the pure ones can only be kept equal.

use crate::tidy::{Finding, tree::Tree};

const PURE: &[&str] = &[
    "trust/clippy.toml",
    "trust/wire/clippy.toml",
    "topology/clippy.toml",
    "primary/facts/clippy.toml",
    "primary/inject/clippy.toml",
    "primary/watch/clippy.toml",
    "primary/xds/clippy.toml",
    "eastwest-gw/route/clippy.toml",
    "deploy/clippy.toml",
    "kind-tests/plan/clippy.toml",
];

const ORDINARY: &str = "clippy.toml";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let model = PURE[0];
    for path in PURE {
        match tree.text(path) {
            None => findings.push(Finding::new(*path, "missing: a pure crate has its wall")),
            text if text == tree.text(model) => {}
            Some(_) => findings.push(Finding::new(*path, format!("differs from {model}"))),
        }
    }
    if tree.text(ORDINARY).is_none() {
        findings.push(Finding::new(ORDINARY, "missing"));
    }
    let ordinary = tree.files().filter(|(path, _)| {
        path.ends_with("/clippy.toml") && !PURE.contains(path) && *path != ORDINARY
    });
    for (path, text) in ordinary {
        if Some(text) != tree.text(ORDINARY) {
            findings.push(Finding::new(path, format!("differs from {ORDINARY}")));
        }
    }
    findings.extend(tree.crates().filter_map(|folder| check_nearest(tree, folder)));
    findings
}

/// A crate that is not pure must not stand behind the wall of one that is.
fn check_nearest(tree: &Tree, folder: &str) -> Option<Finding> {
    let own = format!("{folder}/clippy.toml");
    if tree.text(&own).is_some() {
        return None;
    }
    let pure = PURE.iter().filter_map(|path| path.strip_suffix("clippy.toml"));
    let above = pure.into_iter().find(|pure| folder.starts_with(*pure))?;
    let says = format!("missing: the wall of {above} would be the nearest; copy {ORDINARY}");
    Some(Finding::new(own, says))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree_with<'t>(changes: &[(&'t str, &'t str)]) -> Tree {
        let mut files: Vec<(&str, &str)> = PURE.iter().map(|path| (*path, "wall")).collect();
        files.push((ORDINARY, "plain"));
        files.extend(changes);
        Tree::of(&files)
    }

    fn says(tree: &Tree) -> Vec<String> {
        check(tree).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn equal_walls_and_plain_copies_below_them_are_fine() {
        let tree = tree_with(&[
            ("trust/Cargo.toml", ""),
            ("trust/tls/Cargo.toml", ""),
            ("trust/tls/clippy.toml", "plain"),
            ("primary/Cargo.toml", ""),
        ]);
        assert_eq!(says(&tree), [""; 0]);
    }

    #[test]
    fn a_wall_that_differs_or_is_gone_is_found() {
        assert_eq!(
            says(&tree_with(&[("topology/clippy.toml", "lower")])),
            ["topology/clippy.toml: differs from trust/clippy.toml"]
        );
        assert_eq!(says(&Tree::of(&[])).len(), PURE.len() + 1);
    }

    #[test]
    fn a_shell_below_a_pure_crate_needs_a_plain_copy() {
        let tree = tree_with(&[
            ("trust/tls/Cargo.toml", ""),
            ("trust/service/Cargo.toml", ""),
            ("trust/service/clippy.toml", "own"),
        ]);
        assert_eq!(
            says(&tree),
            [
                "trust/service/clippy.toml: differs from clippy.toml",
                "trust/tls/clippy.toml: missing: the wall of trust/ would be the nearest; copy \
             clippy.toml",
            ]
        );
    }
}
