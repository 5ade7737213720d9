use super::*;

const JSON: Option<&str> = Some("application/json");

fn of(status: u16) -> Verdict {
    judge(status, None, b"").verdict
}

#[test]
fn every_status_of_the_table_has_its_verdict() {
    for status in 200..=299 {
        assert_eq!(of(status), Verdict::Accepted, "{status}");
    }
    for status in 300..=399 {
        assert_eq!(of(status), Verdict::SetUp(SetUpFault::Redirect), "{status}");
    }
    let rows = [
        (401, Verdict::SetUp(SetUpFault::Unauthorized)),
        (403, Verdict::SetUp(SetUpFault::Forbidden)),
        (404, Verdict::SetUp(SetUpFault::NotFound)),
        (405, Verdict::SetUp(SetUpFault::MethodNotAllowed)),
        (410, Verdict::SetUp(SetUpFault::Gone)),
        (415, Verdict::SetUp(SetUpFault::UnsupportedMediaType)),
        (413, Verdict::Refused(Refusal::TooLarge413)),
        (402, Verdict::Refused(Refusal::OtherClientError(402))),
        (406, Verdict::Refused(Refusal::OtherClientError(406))),
        (409, Verdict::Refused(Refusal::OtherClientError(409))),
        (422, Verdict::Refused(Refusal::OtherClientError(422))),
        (499, Verdict::Refused(Refusal::OtherClientError(499))),
        (408, Verdict::Moment(MomentFault::RequestTimeout)),
        (425, Verdict::Moment(MomentFault::TooEarly)),
        (429, Verdict::Moment(MomentFault::TooManyRequests)),
        (100, Verdict::Moment(MomentFault::Unparsable)),
        (199, Verdict::Moment(MomentFault::Unparsable)),
        (0, Verdict::Moment(MomentFault::Unparsable)),
        (600, Verdict::Moment(MomentFault::Unparsable)),
        (999, Verdict::Moment(MomentFault::Unparsable)),
    ];
    for (status, verdict) in rows {
        assert_eq!(of(status), verdict, "{status}");
    }
    for status in 500..=599 {
        assert_eq!(
            of(status),
            Verdict::Moment(MomentFault::Server(status)),
            "{status}"
        );
    }
}

#[test]
fn every_err_of_the_table_has_its_verdict() {
    let rows = [
        ("invalid_request", Verdict::Refused(Refusal::InvalidRequest)),
        ("something_new", Verdict::Refused(Refusal::UnknownErr)),
        ("invalid_key", Verdict::SetUp(SetUpFault::InvalidKey)),
        ("invalid_issuer", Verdict::SetUp(SetUpFault::InvalidIssuer)),
        (
            "invalid_audience",
            Verdict::SetUp(SetUpFault::InvalidAudience),
        ),
        (
            "authentication_failed",
            Verdict::SetUp(SetUpFault::AuthenticationFailed),
        ),
        ("access_denied", Verdict::SetUp(SetUpFault::AccessDenied)),
        ("invalid_state", Verdict::SetUp(SetUpFault::InvalidState)),
    ];
    for (err, verdict) in rows {
        let body = format!(r#"{{"err":"{err}","description":"x"}}"#);
        let judged = judge(400, JSON, body.as_bytes());
        assert_eq!(judged.verdict, verdict, "{err}");
        assert_eq!(judged.err.as_ref().map(ErrCode::as_str), Some(err));
    }
}

/// The bodies of CONTRACTS §1.5, as they were seen.
#[test]
fn the_bodies_that_were_seen_are_judged_by_err_alone() {
    let rows = [
        (
            r#"{"err":"invalid_request","description":"Failed claim validation in security event token. 'events.mediationDeviceComplianceChangeEvent.previousStatus': The field cannot be left blank"}"#,
            Verdict::Refused(Refusal::InvalidRequest),
        ),
        (
            r#"{"err":"invalid_request","description":"Failed claim validation in security event token. 'events.mediationUserRiskChangeEvent.previousRiskLevel': The field cannot be left blank, 'events.mediationUserRiskChangeEvent.currentRiskLevel': The field cannot be left blank"}"#,
            Verdict::Refused(Refusal::InvalidRequest),
        ),
        (
            r#"{"err":"authentication_failed","description":"Could not verify message signature, Verification failed for kid=transmitter-key-1"}"#,
            Verdict::SetUp(SetUpFault::AuthenticationFailed),
        ),
        (
            r#"{"err":"invalid_key","description":"No matching key was found in JWKS uri, kid=8s4c"}"#,
            Verdict::SetUp(SetUpFault::InvalidKey),
        ),
    ];
    for (body, verdict) in rows {
        assert_eq!(judge(400, JSON, body.as_bytes()).verdict, verdict, "{body}");
    }
    assert_eq!(judge(202, None, b"").verdict, Verdict::Accepted);
    assert_eq!(
        judge(400, None, b"").verdict,
        Verdict::Refused(Refusal::Unreadable400)
    );
}

#[test]
fn media_types_that_carry_an_err() {
    let body = br#"{"err":"invalid_key"}"#;
    let read = [
        None,
        JSON,
        Some("application/json; charset=utf-8"),
        Some("Application/JSON"),
        Some("application/problem+json"),
        Some(""),
    ];
    for content_type in read {
        assert_eq!(
            read_err(content_type, body),
            Some(ErrCode::InvalidKey),
            "{content_type:?}"
        );
    }
    for content_type in [
        Some("text/html"),
        Some("text/json"),
        Some("application/jsonp"),
        Some("garbage"),
    ] {
        assert_eq!(read_err(content_type, body), None, "{content_type:?}");
    }
}

#[test]
fn bodies_that_are_unreadable() {
    let long = format!(
        r#"{{"err":"invalid_key","description":"{}"}}"#,
        "x".repeat(MAX_BODY)
    );
    let bodies: [&[u8]; 11] = [
        b"",
        b"   ",
        b"<html>400</html>",
        b"{}",
        br#"{"error":"invalid_key"}"#,
        br#"{"err":null}"#,
        br#"{"err":7}"#,
        br#"["invalid_key"]"#,
        br#""invalid_key""#,
        b"{\"err\":\"\xff\"}",
        long.as_bytes(),
    ];
    for body in bodies {
        let judged = judge(400, JSON, body);
        assert_eq!(judged.verdict, Verdict::Refused(Refusal::Unreadable400));
        assert_eq!(judged.err, None);
    }
}

#[test]
fn an_err_that_is_no_code_is_not_kept() {
    for text in ["", "user a@example.com is unknown", &"x".repeat(65), "a\nb"] {
        assert_eq!(ErrCode::parse(text).as_str(), "unknown");
    }
    assert_eq!(
        ErrCode::parse("urn:x:new-code_1.0").as_str(),
        "urn:x:new-code_1.0"
    );
}

#[test]
fn an_err_with_escapes_is_read() {
    assert_eq!(
        read_err(JSON, br#"{"err":"invalid\u005fkey"}"#),
        Some(ErrCode::InvalidKey)
    );
}

#[test]
fn labels_are_unique() {
    let mut labels: Vec<_> = SetUpFault::ALL.iter().map(|f| f.as_str()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), SetUpFault::ALL.len());
}

#[test]
fn other_members_are_skipped_however_deep() {
    let body = format!(
        r#"{{"x":{}{},"err":"invalid_key"}}"#,
        "[".repeat(30_000),
        "]".repeat(30_000)
    );
    assert_eq!(read_err(JSON, body.as_bytes()), Some(ErrCode::InvalidKey));
}
