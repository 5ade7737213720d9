//! Value expressions, subjects, times, keys.

use super::*;

fn level(value: Value, detection: Value) -> Result<Value, &'static str> {
    let mut detection = detection;
    merge(&mut detection, json!({"id": 1, "user": "a@b.example"}));
    let mapping = rule(json!({"claims": {"current_level": value}}));
    one(map(&mapping, &detection)).map(|claims| event(&claims)["current_level"].clone())
}

#[test]
fn lookup_tables() {
    let table = |default: Option<&str>, ignore_case: bool| {
        let mut lookup = json!({"of": "$.s", "table": {"Critical": "high", "5": "high", "true": "low"}, "ignore_case": ignore_case});
        merge(
            &mut lookup,
            default.map_or(json!({}), |word| json!({"default": word})),
        );
        json!({"lookup": lookup})
    };
    assert_eq!(
        level(table(None, false), json!({"s": " Critical "})),
        Ok(json!("high"))
    );
    assert_eq!(
        level(table(None, false), json!({"s": 5})),
        Ok(json!("high"))
    );
    assert_eq!(
        level(table(None, false), json!({"s": true})),
        Ok(json!("low"))
    );
    assert_eq!(
        level(table(None, false), json!({"s": "CRITICAL"})),
        Err("bad_level")
    );
    assert_eq!(
        level(table(None, true), json!({"s": "CRITICAL"})),
        Ok(json!("high"))
    );
    assert_eq!(
        level(table(Some("none"), false), json!({"s": "odd"})),
        Ok(json!("none"))
    );
    assert_eq!(
        level(table(Some("none"), false), json!({})),
        Err("missing_value")
    );
    assert_eq!(
        level(table(None, false), json!({"s": {}})),
        Err("bad_level")
    );
}

#[test]
fn score_bands() {
    let bands = json!({"bands": {"of": "$.s", "ranges": [
        {"from": 0, "below": 40, "value": "low"}, {"from": 40, "below": 70.5, "value": "medium"}, {"from": 70.5, "value": "high"}]}});
    for (score, wanted) in [
        (json!(0), Ok("low")),
        (json!(39.999), Ok("low")),
        (json!(40), Ok("medium")),
        (json!("40"), Ok("medium")),
        (json!(70.5), Ok("high")),
        (json!(1e300), Ok("high")),
        (json!(-1), Err("bad_level")),
        (json!("many"), Err("bad_level")),
        (json!("NaN"), Err("bad_level")),
        (json!(true), Err("bad_level")),
        (Value::Null, Err("missing_value")),
    ] {
        assert_eq!(
            level(bands.clone(), json!({"s": score})),
            wanted.map(Value::from),
            "{score}"
        );
    }
}

#[test]
fn the_first_of_several() {
    let value =
        json!({"first_of": ["$.a", {"lookup": {"of": "$.b", "table": {"x": "high"}}}, "$.c"]});
    assert_eq!(
        level(value.clone(), json!({"a": "low", "b": "x"})),
        Ok(json!("low"))
    );
    assert_eq!(
        level(value.clone(), json!({"a": "", "b": "x"})),
        Ok(json!("high"))
    );
    assert_eq!(
        level(value.clone(), json!({"b": "y", "c": "medium"})),
        Ok(json!("medium"))
    );
    assert_eq!(level(value.clone(), json!({"b": "y"})), Err("bad_level"));
    assert_eq!(level(value, json!({})), Err("missing_value"));
}

#[test]
fn values_from_the_record() {
    let mapping = rule(json!({
        "subject": {"email": {"record": "key"}}, "txn": {"header": "trace"},
        "claims": {"current_level": "high", "reason_admin": {"record": "topic"}}
    }));
    let claims = one(map(&mapping, &json!({"id": 1}))).expect("claims");
    assert_eq!(
        event(&claims)["subject"]["user"]["email"],
        "key@example.com"
    );
    assert_eq!(event(&claims)["reason_admin"]["en"], "detections");
    assert_eq!(token(&claims, Profile::Okta)["txn"], "t-1");
    let keyless = Record {
        key: None,
        ..record()
    };
    assert_eq!(
        one(map_record(&mapping, &keyless, &json!({"id": 1}))).err(),
        Some("no_subject")
    );
    let binary = Record {
        key: Some(Bytes::from_static(b"\xFF")),
        ..record()
    };
    assert_eq!(
        one(map_record(&mapping, &binary, &json!({"id": 1}))).err(),
        Some("bad_value")
    );
}

#[test]
fn every_subject_format_can_be_mapped() {
    for (spec, wanted) in [
        (
            json!({"account": "acct:{$.n}@b.example"}),
            json!({"format": "account", "uri": "acct:x@b.example"}),
        ),
        (
            json!({"email": "{$.n}@b.example"}),
            json!({"format": "email", "email": "x@b.example"}),
        ),
        (
            json!({"iss_sub": {"iss": "https://i.example", "sub": "$.n"}}),
            json!({"format": "iss_sub", "iss": "https://i.example", "sub": "x"}),
        ),
        (
            json!({"opaque": "$.number"}),
            json!({"format": "opaque", "id": "7"}),
        ),
        (
            json!({"phone_number": "$.phone"}),
            json!({"format": "phone_number", "phone_number": "+12065550100"}),
        ),
        (
            json!({"did": "did:example:{$.n}"}),
            json!({"format": "did", "url": "did:example:x"}),
        ),
        (
            json!({"uri": "urn:a:{$.n}"}),
            json!({"format": "uri", "uri": "urn:a:x"}),
        ),
        (
            json!({"jwt_id": {"iss": "i", "jti": "$.n"}}),
            json!({"format": "jwt_id", "iss": "i", "jti": "x"}),
        ),
        (
            json!({"saml_assertion_id": {"issuer": "i", "assertion_id": "$.n"}}),
            json!({"format": "saml_assertion_id", "issuer": "i", "assertion_id": "x"}),
        ),
        (
            json!({"ip-addresses": "$.ips"}),
            json!({"format": "ip-addresses", "ip-addresses": ["10.0.0.1", "::1"]}),
        ),
        (
            json!({"aliases": [{"opaque": "$.n"}, {"email": "$.missing"}, {"phone_number": "$.phone"}]}),
            json!({"format": "aliases", "identifiers": [{"format": "opaque", "id": "x"}, {"format": "phone_number", "phone_number": "+12065550100"}]}),
        ),
        (
            json!({"complex": {"user": {"opaque": "$.n"}, "tenant": {"opaque": "t"}}}),
            json!({"format": "complex", "user": {"format": "opaque", "id": "x"}, "tenant": {"format": "opaque", "id": "t"}}),
        ),
        (
            json!({"object": "$.o"}),
            json!({"format": "opaque", "id": "o"}),
        ),
        (
            json!({"first_of": [{"email": "$.missing"}, {"object": "$.o"}]}),
            json!({"format": "opaque", "id": "o"}),
        ),
    ] {
        let detection = json!({"id": 1, "level": "low", "n": "x", "number": 7, "phone": "+12065550100",
            "ips": ["10.0.0.1", null, "::1"], "o": {"format": "opaque", "id": "o"}});
        let claims = one(map(&rule(json!({"subject": spec.clone()})), &detection));
        let claims = claims.unwrap_or_else(|reason| panic!("{spec}: {reason}"));
        assert_eq!(token(&claims, Profile::Ssf10)["sub_id"], wanted, "{spec}");
    }
}

#[test]
fn subjects_are_never_guessed() {
    let detection = json!({"id": 1, "level": "low", "a": ["1", "2"], "b": ["3", "4"], "one": "x"});
    let reason = |subject: Value| one(map(&rule(json!({"subject": subject})), &detection)).err();
    // Which issuer belongs to which subject? Nobody says.
    assert_eq!(
        reason(json!({"iss_sub": {"iss": "$.a", "sub": "$.b"}})),
        Some("bad_subject")
    );
    assert_eq!(
        reason(json!({"complex": {"user": {"opaque": "$.a"}, "device": {"opaque": "$.b"}}})),
        Some("bad_subject")
    );
    // Without the session the SET would be about all of the user.
    assert_eq!(
        reason(json!({"complex": {"user": {"opaque": "$.one"}, "session": {"opaque": "$.none"}}})),
        Some("no_subject")
    );
    assert_eq!(
        reason(json!({"email": "{$.none}@b.example"})),
        Some("no_subject")
    );
    let sets = results(map(
        &rule(
            json!({"subject": {"complex": {"user": {"opaque": "$.one"}, "device": {"opaque": "$.a"}}}}),
        ),
        &detection,
    ));
    assert_eq!(sets.iter().flatten().count(), 2);
}

#[test]
fn the_detection_key_decides_what_is_the_same() {
    let jti = |mapping: &Mapping, detection: Value| {
        one(map(mapping, &detection)).map(|claims| claims.jti)
    };
    let keyed = rule(json!({"id": ["$.id", "$.rev"]}));
    let base = json!({"id": 1, "rev": 1, "level": "low", "user": "a@b.example", "seen": 1});
    let with = |members: Value| {
        let mut detection = base.clone();
        merge(&mut detection, members);
        detection
    };
    assert_eq!(
        jti(&keyed, base.clone()),
        jti(&keyed, with(json!({"seen": 2, "user": " A@B.example"})))
    );
    assert_ne!(
        jti(&keyed, base.clone()),
        jti(&keyed, with(json!({"rev": 2})))
    );
    assert_ne!(
        jti(&keyed, base.clone()),
        jti(&keyed, with(json!({"rev": "1"})))
    );
    assert_eq!(
        jti(&keyed, with(json!({"rev": null}))).err(),
        Some("missing_value")
    );
    let bytes = rule(json!({"id": []}));
    assert_eq!(jti(&bytes, base.clone()), jti(&bytes, base.clone()));
    assert_ne!(
        jti(&bytes, base.clone()),
        jti(&bytes, with(json!({"seen": 2})))
    );
}

#[test]
fn the_time_is_never_the_clock() {
    let mapping = rule(json!({"time": "$.time"}));
    let base = json!({"id": 1, "level": "low", "user": "a@b.example"});
    let claims = one(map(&mapping, &base)).expect("claims");
    assert_eq!(claims.event_time(), Timestamp::from_secs(1_750_980_700));
    let timeless = Record {
        timestamp_ms: None,
        ..record()
    };
    assert_eq!(
        one(map_record(&mapping, &timeless, &base)).err(),
        Some("bad_time")
    );
    let absurd = Record {
        timestamp_ms: Some(i64::MAX),
        ..record()
    };
    assert_eq!(
        one(map_record(&mapping, &absurd, &base)).err(),
        Some("time_out_of_range")
    );
}

#[test]
fn refusals_name_the_place_and_never_the_value() {
    let mapping = Mapping::native();
    let detection =
        json!({"id": 1, "kind": "user-risk-change", "user": "secret-name", "level": "low"});
    let Mapped::Sets(sets) = map(&mapping, &detection) else {
        panic!("filtered")
    };
    let error = sets[0].as_ref().expect_err("bad");
    assert_eq!(
        error.detail(),
        "rule `user-risk-change`, subject: $.user is not an e-mail address"
    );
    let detection = json!({"id": 1, "kind": "user-risk-change", "user": "a@b.example", "level": ["secret-name"]});
    let Mapped::Sets(sets) = map(&mapping, &detection) else {
        panic!("filtered")
    };
    let error = sets[0].as_ref().expect_err("bad");
    assert_eq!(
        error.detail(),
        "rule `user-risk-change`, current_level: $.level is an array, wanted is a level, or a number with `bands`"
    );
}
