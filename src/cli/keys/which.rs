//! Which ring of a configuration: `--stream ID` names one by a stream that has it.

use std::io;

use crate::cli::args::choose;
use crate::cli::{Console, Exit};
use crate::config::{Config, RingConfig, RingName};

/// That of this stream, or all of them.
pub(super) fn some<'a>(
    config: &'a Config,
    stream: Option<&str>,
    console: &mut Console<'_>,
) -> io::Result<Result<Vec<&'a RingConfig>, Exit>> {
    let Some(id) = stream else {
        return Ok(Ok(config.rings.iter().collect()));
    };
    let stream = choose(config, Some(id), console)?;
    let ring = stream.and_then(|stream| config.ring(&stream.ring));
    Ok(ring.map(|ring| vec![ring]).ok_or(Exit::Usage))
}

/// That of this stream, or that of `signing`.
pub(super) fn one<'a>(
    config: &'a Config,
    stream: Option<&str>,
    console: &mut Console<'_>,
) -> io::Result<Result<&'a RingConfig, Exit>> {
    if let Some(id) = stream {
        let found = some(config, Some(id), console)?;
        return Ok(found.map(|rings| rings[0]));
    }
    let default = config.ring(&RingName::Default);
    if default.is_none() {
        let ids = config.streams.iter().map(|stream| stream.id.as_str());
        writeln!(
            console.err,
            "error: which ring? each stream has keys of its own\n    mend: --stream ID, one of: {}",
            Vec::from_iter(ids).join(", ")
        )?;
    }
    Ok(default.ok_or(Exit::Usage))
}

/// As [`one`], to change it: a ring that other streams have too is not changed in the name of one stream. Where there are
/// several rings, says whose it is.
pub(super) fn one_to_change<'a>(
    config: &'a Config,
    stream: Option<&str>,
    console: &mut Console<'_>,
) -> io::Result<Result<&'a RingConfig, Exit>> {
    let ring = match one(config, stream, console)? {
        Ok(ring) => ring,
        Err(exit) => return Ok(Err(exit)),
    };
    let streams = config.streams_of(&ring.name);
    let streams = Vec::from_iter(streams.map(|stream| stream.id.as_str())).join(", ");
    if let (Some(id), RingName::Default) = (stream, &ring.name) {
        writeln!(
            console.err,
            "error: the stream {id} has no keys of its own: it signs by those of `signing`, as all of these do: {streams}\n    mend: leave out --stream to change the keys of all of them, or give the stream a `signing.ring`"
        )?;
        return Ok(Err(Exit::Usage));
    }
    if config.rings.len() > 1 {
        let whose = if streams.is_empty() {
            "no stream"
        } else {
            &streams
        };
        writeln!(console.err, "these are the keys of: {whose}")?;
    }
    Ok(Ok(ring))
}

/// Whether this can be the id of a stream: it becomes part of a path.
pub(super) fn stream_id(text: &str) -> Result<String, &'static str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let fits = text
        .bytes()
        .all(|byte| plain(byte) || b"-_".contains(&byte));
    match text.bytes().next() {
        Some(first) if plain(first) && fits && text.len() <= 63 => Ok(text.to_owned()),
        _ => Err("the id of a stream has lower-case letters, digits, - and _"),
    }
}
