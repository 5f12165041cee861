//! One report: for people as tables, for programs as one object.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};

use crate::goal::Goal;
use crate::machine::Machine;

#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) bench: &'static str,
    pub(crate) machine: Machine,
    pub(crate) settings: Value,
    pub(crate) tables: Vec<Table>,
    pub(crate) goals: Vec<Goal>,
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Table {
    /// Key in the JSON object.
    pub(crate) key: &'static str,
    pub(crate) title: String,
    pub(crate) columns: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Count(u64),
    /// Shown with about three digits; in full in JSON.
    Number(f64),
    Text(String),
}

impl Table {
    pub(crate) fn new(key: &'static str, title: &str, columns: &[&'static str]) -> Self {
        Self { key, title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    fn to_json(&self) -> Value {
        let row = |cells: &Vec<Cell>| {
            let cells = cells.iter().map(Cell::to_json);
            self.columns.iter().map(|&name| name.to_owned()).zip(cells).collect()
        };
        self.rows.iter().map(row).map(Value::Object).collect()
    }
}

impl Cell {
    fn to_json(&self) -> Value {
        match self {
            Self::Count(count) => json!(count),
            // Three digits more than a noisy machine can give.
            Self::Number(number) if number.is_finite() => json!((number * 1e3).round() / 1e3),
            Self::Number(_) => Value::Null,
            Self::Text(text) => json!(text),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(number) if !number.is_finite() => f.write_str("-"),
            Self::Number(number) if number.abs() >= 100.0 => write!(f, "{number:.0}"),
            Self::Number(number) if number.abs() >= 10.0 => write!(f, "{number:.1}"),
            Self::Number(number) => write!(f, "{number:.2}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Report {
    pub(crate) fn to_json(&self) -> Value {
        let tables = self.tables.iter().map(|table| (table.key.to_owned(), table.to_json()));
        json!({
            "bench": self.bench,
            "date": today(),
            "machine": self.machine,
            "settings": self.settings,
            "goals": self.goals,
            "goals_missed": self.goals.iter().filter(|goal| !goal.met).count(),
            "notes": self.notes,
            "results": tables.collect::<serde_json::Map<_, _>>(),
        })
    }

    /// Today's Markdown and JSON files.
    pub(crate) fn save(&self) -> anyhow::Result<[PathBuf; 2]> {
        let json = serde_json::to_string_pretty(&self.to_json())? + "\n";
        Ok([self.save_beside("md", &self.to_string())?, self.save_beside("json", &json)?])
    }

    pub(crate) fn save_beside(&self, ending: &str, text: &str) -> anyhow::Result<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{}-{}.{ending}", today(), self.bench));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Markdown, which people can read as it is.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# bench {}, {}\n\n{}", self.bench, today(), self.machine)?;
        writeln!(f, "\nsettings: {}", self.settings)?;
        for table in &self.tables {
            writeln!(f, "\n## {}\n", table.title)?;
            let rows = table.rows.iter().map(|row| row.iter().map(Cell::to_string).collect());
            write_table(f, &table.columns, &rows.collect::<Vec<_>>())?;
        }
        writeln!(f, "\n## Goals\n")?;
        let columns = ["goal", "at most", "measured", "unit", ""];
        let rows = self.goals.iter().map(|goal| {
            let verdict = if goal.met { "met" } else { "MISSED" };
            let numbers = [goal.bound, goal.measured].map(|it| Cell::Number(it).to_string());
            let [bound, measured] = numbers;
            vec![goal.name.clone(), bound, measured, goal.unit.into(), verdict.into()]
        });
        write_table(f, &columns, &rows.collect::<Vec<_>>())?;
        if !self.notes.is_empty() {
            writeln!(f)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}

fn write_table(f: &mut fmt::Formatter<'_>, columns: &[&str], rows: &[Vec<String>]) -> fmt::Result {
    let width = |index: usize| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([columns[index].chars().count()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |f: &mut fmt::Formatter<'_>, cells: &[&str]| {
        for (cell, width) in cells.iter().zip(&widths) {
            write!(f, "| {cell:<width$} ")?;
        }
        writeln!(f, "|")
    };
    line(f, columns)?;
    let rules: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    line(f, &rules.iter().map(String::as_str).collect::<Vec<_>>())?;
    rows.iter().try_for_each(|row| line(f, &row.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn today() -> String {
    let now = time::OffsetDateTime::now_utc();
    format!("{:04}-{:02}-{:02}", now.year(), u8::from(now.month()), now.day())
}
