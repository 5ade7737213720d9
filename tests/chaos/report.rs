//! What a run came to: one table, the same figures as `target/chaos/summary.json`.

use std::collections::BTreeMap;
use std::path::Path;

use comfy_table::{Cell, CellAlignment, Table};
use serde_json::{Map, Value};

use super::oracle::Findings;

/// The figures beside those of the oracle, by name.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// In the order of the table.
const COUNTS: [&str; 12] = [
    "kills",
    "rebalances",
    "broker_faults",
    "leader_moves",
    "network_faults",
    "http_faults",
    "holds",
    "skips",
    "rewinds",
    "replays",
    "max_rss_mb",
    "seconds",
];

fn figures(findings: &Findings, counts: &Counts) -> Vec<(&'static str, u64)> {
    let mut figures = vec![
        ("produced", findings.produced),
        ("accepted_unique", findings.accepted_unique),
        ("filtered", findings.filtered),
        ("duplicates", findings.duplicates),
        ("dead_lettered", findings.dead_lettered),
        ("lost", findings.lost),
        ("out_of_order", findings.out_of_order),
        ("wrong_effect", findings.wrong_effect),
        ("invalid", findings.invalid),
        ("repeats", findings.repeats),
        ("repeats_bound", findings.repeats_bound),
        ("too_often", findings.too_often),
    ];
    figures.extend(COUNTS.map(|name| (name, counts.get(name).copied().unwrap_or(0))));
    figures
}

/// Prints the table and writes the file.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn finish(
    title: &str,
    findings: &Findings,
    counts: &Counts,
    file: &Path,
) -> std::io::Result<()> {
    let figures = figures(findings, counts);
    let mut table = Table::new();
    table.set_header([title, ""]);
    for &(name, figure) in &figures {
        let figure = Cell::new(figure).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(name), figure]);
    }
    println!("{table}");
    let summary: Map<String, Value> = figures
        .into_iter()
        .map(|(name, figure)| (name.to_owned(), figure.into()))
        .collect();
    std::fs::write(file, format!("{:#}\n", Value::Object(summary)))
}
