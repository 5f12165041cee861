//! Text of clusters and peers, made safe for a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// `text` with everything escaped that a terminal would obey rather than show: control characters
/// (C0, DEL, C1) and the marks that reorder or hide text. Line breaks too, so that one cluster
/// cannot write a line that looks like another's. What has none of these is not copied.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_obeyed(character) {
            write!(shown, "{}", character.escape_default()).expect("a String takes any text");
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a15_what_a_terminal_would_obey_is_shown_instead() {
        let cases = [
            ("ledger", "ledger"),
            ("Zürich 港", "Zürich 港"),
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("one\ntwo\r\tthree", "one\\ntwo\\r\\tthree"),
            ("bell\u{7}del\u{7f}csi\u{9b}", "bell\\u{7}del\\u{7f}csi\\u{9b}"),
            ("pay\u{202e}lave", "pay\\u{202e}lave"),
            ("in\u{200b}visible\u{feff}", "in\\u{200b}visible\\u{feff}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
        ];
        for (text, shown) in cases {
            assert_eq!(printable(text), shown, "{text:?}");
        }
    }

    #[test]
    fn harmless_text_is_not_copied() {
        assert!(matches!(printable("payments/ledger"), Cow::Borrowed(_)));
    }
}
