//! Logs: text on a terminal, one JSON object a line otherwise, always to standard error.
//!
//! Standard output belongs to what a command was asked for. Nothing here decides what is logged;
//! DESIGN P8 (quiet about people) binds those who log.

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogFormat, LogSettings};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is no filter; the configuration's check says so first.
    #[error("not a log filter")]
    Level(#[from] tracing_subscriber::filter::ParseError),
    /// Another subscriber was installed in this process before.
    #[error("logs are already set up")]
    Again(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Sends the logs of this process to standard error.
///
/// # Errors
/// The level is no filter, or logs were set up before.
pub fn start(settings: &LogSettings) -> Result<(), TelemetryError> {
    let terminal = io::stderr().is_terminal();
    let text = match settings.format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let filter = EnvFilter::builder().parse(&settings.level)?;
    if text {
        tracing::subscriber::set_global_default(text_logs(filter, colours, io::stderr))?;
    } else {
        tracing::subscriber::set_global_default(json_logs(filter, io::stderr))?;
    }
    Ok(())
}

/// An error with its causes, parted by colons.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

fn text_logs<W>(filter: EnvFilter, colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(colours)
        .with_writer(writer)
        .finish()
}

/// One object: timestamp, level, target, message, the event's fields, the spans around it.
fn json_logs<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn filter(level: &str) -> EnvFilter {
        EnvFilter::builder().parse(level).unwrap()
    }

    fn log_two_lines() {
        tracing::info_span!("stream", id = "okta").in_scope(|| {
            tracing::warn!(reason = "invalid_key", attempts = 3, "held");
            tracing::debug!("not shown");
        });
    }

    #[test]
    fn json_is_one_object_a_line() {
        let sink = Sink::default();
        let writer = sink.clone();
        let logs = json_logs(filter("info"), move || writer.clone());
        tracing::subscriber::with_default(logs, log_two_lines);
        let line: serde_json::Value = serde_json::from_str(&sink.text()).unwrap();
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["message"], "held");
        assert_eq!(line["reason"], "invalid_key");
        assert_eq!(line["attempts"], 3);
        assert_eq!(line["spans"][0]["id"], "okta");
    }

    #[test]
    fn text_is_one_line_without_colours_when_they_are_off() {
        let sink = Sink::default();
        let writer = sink.clone();
        let logs = text_logs(filter("warn"), false, move || writer.clone());
        tracing::subscriber::with_default(logs, log_two_lines);
        let text = sink.text();
        assert_eq!(text.lines().count(), 1);
        assert!(
            text.contains("held reason=\"invalid_key\" attempts=3"),
            "{text}"
        );
        assert!(!text.contains('\u{1b}'));
    }
}
