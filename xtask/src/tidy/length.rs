//! A file is read in one sitting. Functions are clippy's (`too-many-lines-threshold`), lines are
//! rustfmt's.

use crate::tidy::{Finding, tree::Tree};

const FILE_LINES_MAX: usize = 600;
const TEST_FILE_LINES_MAX: usize = 900;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| is_source(path)) {
        let lines = text.lines().count();
        let lines_max = if is_test(path) { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        if lines > lines_max {
            findings.push(Finding::new(path, format!("{lines} lines, at most {lines_max}")));
        }
    }
    findings
}

fn is_source(path: &str) -> bool {
    path.ends_with(".rs") || path.ends_with(".go")
}

fn is_test(path: &str) -> bool {
    path.starts_with("tests/")
        || path.contains("/tests/")
        || path.ends_with("/tests.rs")
        || path.ends_with("_test.go")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_lines_as_the_limit_and_not_one_more() {
        for (path, lines_max) in [
            ("a/src/b.rs", FILE_LINES_MAX),
            ("a/tests/b.rs", TEST_FILE_LINES_MAX),
            ("a/b.go", FILE_LINES_MAX),
            ("a/b_test.go", TEST_FILE_LINES_MAX),
        ] {
            assert!(check(&Tree::of(&[(path, &"\n".repeat(lines_max))])).is_empty());
            let found = check(&Tree::of(&[(path, &"\n".repeat(lines_max + 1))]));
            let expected = format!("{} lines, at most {lines_max}", lines_max + 1);
            assert_eq!(found, [Finding::new(path, expected)]);
        }
    }
}
