//! A plot of a report's CPU and memory: bars beside each other, each group by its own scale.

use std::fmt::Write as _;

use crate::report::{Cell, Report};

const WIDTH: usize = 960;
const LEFT: usize = 300;
const BAR: usize = 14;
const COLOURS: [(&str, &str); 5] = [
    ("diolkos", "#0b7285"),
    ("envoy", "#ae3ec9"),
    ("haproxy", "#f08c00"),
    ("haproxy, forced splice", "#e8590c"),
    ("nginx", "#2f9e44"),
];
/// Columns in front of the first peer's.
const BEFORE: usize = 2;

pub(super) fn svg(report: &Report) -> String {
    let shown = report.tables.iter().filter(|table| table.key != "times");
    let mut body = String::new();
    let mut y = 30;
    for table in shown {
        let _ = writeln!(body, "<text x='10' y='{y}' font-weight='bold'>{}</text>", table.title);
        y += 22;
        for row in &table.rows {
            y = group(&mut body, row, y);
        }
        y += 10;
    }
    for (place, (name, colour)) in COLOURS.iter().enumerate() {
        let x = LEFT + place * 125;
        let _ = writeln!(
            body,
            "<rect x='{x}' y='8' width='10' height='10' fill='{colour}'/>\
             <text x='{}' y='17'>{name}</text>",
            x + 14
        );
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{y}' \
         font-family='sans-serif' font-size='11'>\n\
         <rect width='{WIDTH}' height='{y}' fill='white'/>\n{body}</svg>\n"
    )
}

/// Longer is worse; the longest fills the width.
fn group(body: &mut String, row: &[Cell], mut y: usize) -> usize {
    let values: Vec<f64> = row.iter().skip(BEFORE).take(COLOURS.len()).map(number).collect();
    let most = values.iter().copied().fold(f64::NAN, f64::max);
    let (what, routes) = (&row[0], &row[1]);
    let _ = writeln!(body, "<text x='10' y='{}'>{what}, routes: {routes}</text>", y + BAR - 3);
    for (value, (_, colour)) in values.iter().zip(COLOURS).filter(|(value, _)| value.is_finite()) {
        let width = (value / most * (WIDTH - LEFT - 80) as f64).max(1.0);
        let _ = writeln!(
            body,
            "<rect x='{LEFT}' y='{y}' width='{width:.0}' height='{}' fill='{colour}'/>\
             <text x='{:.0}' y='{}'>{}</text>",
            BAR - 2,
            LEFT as f64 + width + 6.0,
            y + BAR - 4,
            Cell::Number(*value)
        );
        y += BAR;
    }
    y + 8
}

fn number(cell: &Cell) -> f64 {
    match cell {
        Cell::Number(number) => *number,
        Cell::Count(count) => *count as f64,
        Cell::Text(_) => f64::NAN,
    }
}
