//! JSON for the eye: indented, with its members in the order in which they were written.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Indents the objects of `text` by two blanks a level; everything else, and what is no JSON, stays as it is.
pub(super) fn indented(text: &str) -> String {
    let mut out = String::new();
    write(text, 0, &mut out);
    out
}

fn write(text: &str, level: usize, out: &mut String) {
    let members = match serde_json::from_str::<Members<'_>>(text) {
        Ok(Members(members)) if !members.is_empty() => members,
        _ => return out.push_str(text),
    };
    let mut before = "{";
    for (name, value) in members {
        out.push_str(before);
        new_line(level + 1, out);
        out.push_str(&serde_json::Value::from(name).to_string());
        out.push_str(": ");
        write(value.get(), level + 1, out);
        before = ",";
    }
    new_line(level, out);
    out.push('}');
}

fn new_line(level: usize, out: &mut String) {
    out.push('\n');
    out.push_str(&"  ".repeat(level));
}

/// The members of an object, in order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order() {
        assert_eq!(
            indented(r#"{"z":1,"a":{"c":[1,{"x":2}],"b":"\"ü"},"e":{}}"#),
            "{\n  \"z\": 1,\n  \"a\": {\n    \"c\": [1,{\"x\":2}],\n    \"b\": \"\\\"ü\"\n  },\n  \"e\": {}\n}"
        );
        assert_eq!(indented("no JSON"), "no JSON");
    }
}
