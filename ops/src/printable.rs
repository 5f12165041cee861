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
