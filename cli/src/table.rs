//! Columns for people. Nothing in them reaches a terminal as a command.

use std::borrow::Cow;

use diolkos_ops::printable;

/// Rows below a head, each column as wide as its widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| (*name).to_owned()).collect()] }
    }

    /// As many cells as the head has.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        let shown = |cell: String| match printable(&cell) {
            Cow::Borrowed("") => "-".to_owned(),
            Cow::Borrowed(_) => cell,
            Cow::Owned(shown) => shown,
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// Each line ends.
    pub(crate) fn text(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

/// How long something takes or is ago, in the unit that says most.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_is_obeyed() {
        let mut table = Table::new(&["A", "B"]);
        table.row(["long one".into(), "\u{1b}[31mred".into()]);
        table.row([String::new(), "x".into()]);
        let text = table.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "A         B");
        assert_eq!(lines[2], "-         x");
        assert!(lines[1].starts_with("long one  ") && !text.contains('\u{1b}'), "{text:?}");
    }

    #[test]
    fn a_span_has_one_unit() {
        for (seconds, text) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
