//! A document without YAML's machinery, and faults that quote nothing of it.
//!
//! Who writes a document that holds secrets has no need of anchors, aliases, merge keys or tags of
//! his own, and what an error says of such a document must not be a piece of it.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{DuplicateKeyPolicy, Error, MergeKeyPolicy, Spanned};

use super::tree::{Node, Value, line_of};

/// Why it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Illegible {
    /// An anchor, an alias or a merge key.
    Alias,
    DuplicateKey,
    Syntax,
    /// Indented with a tab.
    Tab,
    Tag,
    TooDeep,
    TooMuch,
}

/// What such a document may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) depth: usize,
    pub(crate) nodes: usize,
}

/// One document whose first line is line `first_line` of its file; or the line and why not.
pub(crate) fn parse_bare(
    text: &str,
    first_line: u32,
    bounds: Bounds,
) -> Result<Node, (u32, Illegible)> {
    let before = first_line.saturating_sub(1);
    let parsed: Result<Spanned<Value>, _> =
        serde_saphyr::from_str_with_options(text, options(text, bounds));
    match parsed {
        Ok(value) => {
            let mut root = Node::from(value);
            root.shift(before);
            root.line = root.line.max(first_line);
            Ok(root)
        }
        Err(error) => {
            let line = error.location().map_or(1, |place| line_of(place.line())).max(1);
            Err((line.saturating_add(before), why(&error, text, line)))
        }
    }
}

fn options(text: &str, bounds: Bounds) -> serde_saphyr::Options {
    let budget = serde_saphyr::budget! {
        max_depth: bounds.depth,
        flow_nesting_limit: bounds.depth,
        max_nodes: bounds.nodes,
        max_events: bounds.nodes * 2,
        max_documents: 1,
        max_anchors: 0,
        max_aliases: 0,
        max_total_scalar_bytes: text.len(),
    };
    let mut options = serde_saphyr::options! {
        budget: budget,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    options.alias_limits.max_total_replayed_events = 0;
    options
}

fn why(error: &Error, text: &str, line: u32) -> Illegible {
    let broken = || {
        let line = usize::try_from(line - 1).unwrap_or(usize::MAX);
        let indent = |text: &str| text.chars().take_while(|c| c.is_whitespace()).any(|c| c == '\t');
        if text.lines().nth(line).is_some_and(indent) { Illegible::Tab } else { Illegible::Syntax }
    };
    match error {
        Error::AliasError { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::MergeKeyNotAllowed { .. }
        | Error::UnknownAnchor { .. } => Illegible::Alias,
        Error::DuplicateMappingKey { .. } => Illegible::DuplicateKey,
        Error::UnsupportedTag { .. } => Illegible::Tag,
        Error::Budget { breach, .. } => match breach {
            BudgetBreach::Anchors { .. } | BudgetBreach::Aliases { .. } => Illegible::Alias,
            BudgetBreach::Depth { .. } => Illegible::TooDeep,
            _ => Illegible::TooMuch,
        },
        _ => broken(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { depth: 4, nodes: 12 };

    fn refused(text: &str) -> (u32, Illegible) {
        parse_bare(text, 1, BOUNDS).expect_err(text)
    }

    #[test]
    fn lines_are_those_of_the_file() {
        assert_eq!(parse_bare("a: [\n", 7, BOUNDS).err(), Some((7, Illegible::Syntax)));
        assert_eq!(parse_bare("a: 1\n", 7, BOUNDS).map(|root| root.line), Ok(7));
    }

    #[test]
    fn machinery_is_refused_with_its_line() {
        let cases = [
            ("a: 1\nb: &x 2\n", (2, Illegible::Alias)),
            ("a: 1\nb: *x\n", (2, Illegible::Alias)),
            ("a: 1\n<<: {b: 2}\n", (2, Illegible::Alias)),
            ("a: 1\nb: 2\na: 3\n", (3, Illegible::DuplicateKey)),
            ("a: 1\nb: !mine 2\n", (2, Illegible::Tag)),
            ("a: 1\nb: !include c\n", (2, Illegible::Tag)),
            ("a:\n\tb: 1\n", (2, Illegible::Tab)),
            ("a: [\n", (1, Illegible::Syntax)),
            ("a: {b: {c: {d: {e: 1}}}}\n", (1, Illegible::TooDeep)),
            ("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]\n", (1, Illegible::TooMuch)),
        ];
        for (text, expected) in cases {
            assert_eq!(refused(text), expected, "{text:?}");
        }
    }

    #[test]
    fn as_deep_and_as_much_as_allowed_is_read() {
        assert!(parse_bare("a: {b: {c: {d: 1}}}\n", 1, BOUNDS).is_ok());
        assert!(parse_bare("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]\n", 1, BOUNDS).is_ok());
    }

    #[test]
    fn what_is_wiped_is_empty() {
        let mut root = parse_bare("a: {b: secret}\nc: [secret]\n", 1, BOUNDS).expect("it is YAML");
        root.wipe();
        assert!(!format!("{root:?}").contains("secret"));
    }
}
