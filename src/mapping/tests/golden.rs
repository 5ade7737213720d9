//! The frozen pairs of `tests/fixtures/golden`.

use super::*;

#[test]
fn detections_become_the_very_bytes_that_another_program_wrote() {
    let pairs: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/fixtures/golden/claims.json"))
            .expect("json");
    assert!(pairs.len() >= 8);
    for pair in pairs {
        let name = pair["name"].as_str().expect("a name");
        let mapping = match pair.get("mapping") {
            Some(spec) => compile(spec.clone()),
            None => Mapping::native(),
        };
        let wanted = match pair.get("several") {
            Some(several) => several.as_array().expect("a list").clone(),
            None => vec![pair["tokens"].clone()],
        };
        let sets = results(map(&mapping, &pair["detection"]));
        assert_eq!(sets.len(), wanted.len(), "{name}");
        for (claims, wanted) in sets.into_iter().zip(wanted) {
            let claims = claims.unwrap_or_else(|reason| panic!("{name}: {reason}"));
            for profile in [Profile::Okta, Profile::Ssf10, Profile::Dual] {
                let envelope = Envelope {
                    issuer: ISSUER.into(),
                    audience: "https://org.okta.com".into(),
                    profile,
                };
                let token = claims
                    .complete(Some(Level::Medium), NOW, &envelope)
                    .to_json();
                let token = String::from_utf8(token).expect("utf-8");
                assert_eq!(
                    Some(token.as_str()),
                    wanted[profile.as_str()].as_str(),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn invalid_input_has_its_reason() {
    let rows: Vec<BTreeMap<String, String>> =
        serde_json::from_str(include_str!("../../../tests/fixtures/golden/invalid.json"))
            .expect("json");
    assert!(rows.len() >= 25);
    for row in rows {
        let value = Bytes::from(row["value"].clone());
        let reason = reason_of(&value);
        assert!(
            row["reason"].split('|').any(|wanted| wanted == reason),
            "{}: {reason}",
            row["name"]
        );
    }
}

fn reason_of(value: &Bytes) -> &'static str {
    let whole = Arc::new(Needs::everything());
    let mut elements = match decode(Some(value), &DecodeLimits::default(), &whole) {
        Ok(Decoded::Elements(elements)) => elements,
        Ok(Decoded::Tombstone) => return "tombstone",
        Err(error) => return error.reason(),
    };
    match elements.next().expect("an element").1 {
        Err(error) => error.reason(),
        Ok(detection) => one(map(&Mapping::native(), &detection.json))
            .err()
            .unwrap_or("valid"),
    }
}
