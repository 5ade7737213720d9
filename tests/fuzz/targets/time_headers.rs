//! `Retry-After`, `X-Rate-Limit-*` and `Date`, a line each: every wait is within `[1 s, cap]`, whatever the clocks say.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use setbridge::delivery::advice::{LEAST, TimeHeaders, read_advice, read_rate};

fuzz_target!(|bytes: &[u8]| {
    let Some((fixed, rest)) = bytes.split_first_chunk::<12>() else {
        return;
    };
    let status = u16::from_le_bytes([fixed[0], fixed[1]]) % 700;
    let cap = Duration::from_secs(u64::from(u16::from_le_bytes([fixed[2], fixed[3]])));
    let now = i64::from_le_bytes(fixed[4..].try_into().expect("eight bytes"));
    // As a header's value becomes text: bytes that are no text are no header.
    let mut lines = rest
        .split(|b| *b == b'\n')
        .map(|line| std::str::from_utf8(line).ok());
    let mut next = || lines.next().flatten();
    let headers = TimeHeaders {
        retry_after: next(),
        limit: next(),
        remaining: next(),
        reset: next(),
        date: next(),
    };
    let within = LEAST..=cap.max(LEAST);
    let rate = read_rate(&headers, now, cap);
    assert!(rate.reset.is_none_or(|reset| within.contains(&reset)));
    let advice = read_advice(&headers, &rate, status, now, cap);
    assert!(advice.is_none_or(|advice| within.contains(&advice.wait)));
});
