//! THE PAGE: the path of a record, one call a step.
//!
//! ```text
//! Record ─decode→ Detections ─map→ claims ─lane: its turn→ admit → complete → sign → push → judge
//!        └ fault ─ guard ─→ dead letter                                 again ↺ hold ↺ │
//!                                          settle ← flush ← remember ← (dead letter) ←─┘
//! ```
//!
//! `desk` owns what has an order: the lanes, the offsets, the partitions. It takes records in, starts one
//! `journey` per SET whose turn it is, and settles. A journey is `deliver` below, or `lay_aside` for what could not
//! become a SET. Nothing is settled before its outcome is final, and no offset is stored before the state has flushed.

mod asking;
#[cfg(feature = "chaos-faults")]
mod broken;
mod desk;
mod intake;
mod journey;
mod letters;
mod operator;
mod outage;
pub(crate) mod passage;
pub mod preview;
mod push;
mod replay;
mod seats;
mod skips;
mod status;
mod stream;
mod valve;
mod wire;

pub use desk::{Desk, DeskEnd, DeskInputs, Prepare};
pub use journey::{Admission, Outcome, admit};
pub use status::{Blocking, Held, PartitionStatus, StreamStatus};
pub(crate) use stream::now_ms;
pub use stream::{Stream, StreamParts, label_values};
pub(crate) use valve::Source;
pub use valve::{Act, ActError, Begins, RewindTo, Rewound, SkipEnd, Valve, Wish};

use journey::{Draft, Fault, Final, LetGo};
use skips::Stop;
use wire::Approach;

/// One SET, from its turn in the lane to its final outcome. Every `?` is the partition leaving: nothing is settled then.
async fn deliver(stream: &Stream, draft: &Draft, approach: Approach) -> Result<Final, LetGo> {
    let facts = stream.look_up(draft).await?;
    let outcome = match facts.map(|facts| draft.admit(&facts)) {
        None => push::skipped(draft),
        Some(Admission::Duplicate) => Outcome::Duplicate,
        Some(Admission::AlreadyDecided) => Outcome::AlreadyDecided,
        Some(Admission::Stale) => Outcome::Stale,
        Some(Admission::Fresh { previous }) => {
            let token = stream.complete(draft, previous);
            stream.push_until_decided(draft, &token, approach).await?
        }
    };
    stream.write_dead_letter(&draft.source, &outcome).await?;
    stream
        .announce(draft.id, &draft.source, Some(&draft.claims), &outcome)
        .await?;
    let Some(decision) = draft.decision(&outcome, &facts.unwrap_or_default()) else {
        return Ok(Final::unchanged(outcome));
    };
    let flushed = stream.remember(draft, decision);
    if outcome.is_acceptance() {
        // The jti is known at once, so the lane is free; the record settles when that is durable.
        return Ok(Final {
            outcome,
            flushed: Some(flushed),
        });
    }
    // Without an acceptance only the mark keeps a restart from sending this one after a newer one: it keeps its lane.
    stream.durable_for(&draft.source, flushed).await?;
    Ok(Final::unchanged(outcome))
}

/// A record or detection that could not become a SET: it waits for the guard's ruling (or an operator's), then it is a dead letter.
async fn lay_aside(stream: &Stream, fault: &Fault) -> Result<Final, LetGo> {
    let outcome = match stream.skips.unless(fault.id, fault.ruled()).await {
        Ok(()) => fault.outcome.clone(),
        Err(Stop::Skipped) => fault.skipped(),
        Err(Stop::LetGo) => return Err(LetGo),
    };
    stream.write_dead_letter(&fault.source, &outcome).await?;
    stream
        .announce(fault.id, &fault.source, None, &outcome)
        .await?;
    Ok(Final::unchanged(outcome))
}
