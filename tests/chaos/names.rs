//! The jti that a SET ought to have, computed apart from the bridge's code (DESIGN P3; tests/fixtures/golden/jti.py).

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::kafka::STREAM;
use super::load::{Expected, address};
use super::support::configuration::ISSUER;

const RISK: &str = "https://schemas.okta.com/secevent/okta/event-type/user-risk-change";
const MOVED: &str = "https://schemas.openid.net/secevent/risc/event-type/identifier-changed";

/// By the number of the SET.
pub(crate) fn jti(set: u32, expected: &Expected) -> String {
    let address = address(expected.person, expected.version);
    let event = if expected.level.is_some() {
        RISK
    } else {
        MOVED
    };
    let mut bytes = Vec::new();
    for part in ["setbridge-jti-1", ISSUER, STREAM] {
        append(&mut bytes, part);
    }
    bytes.extend(1u64.to_be_bytes());
    append(&mut bytes, &format!("\"d{set}\""));
    append(&mut bytes, event);
    let subject = format!("{{\"email\":\"{address}\",\"format\":\"email\"}}");
    append(&mut bytes, &subject);
    URL_SAFE_NO_PAD.encode(digest(&SHA256, &bytes))
}

fn append(bytes: &mut Vec<u8>, part: &str) {
    bytes.extend((part.len() as u64).to_be_bytes());
    bytes.extend(part.as_bytes());
}
