//! Why something could not become a SET.

use crate::detection::DecodeError;
use crate::kafka::dead_letter::{Cause, Stage};
use crate::mapping::MapError;
use crate::pipeline::journey::Source;
use crate::pipeline::stream::REPLAY_CHANGED;

/// What is wrong with a replay as such.
pub(super) fn replay_cause(reason: &'static str, detail: String) -> Cause {
    Cause {
        stage: match reason {
            REPLAY_CHANGED => Stage::Map,
            _ => Stage::Decode,
        },
        reason,
        detail: Some(detail),
        element: None,
        jti: None,
        status: None,
        err: None,
        attempts: 0,
        attempted_ms: None,
    }
}

pub(super) fn decode_cause(error: &DecodeError, element: Option<(u32, String)>) -> Cause {
    Cause {
        stage: Stage::Decode,
        reason: error.reason(),
        detail: Some(error.to_string()),
        element,
        jti: None,
        status: None,
        err: None,
        attempts: 0,
        attempted_ms: None,
    }
}

pub(super) fn map_cause(error: &MapError, source: &Source) -> Cause {
    let element = source
        .element
        .as_ref()
        .and_then(|(element, sha256)| Some((*element, sha256.clone()?)));
    Cause {
        stage: Stage::Map,
        reason: error.reason(),
        detail: Some(error.detail()),
        element,
        jti: None,
        status: None,
        err: None,
        attempts: 0,
        attempted_ms: None,
    }
}
