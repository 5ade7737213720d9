//! One POST → one [`Verdict`], and what follows from it.
//!
//! | module | what it is for |
//! |---|---|
//! | [`verdict`] | what an answer means (pure; DESIGN §5's table) |
//! | [`advice`] | `Retry-After` and `X-Rate-Limit-*`, read with distrust (pure) |
//! | [`retry`] | exponential waits with full jitter (pure; the only user of `backoff`) |
//! | [`receiver_fault`] | when endless 5xx is the record's fault (pure) |
//! | [`age`] | when a detection is too old to act on (pure) |
//! | [`policy`] | verdict → the next step of a SET (pure) |
//! | [`guard`] | is it the record or the set-up? (pure) |
//! | [`hold`] | the gate of a stream and its probes (pure) |
//! | [`pacing`], [`pacer`] | one token bucket per origin (pure), and the wait for it |
//! | [`receiver`] | the HTTP client: one attempt, never a loop, never a sleep |
//! | [`auth`] | how we authenticate towards a receiver |
//! | [`target`] | URLs that may be pushed to |
//! | [`chance`] | the random numbers that the pure parts are given |
//!
//! What must never happen here: following a redirect, reading a field name out of a `description`,
//! showing a credential, or waiting longer than a cap because a receiver said so.

pub mod advice;
pub mod age;
pub mod auth;
pub mod chance;
pub mod guard;
pub mod hold;
pub mod pacer;
pub mod pacing;
pub mod policy;
pub mod receiver;
pub mod receiver_fault;
pub mod retry;
pub mod target;
pub mod verdict;

pub use advice::{Advice, RateHeaders};
pub use receiver::{Answer, Receiver, ReceiverError, ReceiverSettings};
pub use verdict::{ErrCode, MomentFault, Refusal, SetUpFault, Verdict};
