//! Any JSON.

use super::*;

fn mappings() -> Vec<Mapping> {
    let level = json!({"first_of": ["$.a", {"bands": {"of": "$..b", "ranges": [{"below": 0, "value": "low"}], "default": "high"}}]});
    let risk = |subject: Value, more: Value| {
        let mut rule = json!({"name": "r", "event": "user-risk-change", "subject": subject,
            "claims": {"current_level": level, "reason_admin": "$.c", "initiating_entity": {"lookup": {"of": "$.d", "table": {"x": "user"}, "default": "admin"}}}});
        merge(&mut rule, more);
        compile(json!({"apply": "all", "on_no_rule": "dead_letter", "rules": [rule]}))
    };
    vec![
        risk(json!({"email": "$..a"}), json!({"time": "$.b"})),
        risk(
            json!({"opaque": "$.*"}),
            json!({"when": "detection.a != detection.b", "id": ["$.a"]}),
        ),
        risk(
            json!({"object": "$..*"}),
            json!({"when": "has(detection.a)", "time": "$.b", "time_unit": "ns"}),
        ),
        risk(
            json!({"complex": {"user": {"opaque": "$.a"}, "device": {"opaque": "{$.b}-{$.c}"}}}),
            json!({"txn": "$.d"}),
        ),
        risk(
            json!({"iss_sub": {"iss": "$.a", "sub": "@.b"}}),
            json!({"each": "$..[?@.a]", "claims": {"current_level": "@.a", "reason_admin": "@.c"}}),
        ),
        compile(
            json!({"rules": [{"name": "i", "event": "identifier-changed", "id": ["$.c"],
            "subject": {"first_of": [{"email": "$.a"}, {"phone_number": "$.a"}]}, "claims": {"new-value": "$.b"}}]}),
        ),
        Mapping::native(),
    ]
}

/// What every receiver may rely on (CONTRACTS §1.1, §1.2, §3.1).
fn assert_valid(claims: &Claims) {
    for profile in [Profile::Okta, Profile::Ssf10, Profile::Dual] {
        let token = token(claims, profile);
        let object = token.as_object().expect("an object");
        assert!(!object.contains_key("exp") && !object.contains_key("sub"));
        assert_eq!(object["iat"], NOW.as_secs());
        assert!(
            object["aud"].is_string() && object["jti"].as_str().is_some_and(|jti| jti.len() == 43)
        );
        assert!(
            object
                .get("txn")
                .is_none_or(|txn| txn.as_str().is_some_and(|txn| !txn.is_empty()))
        );
        assert_eq!(object.contains_key("sub_id"), profile != Profile::Okta);
        let events = object["events"].as_object().expect("an object");
        assert_eq!(events.len(), 1);
        let event = &events[claims.event.event_type().uri()];
        assert!(event["event_timestamp"].is_i64() || event["event_timestamp"].is_u64());
        assert_eq!(event.get("subject").is_some(), profile != Profile::Ssf10);
        if claims.event.event_type() == EventType::UserRiskChange {
            for level in [&event["current_level"], &event["previous_level"]] {
                assert!(
                    level
                        .as_str()
                        .is_some_and(|l| Level::parse(l).is_ok_and(|p| p.as_str() == l))
                );
            }
            assert!(
                event["reason_admin"]["en"]
                    .as_str()
                    .is_some_and(|text| !text.trim().is_empty())
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any mapping over any JSON: valid SETs, or refusals with a reason; the same ones again
    /// when asked again, whatever the time is.
    #[test]
    fn any_json_is_mapped_or_refused(detection in any_json(), flag in any::<bool>()) {
        let mut detection = detection;
        if flag {
            merge(&mut detection, json!({"id": 1, "kind": "user-risk-change"}));
        }
        for mapping in mappings() {
            let first = results(map(&mapping, &detection));
            let again = results(map(&mapping, &detection));
            prop_assert!(!first.is_empty());
            for (set, again) in first.iter().zip(&again) {
                match (set, again) {
                    (Ok(claims), Ok(again)) => {
                        assert_valid(claims);
                        prop_assert_eq!(&claims.jti, &again.jti);
                    }
                    (Err(reason), Err(again)) => prop_assert_eq!(reason, again),
                    _ => prop_assert!(false, "two answers to one question"),
                }
            }
        }
    }
}

#[test]
fn reasons_are_a_closed_list_without_repeats() {
    let reasons: std::collections::BTreeSet<_> = MapReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(reasons.len(), MapReason::ALL.len());
}
