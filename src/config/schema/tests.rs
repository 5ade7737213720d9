//! The schema itself, and finding places in it.

use super::*;

/// The definitions of the mapping language.
const MAPPING: [&str; 11] = [
    "MappingSpec",
    "RuleSpec",
    "SubjectSpec",
    "ValueSpec",
    "ExprSpec",
    "ScalarSpec",
    "LookupSpec",
    "BandsSpec",
    "BandSpec",
    "RecordPart",
    "TimeUnit",
];

#[test]
fn the_schema_is_a_valid_schema_without_null() {
    let schema = json_schema();
    assert!(jsonschema::meta::is_valid(schema));
    jsonschema::validator_for(schema).unwrap();
    // The mapping language has alternatives by its nature; the rest of the configuration has none.
    let mut ours = schema.clone();
    ours["$defs"]
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !MAPPING.contains(&name.as_str()));
    let text = ours.to_string();
    for unwanted in ["\"null\"", "Raw", "oneOf", "anyOf"] {
        assert!(!text.contains(unwanted), "{unwanted}");
    }
}

#[test]
fn every_key_has_a_description() {
    let mut bare = Vec::new();
    for (path, keys) in sections() {
        let pointer =
            path.split('.')
                .filter(|part| !part.is_empty())
                .fold(String::new(), |at, part| match part.strip_suffix("[]") {
                    Some(list) => pointer::child(&pointer::child(&at, list), 0),
                    None => pointer::child(&at, part),
                });
        let section = Node::at(&pointer).unwrap().0;
        for key in keys {
            let property = &section["properties"][key];
            if property["description"].as_str().is_none_or(str::is_empty) {
                bare.push(format!("{path}.{key}"));
            }
        }
    }
    assert_eq!(bare, Vec::<String>::new());
}

#[test]
fn places_in_the_schema_are_found() {
    assert!(Node::at("/streams/3/receiver/url").unwrap().takes_text());
    assert!(
        Node::at("/kafka/properties/sasl.password")
            .unwrap()
            .takes_text()
    );
    assert!(Node::at("/streams").unwrap().is_list());
    assert!(Node::at("/kafka/nothing").is_none());
    assert_eq!(section_with("jwks_uri").unwrap(), "`transmitter`");
    assert_eq!(
        section_with("token_url").unwrap(),
        "`streams[].receiver.auth.oauth2`"
    );
}
