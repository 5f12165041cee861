//! One file, many documents: each is parsed alone, so that none spoils its neighbours.
//!
//! YAML's document markers stand at column 0, where no block scalar and no quoted text of a
//! document may have them, so that lines are enough to tell.

/// One document's text. Its first line is line `line` of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) line: u32,
    pub(crate) text: &'a str,
}

/// Pieces without content (comments, directives, nothing) are left out.
pub(crate) fn split(file: &str) -> Vec<Piece<'_>> {
    let file = file.strip_prefix('\u{feff}').unwrap_or(file);
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut start_line = 1;
    let mut offset = 0;
    for (index, line) in (1u32..).zip(file.split_inclusive('\n')) {
        if is_marker(line, "---") || is_marker(line, "...") {
            pieces.push(Piece { line: start_line, text: &file[start..offset] });
            // What follows `---` on its line belongs to the document; the marker may stay there.
            let skipped = if is_marker(line, "...") { line.len() } else { 0 };
            start = offset + skipped;
            start_line = if skipped > 0 { index + 1 } else { index };
        }
        offset += line.len();
    }
    pieces.push(Piece { line: start_line, text: &file[start..] });
    pieces.retain(|piece| has_content(piece.text));
    pieces
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn has_content(text: &str) -> bool {
    text.lines().enumerate().any(|(index, line)| {
        let line = match line.strip_prefix("---") {
            Some(rest) if index == 0 => rest,
            _ => line,
        };
        let directive = index == 0 && line.starts_with('%');
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#') && !directive
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(file: &str) -> Vec<(u32, &str)> {
        split(file).into_iter().map(|piece| (piece.line, piece.text)).collect()
    }

    #[test]
    fn documents_keep_their_lines() {
        assert_eq!(
            pieces("a: 1\n---\nb: 2\n--- # c\nc: 3\n"),
            [(1, "a: 1\n"), (2, "---\nb: 2\n"), (4, "--- # c\nc: 3\n")]
        );
    }

    #[test]
    fn pieces_without_content_are_left_out() {
        assert_eq!(pieces(""), []);
        assert_eq!(pieces("# only words\n---\n---\n\n...\n"), []);
        assert_eq!(pieces("%YAML 1.2\n---\na: 1\n"), [(2, "---\na: 1\n")]);
    }

    #[test]
    fn a_marker_is_one_only_at_the_beginning_of_a_line_and_alone() {
        let text = "a: |\n  ---\n  x\nb: ---x\n----\n";
        assert_eq!(pieces(text), [(1, text)]);
    }

    #[test]
    fn byte_order_marks_and_carriage_returns_are_no_content() {
        assert_eq!(
            pieces("\u{feff}a: 1\r\n---\r\nb: 2\r\n"),
            [(1, "a: 1\r\n"), (2, "---\r\nb: 2\r\n")]
        );
    }

    #[test]
    fn content_may_stand_beside_the_marker() {
        assert_eq!(pieces("--- {a: 1}\n... \nb: 2"), [(1, "--- {a: 1}\n"), (3, "b: 2")]);
    }
}
