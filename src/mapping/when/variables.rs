//! JSON → CEL, as far as the expression asks for it.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::Value;

use crate::detection::{Needs, json_type};
use crate::record::Record;

/// Gives CEL its variables when it asks for them. It asks for `detection.a.b` by that very name
/// first, which is answered without building anything around `b`.
pub(super) struct Variables<'a> {
    pub(super) detection: &'a Value,
    pub(super) needs: &'a Needs,
    pub(super) record: &'a Record,
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let (root, names) = name.split_once('.').unwrap_or((name, ""));
        match root {
            "detection" => {
                let mut value = self.detection;
                let mut needs = self.needs;
                for name in names.split('.').filter(|name| !name.is_empty()) {
                    value = value.as_object()?.get(name)?;
                    (_, needs) = needs.member(name)?;
                }
                Some(CowVal::Owned(convert(value, needs)))
            }
            "record" => record_variable(self.record, names),
            _ => None,
        }
    }
}

fn record_variable<'b>(record: &'b Record, name: &str) -> Option<CowVal<'b, 'b>> {
    let text = |bytes: &'b [u8]| std::str::from_utf8(bytes).ok();
    let topic = || CelString::from(&*record.origin.topic);
    let key = || record.key.as_deref().and_then(text).map(CelString::from);
    let headers = || {
        let entries = record.headers.iter().filter_map(|(name, value)| {
            let value = text(value.as_deref()?)?;
            Some((
                CelMapKey::from(name.as_str()),
                boxed(CelString::from(value)),
            ))
        });
        CelMap::from(entries.collect::<HashMap<_, _>>())
    };
    match name {
        "topic" => Some(CowVal::owned(topic())),
        "key" => key().map(CowVal::owned),
        "headers" => Some(CowVal::owned(headers())),
        "" => {
            let mut members = HashMap::from([
                (CelMapKey::from("topic"), boxed(topic())),
                (CelMapKey::from("headers"), boxed(headers())),
            ]);
            if let Some(key) = key() {
                members.insert(CelMapKey::from("key"), boxed(key));
            }
            Some(CowVal::owned(CelMap::from(members)))
        }
        _ => None,
    }
}

fn boxed<'v>(value: impl Val + 'v) -> Box<dyn Val + 'v> {
    Box::new(value)
}

/// JSON to CEL: the whole value, or only the members that are needed. The depth is bounded by
/// `detection::MAX_DEPTH`.
fn convert<'v>(value: &'v Value, needs: &'v Needs) -> Box<dyn Val + 'v> {
    if needs.is_whole() {
        return whole(value);
    }
    match value {
        Value::Object(object) => {
            let members = needs.members().filter_map(|(name, needs)| {
                let value = object.get(name)?;
                Some((CelMapKey::from(name), convert(value, needs)))
            });
            boxed(CelMap::from(members.collect::<HashMap<_, _>>()))
        }
        // `detection.user.name` with `"user": null`: the name is missing, which is no error.
        Value::Null => boxed(CelMap::default()),
        other => whole(other),
    }
}

fn whole(value: &Value) -> Box<dyn Val + '_> {
    match value {
        Value::Null => boxed(CelNull),
        Value::Bool(flag) => boxed(CelBool::from(*flag)),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), _, _) => boxed(CelInt::from(int)),
            (_, Some(uint), _) => boxed(CelUInt::from(uint)),
            (_, _, Some(double)) => boxed(CelDouble::from(double)),
            // Not reached: without arbitrary_precision a number is one of the three.
            _ => unreadable(value),
        },
        Value::String(text) => boxed(CelString::from(text.as_str())),
        Value::Array(items) => boxed(CelList::from(items.iter().map(whole).collect::<Vec<_>>())),
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| (CelMapKey::from(name.as_str()), whole(value)));
            boxed(CelMap::from(members.collect::<HashMap<_, _>>()))
        }
    }
}

fn unreadable(value: &Value) -> Box<dyn Val + '_> {
    boxed(CelString::from(json_type(value)))
}
