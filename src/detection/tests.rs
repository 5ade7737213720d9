//! What producers send, and what nobody should.

use proptest::prelude::*;

use super::*;

fn everything() -> Arc<Needs> {
    Arc::new(Needs::everything())
}

fn elements(bytes: &[u8]) -> Result<Elements, DecodeError> {
    match decode(
        Some(&Bytes::copy_from_slice(bytes)),
        &DecodeLimits::default(),
        &everything(),
    )? {
        Decoded::Elements(elements) => Ok(elements),
        Decoded::Tombstone => panic!("a value is no tombstone"),
    }
}

/// Reasons, or the raw text, of each element.
fn outcome(bytes: &[u8]) -> Result<Vec<String>, &'static str> {
    let elements = elements(bytes).map_err(|error| error.reason())?;
    Ok(elements
        .enumerate()
        .map(|(at, (element, detection))| {
            assert_eq!(element as usize, at, "elements are numbered in order");
            match detection {
                Ok(d) => {
                    assert_eq!(d.element, element);
                    String::from_utf8(d.raw.to_vec()).expect("utf-8")
                }
                Err(error) => format!("!{}", error.reason()),
            }
        })
        .collect())
}

fn ok(raws: &[&str]) -> Result<Vec<String>, &'static str> {
    Ok(raws.iter().map(|raw| (*raw).to_owned()).collect())
}

fn nested(open: &str, close: &str, depth: usize) -> Vec<u8> {
    format!("{}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
}

#[test]
fn no_value_is_a_tombstone_and_no_bytes_are_empty() {
    assert!(matches!(
        decode(None, &DecodeLimits::default(), &everything()),
        Ok(Decoded::Tombstone)
    ));
    for blank in [&b""[..], b" \r\n\t", b"\xEF\xBB\xBF", b"\xEF\xBB\xBF\n"] {
        assert_eq!(outcome(blank), Err("empty_value"));
    }
}

#[test]
fn one_object() {
    assert_eq!(outcome(b"{\"a\":1}"), ok(&[r#"{"a":1}"#]));
    assert_eq!(
        outcome(b"\xEF\xBB\xBF \n{\"a\":1}\r\n\n"),
        ok(&[r#"{"a":1}"#])
    );
    assert_eq!(outcome(b"{\n \"a\":\n 1\n}\n"), ok(&["{\n \"a\":\n 1\n}"]));
    assert!(!elements(b"{}").expect("one").is_many());
}

#[test]
fn an_array_is_taken_apart() {
    assert_eq!(
        outcome(b" [ {\"a\":1} , {\"b\":[{}]} ] "),
        ok(&[r#"{"a":1}"#, r#"{"b":[{}]}"#])
    );
    assert_eq!(outcome(b"[]"), ok(&[]));
    assert!(elements(b"[{}]").expect("one").is_many());
    assert_eq!(
        outcome(b"[{\"a\":1},[{}],3,null,\"x\",{\"b\":2}]"),
        ok(&[
            r#"{"a":1}"#,
            "!not_an_object",
            "!not_an_object",
            "!not_an_object",
            "!not_an_object",
            r#"{"b":2}"#
        ])
    );
}

#[test]
fn a_broken_array_is_one_error_for_the_record() {
    for broken in [
        &b"[{\"a\":1},{\"b\":}]"[..],
        b"[{\"a\":1}",
        b"[{\"a\":1}] x",
        b"[{}]\n[{}]",
        b"[",
    ] {
        assert_eq!(outcome(broken), Err("invalid_json"));
    }
    assert_eq!(outcome(b"[{\"a\":\"\xFF\"}]"), Err("invalid_utf8"));
}

#[test]
fn lines_are_judged_one_by_one() {
    assert_eq!(
        outcome(b"{\"a\":1}\n{\"a\":2}\n"),
        ok(&[r#"{"a":1}"#, r#"{"a":2}"#])
    );
    assert_eq!(
        outcome(b"\n\r\n{\"a\":1}\r\n   \n{\"a\":2}\n\n"),
        ok(&[r#"{"a":1}"#, r#"{"a":2}"#])
    );
    assert_eq!(
        outcome(b"{\"a\":1}\nnot json\n{\"a\":\"\xC3\x28\"}\n[1]\n7\n{\"a\":2}"),
        ok(&[
            r#"{"a":1}"#,
            "!invalid_json",
            "!invalid_utf8",
            "!not_an_object",
            "!not_an_object",
            r#"{"a":2}"#
        ])
    );
    assert_eq!(
        outcome(b"garbage\n{\"a\":2}"),
        ok(&["!invalid_json", r#"{"a":2}"#])
    );
    assert!(elements(b"{}\n{}").expect("two").is_many());
}

#[test]
fn what_is_no_detection_says_why() {
    for (bytes, reason) in [
        (&b"null"[..], "not_an_object"),
        (b"42", "not_an_object"),
        (b"\"text\"", "not_an_object"),
        (b"plain text", "invalid_json"),
        (b"{\"a\":1", "invalid_json"),
        (b"{\"a\":1}}", "invalid_json"),
        (b"{\"a\":1}{\"b\":2}", "invalid_json"),
        (b"{\"a\":1e999}", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b"{\n\"a\": 1,\n}", "invalid_json"),
        (b"{\"a\":\"\xFF\"}", "invalid_utf8"),
        (b"\xFF\xFE{\x00}\x00", "invalid_utf8"),
        (b"\x00\x00\x00\x00\x01magic", "invalid_json"),
    ] {
        assert_eq!(outcome(bytes), Err(reason), "{bytes:?}");
    }
}

#[test]
fn ten_thousand_levels_are_refused_without_recursion() {
    assert_eq!(outcome(&nested("[", "]", 10_000)), ok(&["!too_deep"]));
    assert_eq!(outcome(&nested("{\"a\":", "}", 10_000)), Err("too_deep"));
    let mut deep = b"{\"a\":".to_vec();
    deep.extend(nested("[", "]", 10_000));
    deep.push(b'}');
    assert_eq!(outcome(&deep), Err("too_deep"));
    assert_eq!(outcome(&b"[".repeat(10_000)), Err("invalid_json"));
    assert_eq!(outcome(&b"{\"a\":".repeat(10_000)), Err("too_deep"));
}

#[test]
fn a_record_over_the_limits_is_refused_as_a_whole() {
    let limits = DecodeLimits {
        max_record_bytes: 64,
        max_elements: 3,
    };
    let reason =
        |bytes: &[u8]| match decode(Some(&Bytes::copy_from_slice(bytes)), &limits, &everything()) {
            Ok(Decoded::Elements(elements)) => Ok(elements.count()),
            Ok(Decoded::Tombstone) => Ok(0),
            Err(error) => Err(error.reason()),
        };
    assert_eq!(reason(b"[{},{},{}]"), Ok(3));
    assert_eq!(reason(b"[{},{},{},{}]"), Err("too_many_elements"));
    assert_eq!(reason(b"[{},{},{},{},}"), Err("invalid_json"));
    assert_eq!(reason(b"{}\n{}\n\n{}\n"), Ok(3));
    assert_eq!(reason(b"{}\n{}\n{}\n{}"), Err("too_many_elements"));
    assert_eq!(reason(&[b' '; 65]), Err("too_large"));

    let five_megabytes = format!("{{\"a\":\"{}\"}}", "x".repeat(5 << 20));
    assert_eq!(outcome(five_megabytes.as_bytes()), Err("too_large"));
}

#[test]
fn errors_name_the_place_and_never_the_contents() {
    let error = elements(b"{\"mail\": \"ann@example.com\", oops}").expect_err("broken");
    assert_eq!(
        error.to_string(),
        "not JSON: a character does not belong there at line 1, column 29"
    );
    let error = elements(b"\"ann@example.com\"").expect_err("a string");
    assert_eq!(
        error.to_string(),
        "a detection is a JSON object, this is a string"
    );
    let detection = elements(b"{\"mail\":\"ann@example.com\"}")
        .expect("one")
        .next()
        .expect("one");
    assert!(!format!("{detection:?}").contains("ann"));
}

#[test]
fn reasons_are_the_closed_list() {
    let errors = [
        DecodeError::Empty,
        DecodeError::TooLarge { bytes: 1, limit: 0 },
        DecodeError::InvalidUtf8 { at: 0 },
        DecodeError::InvalidJson {
            what: "",
            line: 1,
            column: 1,
        },
        DecodeError::TooDeep,
        DecodeError::NotAnObject { found: "null" },
        DecodeError::TooManyElements { limit: 1 },
    ];
    let reasons: Vec<_> = errors.iter().map(DecodeError::reason).collect();
    assert_eq!(reasons, DecodeError::REASONS);
}

#[test]
fn elements_can_be_sent_to_another_thread() {
    fn sendable<T: Send + 'static>() {}
    sendable::<Elements>();
    sendable::<Detection>();
}

proptest! {
    /// Any bytes: no panic, and every element is an object of its own bytes or a reason.
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(elements) = elements(&bytes) {
            for (_, detection) in elements {
                if let Ok(d) = detection {
                    prop_assert_eq!(serde_json::from_slice::<Value>(&d.raw).ok(), Some(d.json));
                }
            }
        }
    }

    /// The same with bytes that look like JSON.
    #[test]
    fn json_like_text_is_decoded_or_refused(text in r#"[\[\]{}:,"a-c0-9 \n\\e.-]{0,60}"#) {
        if let Ok(elements) = elements(text.as_bytes()) {
            for (_, detection) in elements {
                if let Ok(d) = detection {
                    prop_assert!(d.json.is_object());
                }
            }
        }
    }

    /// An array and lines of the same objects give the same detections.
    #[test]
    fn arrays_and_lines_agree(ids in prop::collection::vec(0u32..1000, 2..20)) {
        let objects: Vec<String> = ids.iter().map(|id| format!("{{\"id\":{id}}}")).collect();
        let array = format!("[{}]", objects.join(" ,"));
        prop_assert_eq!(outcome(array.as_bytes()), Ok(objects.clone()));
        prop_assert_eq!(outcome(objects.join("\n").as_bytes()), Ok(objects));
    }
}
