//! No path of somebody's machine in what everybody gets.

use crate::tidy::{Finding, tree::Tree};

/// Written in two halves, or this file would be the first finding.
const HOMES: &[&str] = &[concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/")];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files() {
        for (number, line) in text.lines().enumerate() {
            if let Some(home) = HOMES.iter().find(|home| begins_a_path(line, home)) {
                let place = format!("{path}:{}", number + 1);
                findings.push(Finding::new(place, format!("a path of one machine: {home}...")));
            }
        }
    }
    findings
}

/// `trust/root/` and `https://host/work/` are not paths from the root of a machine.
fn begins_a_path(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || "-_.~}>".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_one_machine_is_found_with_its_line() {
        for home in HOMES {
            let text = format!("first\ncd {home}me && make\n");
            let found = check(&Tree::of(&[("docs/build.md", &text)]));
            assert_eq!(
                found,
                [Finding::new("docs/build.md:2", format!("a path of one machine: {home}..."))]
            );
        }
    }

    #[test]
    fn paths_below_something_are_fine() {
        let text = format!("trust{0}a https://host{0}b \"{{dir}}{0}c\"", HOMES[0]);
        assert!(check(&Tree::of(&[("a.md", &text)])).is_empty());
    }
}
