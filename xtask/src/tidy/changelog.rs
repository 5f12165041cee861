//! The changelog has a place for what comes next.

use crate::tidy::{Finding, tree::Tree};

const PATH: &str = "CHANGELOG.md";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.text(PATH) else { return vec![Finding::new(PATH, "missing")] };
    let sections = text.lines().filter(|line| line.starts_with("## "));
    match sections.into_iter().next() {
        Some("## [Unreleased]" | "## Unreleased") => Vec::new(),
        _ => vec![Finding::new(PATH, "its first section is not \"## Unreleased\"")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_section_is_what_comes_next() {
        assert!(
            check(&Tree::of(&[(PATH, "# Changelog\n\n## Unreleased\n\n## 0.1.0\n")])).is_empty()
        );
        for text in ["", "# Changelog\n", "## 0.1.0\n\n## Unreleased\n", "### Unreleased\n"] {
            assert_eq!(check(&Tree::of(&[(PATH, text)])).len(), 1, "{text:?}");
        }
        assert_eq!(check(&Tree::of(&[])), [Finding::new(PATH, "missing")]);
    }
}
