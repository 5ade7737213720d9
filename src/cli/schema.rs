//! `setbridge schema`: the JSON Schema of the configuration, for editors and for the chart.

use std::io;

use super::{Console, Exit};
use crate::config::json_schema;

pub(super) fn schema(console: &mut Console<'_>) -> io::Result<Exit> {
    serde_json::to_writer_pretty(&mut *console.out, json_schema())?;
    writeln!(console.out)?;
    Ok(Exit::Done)
}
