//! What an expression looks at is all given to it.

use proptest::prelude::*;
use serde_json::json;

use super::tests::record;
use super::*;

/// What an expression says when it is given all of a detection.
fn holds_of_everything(source: &str, detection: &Value) -> Result<bool, Fault> {
    let mut when = When::compile(source).expect("valid");
    when.detection = Needs::everything();
    when.holds(detection, &record())
}

fn holds_of_its_needs(source: &str, detection: &Value) -> Result<bool, Fault> {
    let when = When::compile(source).expect("valid");
    when.holds(detection, &record())
}

#[test]
fn odd_expressions_find_what_they_look_for() {
    let detection = json!({
        "a": {"b": 1, "c": [{"d": 1}, {"d": 2}]}, "a.b": 2, "a-b": 3, "": {"": 4}, "key": "a", "n": 1, "size": 5,
        "detection": {"a": 6}, "ann@example.com": 7, "s": "x",
    });
    for source in [
        "detection['a'].b == 1",
        "detection['a']['c'][1].d == 2",
        "detection['a.b'] == 2 && detection.a.b == 1",
        "detection[''][''] == 4",
        "detection[detection.key].b == 1",
        "detection[record.key] == 7",
        "detection.a[detection.n == 1 ? 'b' : 'c'] == 1",
        "has(detection.a.b) && !has(detection.a.z) && has(detection['a'].c)",
        "(detection).a.b == 1 && (detection.a).b == 1",
        "(detection.n == 1 ? detection : {}).a.b == 1",
        "[detection][0].a.b == 1",
        "{'x': detection.a}.x.b == 1 && {'x': detection}['x'].a.b == 1",
        "{detection.key: 1}['a'] == 1",
        "dyn(detection).a.b == 1",
        "'a' in detection && 'b' in detection.a && !('z' in detection)",
        "detection.key in detection",
        "detection == detection && size(detection) == 10 && detection.size() == 10",
        "detection.size == 5",
        "detection.exists(k, detection[k] == 3)",
        "detection.all(k, k in detection)",
        "detection.map(k, k).size() == 10",
        "detection.filter(k, k == 'a-b') == ['a-b']",
        "detection.a.exists(k, k == 'b') && detection.a.exists_one(k, detection.a[k] == 1)",
        "detection.a.c.exists(i, i.d == detection.n)",
        "detection.a.c.exists(a, a.d == 2 && detection.a.b == 1)",
        "detection.a.c.exists(detection, detection.d == 2)",
        "detection.a.c.exists(detection, detection.d == .detection.n)",
        "[1].exists(detection, .detection.a.b == 1)",
        "[1].exists(detection, .detection['a'].b == 1 && has(.detection.n))",
        ".detection.a.b == 1",
        "detection.a.c.exists(record, record.d == 2)",
        "detection.a.c.map(i, i.d).exists(d, d == detection.a.b)",
        "detection.a.c.exists(i, detection.a.c.exists(j, j.d == i.d + detection.n))",
        "detection.detection.a == 6",
        "[detection.a].exists(detection, detection.b == 1) && detection.n == 1",
        "optional.of(detection.a).value().b == 1",
        "optional.of(detection).value().a.b == 1",
        "type(detection.a) == map",
        "!(detection.n == 2) && -detection.n == -1",
        "detection.?a.b.orValue(0) == 1 && !detection.?z.hasValue()",
        "detection[?'a'].b.orValue(0) == 1 && detection.a.?b.orValue(0) == 1",
        "[?detection.?n] == [1] && {?'x': detection.?n}.x == 1",
        "optional.of(detection.a).optMap(x, x.b + detection.n).value() == 2",
        "optional.of(detection.a).optMap(detection, detection.b).value() == .detection.n",
    ] {
        assert_eq!(
            holds_of_everything(source, &detection),
            Ok(true),
            "{source}, of everything"
        );
        assert_eq!(holds_of_its_needs(source, &detection), Ok(true), "{source}");
    }
}

/// JSON without null: that `null` has no members is more than CEL says (`variables.rs`).
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0..3_i64).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "[a-c]".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::vec(("[a-c]", inner), 1..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Something that an expression may look at; `x` only inside of a macro, else it does not compile.
fn any_place() -> impl Strategy<Value = String> {
    let root = prop_oneof![
        5 => Just("detection"),
        2 => Just("x"),
        3 => Just(".detection"),
        1 => Just("(detection)"),
        1 => Just("[detection][0]"),
        1 => Just("dyn(detection)"),
    ];
    let step = prop_oneof![
        6 => "\\.[a-c]",
        3 => "\\['[a-c]'\\]",
        1 => Just("[0]".to_owned()),
        1 => Just("[detection.c]".to_owned()),
    ];
    (root, prop::collection::vec(step, 0..3))
        .prop_map(|(root, steps)| root.to_owned() + &steps.concat())
}

fn any_expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (any_place(), any_place()).prop_map(|(one, other)| format!("{one} == {other}")),
        (any_place(), 0..3).prop_map(|(place, number)| format!("{place} == {number}")),
        (any_place(), "[a-c]").prop_map(|(place, name)| format!("has({place}.{name})")),
        (any_place(), "[a-c]").prop_map(|(place, name)| format!("'{name}' in {place}")),
        (any_place(), "[a-c]").prop_map(|(place, name)| format!("{place}.?{name}.hasValue()")),
        any_place().prop_map(|place| format!("size({place}) > 1")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        let variable = prop_oneof![Just("x"), Just("detection"), Just("record")];
        let fold = (0..5, any_place(), variable, inner.clone());
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) && ({other})")),
            (inner.clone(), inner.clone()).prop_map(|(one, other)| format!("({one}) || ({other})")),
            (inner.clone(), inner.clone())
                .prop_map(|(one, other)| format!("(({one}) ? ({other}) : !({other}))")),
            inner.prop_map(|one| format!("!({one})")),
            fold.prop_map(|(which, place, x, of)| match which {
                0 => format!("{place}.exists({x}, {of})"),
                1 => format!("{place}.all({x}, {of})"),
                2 => format!("[{place}].exists({x}, {of})"),
                3 => format!("size({place}.filter({x}, {of})) > 0"),
                _ => format!("optional.of({place}).optMap({x}, {of}).orValue(false)"),
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// The needed part of a detection says the same as all of it. Which of two errors comes first may depend on the
    /// order of a map, so only what matches is compared.
    #[test]
    fn no_expression_misses_what_was_left_out(
        source in any_expression(),
        members in prop::collection::btree_map("[a-c]", any_value(), 2..4),
    ) {
        let detection: Value = members.into_iter().collect::<serde_json::Map<_, _>>().into();
        if When::compile(&source).is_ok() {
            let of_everything = holds_of_everything(&source, &detection) == Ok(true);
            prop_assert_eq!(holds_of_its_needs(&source, &detection) == Ok(true), of_everything, "{}", source);
        }
    }
}
