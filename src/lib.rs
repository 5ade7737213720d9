//! setbridge reads security detections from Kafka, turns each into a Security Event Token
//! (SET, RFC 8417), signs it and pushes it (RFC 8935) to a receiver such as Okta.
//!
//! The modules, in the order in which a record meets them:
//!
//! | module | what it is for |
//! |---|---|
//! | [`kafka`] | the only poller: records in, offsets and dead letters out |
//! | [`record`], [`detection`] | bytes of a record → detections |
//! | [`mapping`] | a detection → claims, by declarative rules |
//! | [`set`] | the token itself: subjects, events, jti |
//! | [`lanes`] | order per subject |
//! | [`state`] | delivered jtis, marks, last accepted levels |
//! | [`signing`] | claims → signed compact token |
//! | [`delivery`] | one POST → one verdict; retry, hold, guard, pacing |
//! | [`pipeline`] | THE PAGE: the path of a record, one call a step |
//! | [`bridge`] | builds the streams, owns and drains their tasks |
//! | [`transmitter`], [`admin`], [`metrics`], [`telemetry`] | what is served and watched |
//! | [`config`], [`cli`] | what the operator says |

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests spawn, sleep and encode as they need"
    )
)]

pub mod admin;
pub mod bridge;
pub mod cli;
mod clock;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod detection;
mod ffi;
pub mod kafka;
pub mod lanes;
pub mod mapping;
pub mod metrics;
pub mod okta;
pub mod pipeline;
pub mod record;
pub mod secret;
pub mod set;
pub mod shutdown;
pub mod signing;
pub mod state;
pub mod telemetry;
pub mod transmitter;
