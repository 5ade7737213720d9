//! The release valve over the wire: what operators may do to a running stream.

mod denied;
mod holding;
mod rewinding;
mod shared;
mod skipping;
mod skipping_replays;
