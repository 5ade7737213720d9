//! What decoding leaves out, no rule reads: [`map`] compares each mapping of a part with that of the whole detection.

use super::super::path::Path;
use super::*;

/// A rule for a detection that holds all of it at odd places.
fn odd() -> Value {
    json!({
        "id": 1, "user": "a@b.example", "level": "high", "main": "x", "key": "users", "on": true, "n": 1,
        "users": [
            {"id": "x", "mail": "x@b.example", "a": {"b": "x"}, "list": [{"m": "i@b.example"}]},
            {"id": "y", "mail": "y@b.example", "a": {"b": "y"}, "list": [{"m": "j@b.example"}, {"m": "k@b.example"}]}
        ],
        "a b": {"c]d": {"e}f": "z@b.example"}}, "it's": "q@b.example", "$": "d@b.example", "": {"": "e@b.example"},
        "wanted": {"ids": ["y"], "deep": {"id": "y"}}, "ü": {"name": "u@b.example"},
        "host": "h", "noise": {"mail": "n@b.example", "id": "x"}
    })
}

/// The addresses of the SETs that come of it.
fn mails(mapping: &Mapping, detection: &Value) -> Vec<String> {
    results(map(mapping, detection))
        .into_iter()
        .map(|set| {
            let claims = set.expect("claims");
            let subject = serde_json::to_value(&claims.subject).expect("json");
            subject["email"].as_str().expect("an address").to_owned()
        })
        .collect()
}

#[test]
fn odd_paths_find_what_they_look_for() {
    for (path, wanted) in [
        // A filter may look at the whole detection from anywhere.
        ("$.users[?@.id == $.main].mail", vec!["x@b.example"]),
        ("$.users[?@.id == $['main']].mail", vec!["x@b.example"]),
        ("$.users[?@.id==$.wanted.deep.id].mail", vec!["y@b.example"]),
        ("$.users[? $.on && @.id == 'y' ].mail", vec!["y@b.example"]),
        ("$.users[?@.a[?@ == $.main]].mail", vec!["x@b.example"]),
        (
            "$.users[?count($.wanted.ids[*]) == 1].mail",
            vec!["x@b.example", "y@b.example"],
        ),
        ("$.users[?match(@.id, $.main)].mail", vec!["x@b.example"]),
        (
            "$.users[?@.id != '$'].mail",
            vec!["x@b.example", "y@b.example"],
        ),
        (
            "$.users[*].list[*].m",
            vec!["i@b.example", "j@b.example", "k@b.example"],
        ),
        ("$.users[-1:].mail", vec!["y@b.example"]),
        ("$['user','missing']", vec!["a@b.example"]),
        ("$[\"user\", \"missing\"]", vec!["a@b.example"]),
        ("$.users[0]['mail']", vec!["x@b.example"]),
        ("$['a b']['c]d']['e}f']", vec!["z@b.example"]),
        ("$['it\\'s']", vec!["q@b.example"]),
        ("$[\"it's\"]", vec!["q@b.example"]),
        ("$['us\\u0065r']", vec!["a@b.example"]),
        ("$ .user", vec!["a@b.example"]),
        ("$[ 'user' ]", vec!["a@b.example"]),
        ("$['$']", vec!["d@b.example"]),
        ("$['']['']", vec!["e@b.example"]),
        ("$.ü.name", vec!["u@b.example"]),
    ] {
        let mapping = rule(json!({"subject": {"email": path}}));
        assert_eq!(mails(&mapping, &odd()), wanted, "{path}");
    }
}

#[test]
fn odd_rules_find_what_they_look_for() {
    for (members, wanted) in [
        (
            json!({"each": "$.users[?@.id == $.main]", "subject": {"email": "@.mail"}}),
            vec!["x@b.example"],
        ),
        (
            json!({"each": "$.users[*].list[*]", "subject": {"email": "@.m"}, "id": ["@"]}),
            vec!["i@b.example", "j@b.example", "k@b.example"],
        ),
        (
            json!({"each": "$", "subject": {"email": "@.users[?@.id == 'y'].mail"}}),
            vec!["y@b.example"],
        ),
        // Without `id` the key is made of the bytes and the node.
        (
            json!({"each": "$.wanted", "subject": {"email": "$.noise.mail"}, "id": []}),
            vec!["n@b.example"],
        ),
        (
            json!({"subject": {"first_of": [{"email": "$.none"}, {"email": {"first_of": ["$.nor", "{$['a b']['c]d']['e}f']}"]}}]}}),
            vec!["z@b.example"],
        ),
        (
            json!({"subject": {"email": {"lookup": {"of": "{$.users[?@.id == $.main].a.b}", "table": {"x": "t@b.example"}}}}}),
            vec!["t@b.example"],
        ),
        (
            json!({"when": "has(detection.users) && detection.users.exists(u, u.a.b == detection.main)"}),
            vec!["a@b.example"],
        ),
        (
            json!({"when": "[1].exists(detection, .detection.main == 'x')"}),
            vec!["a@b.example"],
        ),
        (
            json!({"when": "'on' in detection && detection[detection.key].size() == 2 && detection['a b']['c]d']['e}f'] != ''"}),
            vec!["a@b.example"],
        ),
        (
            json!({"when": "record.headers['trace'] == 't-1' && detection.users.filter(u, u.id in detection.wanted.ids).map(u, u.mail) == ['y@b.example']"}),
            vec!["a@b.example"],
        ),
    ] {
        let mapping = rule(members.clone());
        assert_eq!(mails(&mapping, &odd()), wanted, "{members}");
    }
}

#[test]
fn headers_keys_and_constants_look_at_nothing() {
    let mapping = rule(json!({
        "subject": {"email": {"record": "key"}}, "id": [{"header": "trace"}, {"record": "topic"}], "txn": {"const": "$.a"},
        "claims": {"current_level": "high", "reason_admin": "{{$.host}}"},
    }));
    assert_eq!(mapping.needs().members().count(), 0);
    assert!(!mapping.needs().is_whole());
    assert_eq!(mails(&mapping, &odd()), ["key@example.com"]);
}

/// What decoding builds for one path.
fn part(path: &Path, json: &Value) -> Value {
    let mut needs = Needs::default();
    needs.add(path.leading_names());
    let raw = Bytes::from(json.to_string());
    let Ok(Decoded::Elements(mut elements)) =
        decode(Some(&raw), &DecodeLimits::default(), &Arc::new(needs))
    else {
        panic!("{json} is a detection");
    };
    let (_, detection) = elements.next().expect("one");
    detection.expect("JSON").json
}

/// A path in the making: what stands between `$` and its end.
fn any_path() -> impl Strategy<Value = String> {
    let step = || {
        prop_oneof![
            4 => "\\.[a-c]",
            2 => "\\[(-?[0-2]|\\*|0:2|'[a-c]'|\"[a-c]\"|'[a-c]','[a-c]'| '[a-c]' |'\\\\u0061')\\]",
            1 => Just(".*".to_owned()),
            1 => "( \\.|\\.)[a-c]",
        ]
    };
    let steps = move || prop::collection::vec(step(), 0..3).prop_map(|steps| steps.concat());
    let plain = "(\\.[a-c]|\\['[a-c]'\\]|\\[0\\]){0,2}";
    let filter = prop_oneof![
        3 => Just(String::new()),
        1 => (plain, plain).prop_map(|(at, root)| format!("[?@{at} == ${root}]")),
        1 => (plain, plain).prop_map(|(at, root)| format!("[?@{at} || !${root}]")),
        1 => plain.prop_map(|root| format!("[?count(${root}.*) > 1 || @.a == '$']")),
        1 => Just("..a".to_owned()),
    ];
    (steps(), filter, steps())
        .prop_map(|(before, filter, after)| format!("{before}{filter}{after}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// What a path gives is the same in the part that is built for it.
    #[test]
    fn no_path_misses_what_was_left_out(
        path in any_path(),
        members in prop::collection::btree_map("[a-d]", any_json(), 0..4),
    ) {
        let text = format!("${path}");
        let json: Value = members.into_iter().collect::<serde_json::Map<_, _>>().into();
        if let Ok(path) = Path::compile(&text) {
            let part = part(&path, &json);
            prop_assert_eq!(path.all(&part), path.all(&json), "{}", text);
        }
    }
}
