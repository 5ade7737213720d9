//! The oracle's pure parts (tests/chaos): each breach must be found in a history that holds it, and only there; load and
//! schedule are functions of the seed. The oracle as a whole runs by `make chaos`.

#[path = "../../chaos/dice.rs"]
#[allow(dead_code, reason = "the driver throws more")]
mod dice;
#[path = "../../chaos/load.rs"]
#[allow(dead_code, reason = "the driver needs more of it")]
mod load;
#[path = "../../chaos/oracle/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the driver needs more of it")]
mod oracle;
#[path = "../../chaos/plan/mod.rs"]
#[allow(dead_code, reason = "the driver needs more of it")]
mod plan;

mod acts;
mod breaches;
mod replayable;
mod switch;
