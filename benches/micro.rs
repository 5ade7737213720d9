//! Placeholder until the decode and map bench is written.

fn main() {}
