//! Okta as a peer: the simulator of its SET endpoint. (The management API's client comes with the set-up
//! commands.)

pub mod simulator;
