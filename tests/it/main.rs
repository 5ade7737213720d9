//! Tests over the wire.
fn main() {}
