//! From bytes to a tree, before anything in it is believed.

use super::code::{Code, Flaw};
use crate::limit;
use crate::text::{self, Illegible, Node};

/// Overwritten when dropped.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) root: Node,
}

impl Drop for Document {
    fn drop(&mut self) {
        self.root.wipe();
    }
}

pub(super) fn read(bytes: &[u8]) -> Result<Document, Flaw> {
    let text = text_of(bytes)?;
    let pieces = text::split(text);
    let piece = match pieces[..] {
        [] => {
            let cause = "the kubeconfig is empty";
            return Err(Flaw::new(0, Code::Empty, cause, "write one, or drop the entry"));
        }
        [piece] => piece,
        [_, second, ..] => {
            let cause = "the kubeconfig has more than one document";
            return Err(Flaw::new(second.line, Code::Document, cause, "keep one"));
        }
    };
    let bounds =
        text::Bounds { depth: limit::KUBECONFIG_DEPTH_MAX, nodes: limit::KUBECONFIG_NODES_MAX };
    match text::parse_bare(piece.text, piece.line, bounds) {
        Ok(root) => Ok(Document { root }),
        Err((line, why)) => Err(illegible(line, why)),
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Flaw> {
    if bytes.len() > limit::KUBECONFIG_BYTES_MAX {
        let cause = format!(
            "the kubeconfig has {} bytes, at most {} are read",
            bytes.len(),
            limit::KUBECONFIG_BYTES_MAX
        );
        let way_out = "keep one cluster with its own CA certificates";
        return Err(Flaw::new(0, Code::TooLarge, cause, way_out));
    }
    for mark in [&b"\xef\xbb\xbf"[..], b"\xfe\xff", b"\xff\xfe"] {
        if bytes.starts_with(mark) {
            let cause = "the kubeconfig begins with a byte order mark";
            return Err(Flaw::new(1, Code::ByteOrderMark, cause, "save it as plain UTF-8"));
        }
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = line_at(&bytes[..error.valid_up_to()]);
        let cause = "the kubeconfig is not UTF-8";
        Flaw::new(line, Code::NotUtf8, cause, "save it as UTF-8")
    })?;
    let control = |c: char| {
        c.is_control() && !matches!(c, '\t' | '\n' | '\r') || matches!(c, '\u{2028}' | '\u{2029}')
    };
    if let Some(at) = text.find(control) {
        let line = line_at(&text.as_bytes()[..at]);
        let cause = "the kubeconfig holds a control character";
        return Err(Flaw::new(line, Code::ControlCharacter, cause, "print it anew"));
    }
    Ok(text)
}

fn line_at(before: &[u8]) -> u32 {
    let lines = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    u32::try_from(lines).unwrap_or(u32::MAX)
}

fn illegible(line: u32, why: Illegible) -> Flaw {
    let (code, cause, way_out) = match why {
        Illegible::Alias => {
            (Code::YamlMachinery, "anchors, aliases and merge keys are not read", "write it out")
        }
        Illegible::DuplicateKey => {
            (Code::DuplicateKey, "a key is there twice", "keep one of the two")
        }
        Illegible::Syntax => (Code::Yaml, "this is not YAML", "print it anew"),
        Illegible::Tab => {
            (Code::Yaml, "the line is indented with a tab, which is not YAML", "use blanks")
        }
        Illegible::Tag => (Code::YamlMachinery, "tags are not read", "drop the tag"),
        Illegible::TooDeep => (Code::TooLarge, "it is nested too deeply", "drop the extensions"),
        Illegible::TooMuch => (Code::TooLarge, "it has too many values", "drop the extensions"),
    };
    Flaw::new(line, code, cause, way_out)
}
