//! How many tests passed, failed and were skipped, read from what `cargo test` and `go test -v`
//! print.

use std::fmt;
use std::ops::AddAssign;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Count {
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Adds what `line` says, if it is the closing line of a Rust test binary or of a Go test.
    pub(crate) fn read(&mut self, line: &str) {
        // Parts of a test are indented, and it fails if one of them does.
        if let Some(rest) = line.strip_prefix("--- ") {
            match rest.split_once(": ") {
                Some(("PASS", _)) => self.passed += 1,
                Some(("FAIL", _)) => self.failed += 1,
                Some(("SKIP", _)) => self.skipped += 1,
                _ => {}
            }
            return;
        }
        let Some((_, results)) =
            line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in results.split(';') {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_add_up_and_nothing_else_counts() {
        let output = "\
running 3 tests
test a ... ok
test result: ok. 11 passed; 0 failed; 2 ignored; 0 measured; 5 filtered out; finished in 0.01s

test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.2s
a log line: test result: ok. 100 passed; 0 failed
test result: nonsense
test result: ok. many passed; no failed
";
        let mut count = Count::default();
        output.lines().for_each(|line| count.read(line));
        assert_eq!(count, Count { passed: 14, failed: 1, skipped: 2 });
        assert_eq!(count.to_string(), "14 passed, 1 failed, 2 skipped");
    }

    #[test]
    fn a_test_of_go_counts_once_whatever_its_parts() {
        let output = "\
=== RUN   TestA
--- PASS: TestA (0.10s)
    --- PASS: TestA/Part (0.00s)
--- FAIL: TestB (0.00s)
--- SKIP: TestC (0.00s)
--- some_target, 20 s
FAIL
FAIL	a/b	0.1s
";
        let mut count = Count::default();
        output.lines().for_each(|line| count.read(line));
        assert_eq!(count, Count { passed: 1, failed: 1, skipped: 1 });
    }
}
