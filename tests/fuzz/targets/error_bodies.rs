//! Status, media type and body of an answer → a verdict: only a 2xx is an acceptance, and of an unknown `err` no more
//! than a short, harmless code is kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use setbridge::delivery::verdict::{MAX_BODY, Verdict, judge, read_err};

fuzz_target!(|bytes: &[u8]| {
    let Some((fixed, rest)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    // Nearly always a 400: of no other status the body is read.
    let status = match u16::from_le_bytes(*fixed) {
        other @ 0..700 => other,
        _ => 400,
    };
    let line = rest.iter().position(|b| *b == b'\n').unwrap_or(0);
    let (media_type, body) = rest.split_at(line);
    let media_type = std::str::from_utf8(media_type)
        .ok()
        .filter(|text| !text.is_empty());
    let judged = judge(status, media_type, body);
    assert_eq!(
        judged.verdict == Verdict::Accepted,
        (200..300).contains(&status)
    );
    let Some(err) = judged.err else { return };
    assert_eq!(status, 400);
    assert!(body.len() <= MAX_BODY);
    let code = err.as_str();
    assert!(!code.is_empty() && code.len() <= 64);
    assert!(
        code.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.:-".contains(&b))
    );
    // White space around a JSON text means nothing.
    let padded = [b" \n", body, b"\t"].concat();
    assert_eq!(read_err(media_type, &padded).as_ref(), Some(&err));
});
