//! Prometheus' text format, as far as the tests need it.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape of `/metrics`.
pub(crate) struct Exposition {
    samples: Vec<Sample>,
}

/// One line.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Exposition {
    /// Reads all lines that are no comment.
    pub(crate) fn parse(text: &str) -> Exposition {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Exposition {
            samples: lines.map(Sample::parse).collect(),
        }
    }

    /// The sum of the samples of this name that carry these labels; 0 when there is none.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let samples = self.samples.iter().filter(|s| s.name == name);
        samples.filter(|s| s.carries(labels)).map(|s| s.value).sum()
    }

    /// The samples of this name.
    pub(crate) fn samples(&self, name: &str) -> Vec<&Sample> {
        self.samples.iter().filter(|s| s.name == name).collect()
    }

    /// The names of all samples.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.samples.iter().map(|s| s.name.as_str()).collect()
    }

    /// What is not 0, for the message of an assertion. Buckets of histograms are left out.
    pub(crate) fn nonzero(&self) -> String {
        let shown = self
            .samples
            .iter()
            .filter(|s| s.value != 0.0 && !s.name.ends_with("_bucket"));
        shown
            .map(|s| format!("{}{:?} {}\n", s.name, s.labels, s.value))
            .collect()
    }
}

impl Sample {
    fn parse(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').expect("a value behind a blank");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').expect("a closing brace");
        let pairs = labels.split("\",").filter(|pair| !pair.is_empty());
        Sample {
            name: name.to_owned(),
            labels: pairs
                .map(|pair| {
                    let (label, value) = pair.split_once("=\"").expect("label=\"value\"");
                    (label.to_owned(), value.trim_end_matches('"').to_owned())
                })
                .collect(),
            value: value.parse().expect("a number"),
        }
    }

    fn carries(&self, labels: &[(&str, &str)]) -> bool {
        let has = |(name, value): &(&str, &str)| self.labels.get(*name).is_some_and(|v| v == value);
        labels.iter().all(has)
    }
}
