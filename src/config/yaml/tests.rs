//! Reading YAML: values, places, and what is refused.

use super::*;
use serde_json::json;

fn line(mistakes: &[Mistake]) -> Vec<(usize, usize, String)> {
    mistakes
        .iter()
        .map(|mistake| match &mistake.place {
            Place::File { line, column, .. } => (*line, *column, mistake.message.clone()),
            other => panic!("{other}"),
        })
        .collect()
}

#[test]
fn the_core_schema_and_places() {
    let text = "a: 0x10\nb: [yes, true, ~, 1.5, 1e3]\nc: &x\n  d: \"1\"\ne: *x\n";
    let tree = read(text, "f").unwrap();
    assert_eq!(
        tree.value,
        json!({"a": 16, "b": ["yes", true, null, 1.5, 1000], "c": {"d": "1"}, "e": {"d": "1"}})
    );
    let at = |line, column| Place::File {
        file: "f".into(),
        line,
        column,
    };
    assert_eq!(tree.places.key("/b"), at(2, 1));
    assert_eq!(tree.places.value("/b/1"), at(2, 10));
    assert_eq!(tree.places.value("/c/d"), at(4, 6));
    assert_eq!(tree.places.value("/c/nothing"), at(3, 4));
}

#[test]
fn what_is_refused_says_where() {
    for (text, line_column, message) in [
        ("a: 1\nb: 2\na: 3\n", (3, 1), "this key is there twice"),
        ("1: x\n\"1\": y\n", (2, 1), "this key is there twice"),
        ("a: 1\n---\nb: 1\n", (2, 1), "a second document begins here"),
        ("? [a]\n: 1\n", (1, 3), "a key has to be a text"),
        (
            "a: !secret x\n",
            (1, 4),
            "the tag !secret means nothing here",
        ),
        ("a: !!int x\n", (1, 4), "the value does not fit its tag"),
        ("a: .inf\n", (1, 4), "not a finite number"),
        ("a: &x [*x]\n", (1, 8), "an alias inside its own anchor"),
    ] {
        let mistakes = line(&read(text, "f").unwrap_err());
        assert_eq!(
            mistakes,
            [(line_column.0, line_column.1, message.to_owned())],
            "{text}"
        );
    }
    assert_eq!(line(&read("a: 1\na: 2\na: 3\n", "f").unwrap_err()).len(), 2);
    let broken = line(&read("a: [1\nb: 2\n", "f").unwrap_err());
    assert!(broken[0].2.starts_with("not YAML: "), "{broken:?}");
}

#[test]
fn bombs_are_bounded() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = format!("*a{}", level - 1);
        let list = vec![below; 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
    }
    assert_eq!(line(&read(&bomb, "f").unwrap_err()).len(), 1);
    let deep = "- ".repeat(100_000);
    assert_eq!(
        line(&read(&deep, "f").unwrap_err())[0].2,
        "nested deeper than 64 levels"
    );
    let mut by_alias = "a0: &a0 [x]\n".to_owned();
    for level in 1..100 {
        by_alias.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(
        line(&read(&by_alias, "f").unwrap_err())[0].2,
        "too many or too deeply nested values"
    );
}

#[test]
fn an_empty_file_is_null() {
    assert_eq!(read("", "f").unwrap().value, Value::Null);
    assert_eq!(read("# nothing\n", "f").unwrap().value, Value::Null);
}
