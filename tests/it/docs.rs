//! The documentation does not drift: its tables are those of the code, its examples run, its links lead somewhere.
//!
//! `UPDATE_DOCS=1 cargo test --test it docs` rewrites the generated table of metrics.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use setbridge::config::{DEMO, Environment, Files, Sources, load_text};
use setbridge::metrics::Metrics;
use setbridge::pipeline::label_values;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// README, ARCHITECTURE and the like, and docs/*.md.
fn pages() -> Vec<PathBuf> {
    let of = |folder: &Path| {
        fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let mut pages = [of(root()), of(&root().join("docs"))].concat();
    pages.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    pages.sort();
    assert!(pages.len() >= 6, "{pages:?}");
    pages
}

/// The fenced blocks of a page: what stands behind the fence, and the content.
fn blocks(text: &str) -> Vec<(&str, String)> {
    let mut found: Vec<(&str, String)> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(_) if open => open = false,
            Some(info) => {
                found.push((info, String::new()));
                open = true;
            }
            None if open => {
                let content = &mut found.last_mut().unwrap().1;
                content.push_str(line);
                content.push('\n');
            }
            None => {}
        }
    }
    assert!(!open, "a block is left open");
    found
}

/// The rows of the table below this heading (or marker): the first cell of each, without its backquotes.
fn first_cells(text: &str, below: &str) -> BTreeSet<String> {
    let at = text.find(below).unwrap_or_else(|| panic!("no `{below}`"));
    let table = text[at + below.len()..]
        .lines()
        .skip_while(|line| !line.starts_with('|'));
    let rows = table.take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').nth(1).unwrap_or_default());
    cells
        .flat_map(|cell| cell.split(','))
        .map(|name| name.trim().trim_matches('`').to_owned())
        .collect()
}

fn names<'a>(list: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    list.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_table_of_metrics_is_the_inventory() {
    const BEGIN: &str = "<!-- metrics: made by UPDATE_DOCS=1 cargo test --test it docs -->\n";
    const END: &str = "<!-- end of metrics -->";
    let mut table = String::from("| metric | kind | labels | meaning |\n|---|---|---|---|\n");
    for family in Metrics::new().unwrap().docs() {
        let labels: Vec<String> = family.labels.iter().map(|l| format!("`{l}`")).collect();
        writeln!(
            table,
            "| `{}` | {} | {} | {} |",
            family.name,
            family.kind,
            labels.join(" "),
            family.help
        )
        .unwrap();
    }
    let page = read("README.md");
    let (before, rest) = page.split_once(BEGIN).expect("the marker of the table");
    let (old, after) = rest.split_once(END).expect("the end of the table");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let page = format!("{before}{BEGIN}{table}{END}{after}");
        fs::write(root().join("README.md"), page).unwrap();
        return;
    }
    assert_eq!(
        old, table,
        "run UPDATE_DOCS=1 cargo test --test it docs, and read what changed"
    );
}

#[test]
fn every_closed_list_is_explained() {
    let page = read("docs/operations.md");
    let labels = label_values();
    let lists = [
        ("## Holds", names(labels.holds.iter().copied())),
        (
            "### Reasons of dead letters",
            names(labels.dead_letters.iter().copied()),
        ),
        ("### Outcomes", names(labels.outcomes.iter().copied())),
        (
            "### Faults of the moment",
            names(labels.faults.iter().copied()),
        ),
        ("### Filters", names(labels.filters.iter().copied())),
        ("### Kafka errors", names(labels.kafka.iter().copied())),
    ];
    for (heading, known) in lists {
        assert_eq!(first_cells(&page, heading), known, "{heading}");
    }
}

/// Alerts link to `docs/runbook.md#<label>`.
#[test]
fn the_runbook_has_a_heading_for_every_hold_and_dead_letter() {
    let page = read("docs/runbook.md");
    let labels = label_values();
    let section = |from: &str, to: &str| -> BTreeSet<String> {
        let (_, after) = page.split_once(from).unwrap_or_else(|| panic!("{from}"));
        let (section, _) = after.split_once(to).unwrap_or_else(|| panic!("{to}"));
        let headings = section.lines().filter_map(|line| line.strip_prefix("### "));
        headings
            .map(|heading| heading.trim_matches('`').to_owned())
            .collect()
    };
    let holds = section("## The stream is held", "## Dead letters grow");
    assert_eq!(holds, names(labels.holds.iter().copied()));
    let letters = section("## Dead letters grow", "## Lag grows");
    assert_eq!(letters, names(labels.dead_letters.iter().copied()));
    let anchors: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect();
    let unique: BTreeSet<&String> = anchors.iter().collect();
    assert_eq!(
        anchors.len(),
        unique.len(),
        "a repeated heading gets another anchor"
    );
}

#[test]
fn every_header_of_a_dead_letter_is_explained() {
    let source = read("src/kafka/dead_letter.rs");
    // Each header is one call of `add`: `add(to, "name", value)`.
    let written = source.split(" add(").skip(1).filter_map(|call| {
        let (to, rest) = call.split_once(", \"")?;
        let (name, _) = rest.split_once('"')?;
        (!to.contains([';', '\n'])).then(|| format!("setbridge-{name}"))
    });
    let page = read("docs/operations.md");
    assert_eq!(
        first_cells(&page, "### Headers of dead letters"),
        written.collect()
    );
}

#[test]
fn the_exit_codes_are_explained() {
    let source = read("src/cli/exit.rs");
    let codes = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => "))
        .map(|(_, code)| code.trim_end_matches(',').to_owned());
    assert_eq!(
        first_cells(&read("README.md"), "### Exit codes"),
        codes.collect()
    );
}

/// Loads a configuration without looking at its files.
fn loads(text: &str, what: &str) {
    let environment = Environment::default();
    let sources = Sources {
        environment: &environment,
        overrides: &[],
        files: Files::Skip,
    };
    if let Err(mistakes) = load_text(text, what, &sources) {
        let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        panic!("{what}\n{}\n{text}", mistakes.join("\n"));
    }
}

fn indented(text: &str, by: usize) -> String {
    let line = |line: &str| format!("{:by$}{line}\n", "");
    text.lines().map(line).collect()
}

fn with_mapping(mapping: &str) -> String {
    format!("{DEMO}\n    mapping:\n{}", indented(mapping, 6))
}

#[test]
fn the_configurations_in_the_docs_load() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (info, content) in blocks(&text) {
            let configuration = match info {
                "yaml configuration" => content,
                "yaml mapping" => with_mapping(&content),
                // A `kafka:` section, in place of the demo's.
                "yaml kafka" => {
                    let rest = &DEMO[DEMO.find("signing:").unwrap()..];
                    format!("{content}{rest}")
                }
                // Keys of a stream.
                "yaml stream" => format!("{DEMO}{}", indented(&content, 4)),
                _ => continue,
            };
            seen += 1;
            loads(&configuration, &page.display().to_string());
        }
    }
    assert!(seen >= 6, "only {seen} configurations were found");
}

#[test]
fn the_examples_of_mappings_do_what_they_say() {
    let page = read("docs/mapping.md");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("example.yaml");
    let (mut mapping, mut record, mut told) = (String::new(), String::new(), 0);
    for (info, content) in blocks(&page) {
        match info {
            "yaml mapping" => mapping = content,
            "json record" => {
                fs::write(&file, with_mapping(&mapping)).unwrap();
                record = content;
            }
            "json record native" => {
                fs::write(&file, DEMO).unwrap();
                record = content;
            }
            "json events" => {
                let (out, err) = map(&file, &record);
                let token: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
                let wanted: Value = serde_json::from_str(&content).unwrap();
                assert_eq!(token["events"], wanted, "of {record}");
                told += 1;
            }
            "text refused" => {
                assert_eq!(map(&file, &record), (String::new(), content), "of {record}");
                told += 1;
            }
            _ => {}
        }
    }
    assert!(told >= 6, "only {told} examples were found");
}

/// Standard output and error of `setbridge map`.
fn map(configuration: &Path, record: &str) -> (String, String) {
    // A record is one JSON text; on several lines it would be read as one detection a line.
    let record: Value = serde_json::from_str(record).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_setbridge"))
        .args(["map", "--timestamp-ms", "1750980771999", "-c"])
        .arg(configuration)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(record.to_string().as_bytes()).unwrap();
    drop(input);
    let ended = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(ended.stdout), text(ended.stderr))
}

/// A heading as its anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !part.is_empty() {
                let headings = fs::read_to_string(&target).unwrap();
                let mut headings = headings.lines().filter(|line| line.starts_with('#'));
                assert!(
                    headings.any(|heading| anchor(heading) == part),
                    "{}: {link}",
                    page.display()
                );
            }
        }
    }
}

#[test]
fn files_that_are_named_are_there() {
    let folders = ["src/", "config/", "docs/", "scripts/", "tests/", "benches/"];
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = folders.iter().any(|folder| word.starts_with(folder))
                && !word.contains(['*', ' ', '{', '<', '…']);
            if is_path {
                let path = word.split(':').next().unwrap();
                assert!(root().join(path).exists(), "{}: {word}", page.display());
            }
        }
    }
}
