//! The native format and the schemas.

use super::*;

fn schema() -> jsonschema::Validator {
    let schema =
        serde_json::from_str(include_str!("../../../config/detection.schema.json")).expect("json");
    jsonschema::validator_for(&schema).expect("a schema")
}

#[test]
fn what_the_schema_accepts_is_mapped_and_what_is_mapped_it_accepts() {
    let schema = schema();
    let pairs: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/fixtures/golden/claims.json"))
            .expect("json");
    let natives = pairs.iter().filter(|pair| pair.get("mapping").is_none());
    for pair in natives {
        // A null in a list of users is forgiven, not recommended.
        if pair["detection"]["user"]
            .as_array()
            .is_some_and(|users| users.contains(&Value::Null))
        {
            continue;
        }
        assert!(schema.is_valid(&pair["detection"]), "{}", pair["name"]);
    }
    let base =
        json!({"id": "1", "kind": "user-risk-change", "user": "a@example.com", "level": "high"});
    for broken in ["id", "kind", "user", "level"] {
        let mut detection = base.clone();
        detection.as_object_mut().expect("an object").remove(broken);
        assert!(!schema.is_valid(&detection), "without {broken}");
        assert!(
            one(map(&Mapping::native(), &detection)).is_err(),
            "without {broken}"
        );
    }
}

#[test]
fn the_mapping_language_has_a_schema_that_the_native_mapping_fits() {
    let schema = serde_json::to_value(schemars::schema_for!(MappingSpec)).expect("json");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let native: Value = serde_json::from_str(include_str!("../native.json")).expect("json");
    assert!(validator.is_valid(&native));
    assert!(!validator.is_valid(&json!({"rules": [{"name": 3}]})));
    let spec = serde_json::to_value(MappingSpec::native()).expect("json");
    assert_eq!(
        serde_json::from_value::<MappingSpec>(spec).expect("it reads back"),
        MappingSpec::native()
    );
}

#[test]
fn a_mapping_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync + 'static>() {}
    shareable::<Mapping>();
    shareable::<Claims>();
    assert_eq!(
        Mapping::native()
            .rules()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["user-risk-change", "identifier-changed"]
    );
}
