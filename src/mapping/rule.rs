//! A compiled rule: does it match, and which claims does it make.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use super::claims::Claims;
use super::error::{Fault, MapError, MapReason};
use super::expr::{Expr, Scope, text_of};
use super::limits::MAX_TEXT_BYTES;
use super::made::Made;
use super::path::Path;
use super::spec::TimeUnit;
use super::subject::SubjectExpr;
use super::when::When;
use super::{MapInput, time};
use crate::set::{
    EventType, Field, FieldKind, FieldValue, FieldValues, InitiatingEntity, JtiPrefix, Level,
    Reason, SecurityEvent, SimpleSubject, Subject, Timestamp,
};

/// One rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    pub(super) when: Option<When>,
    /// `None` drops the detection.
    pub(super) event: Option<EventRule>,
}

/// How a rule makes SETs.
#[derive(Debug)]
pub(super) struct EventRule {
    pub(super) event_type: EventType,
    pub(super) each: Option<Path>,
    pub(super) subject: SubjectExpr,
    pub(super) id: Vec<Expr>,
    pub(super) time: Option<Expr>,
    pub(super) time_unit: TimeUnit,
    pub(super) max_future: u32,
    pub(super) max_past: u32,
    pub(super) txn: Option<Expr>,
    pub(super) claims: Vec<(Field, Expr)>,
    /// For `reason_admin` when the detection gives none.
    pub(super) fallback_reason: Option<Reason>,
}

/// A fault with the field it is in.
type InField<T> = Result<T, (&'static str, Fault)>;

impl Rule {
    pub(super) const fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(super) const fn drops(&self) -> bool {
        self.event.is_none()
    }

    /// Whether the rule is for this detection.
    pub(super) fn matches(&self, input: &MapInput<'_>) -> Result<bool, MapError> {
        let Some(when) = &self.when else {
            return Ok(true);
        };
        when.holds(&input.detection.json, input.record)
            .map_err(|fault| self.error("when", fault))
    }

    /// Adds the SETs of this rule; `false` when there is nobody to report.
    pub(super) fn map(&self, input: &MapInput<'_>, sets: &mut Made) -> bool {
        let Some(event) = &self.event else {
            return false;
        };
        let (before, mark) = (sets.len(), sets.mark());
        let detection = &input.detection.json;
        let nodes = match &event.each {
            None => Ok(vec![detection]),
            Some(path) => path.all(detection),
        };
        match nodes {
            Err(fault) => sets.push(Err(self.error("each", fault))),
            Ok(nodes) => {
                let whole = event.id.is_empty().then(|| sha256(&input.detection.raw));
                for node in nodes.into_iter().filter(|node| !node.is_null()) {
                    self.map_node(event, input, node, whole.as_deref(), sets);
                    if let Some(excess) = sets.excess() {
                        sets.back_to(mark);
                        sets.push(Err(self.error("each", excess)));
                        break;
                    }
                }
            }
        }
        sets.len() > before
    }

    pub(super) fn no_subject(&self) -> MapError {
        self.error(
            "subject",
            Fault::new(MapReason::NoSubject, "the detection names nobody to report"),
        )
    }

    fn map_node(
        &self,
        event: &EventRule,
        input: &MapInput<'_>,
        node: &Value,
        whole: Option<&[u8]>,
        sets: &mut Made,
    ) {
        let scope = Scope {
            detection: &input.detection.json,
            node,
            record: Some(input.record),
        };
        let subjects = match event.subject.all(&scope) {
            Ok(subjects) if subjects.is_empty() => return,
            Ok(subjects) => subjects,
            Err(fault) => return sets.push(Err(self.error("subject", fault))),
        };
        let shared = match event.shared(&scope, input, whole) {
            Ok(shared) => shared,
            Err((field, fault)) => return sets.push(Err(self.error(field, fault))),
        };
        for subject in subjects {
            let claims = subject
                .map_err(|fault| ("subject", fault))
                .and_then(|subject| self.claims(event, &shared, subject));
            sets.push(claims.map_err(|(field, fault)| self.error(field, fault)));
            if sets.excess().is_some() {
                break;
            }
        }
    }

    fn claims(&self, event: &EventRule, shared: &Shared, subject: Subject) -> InField<Claims> {
        let is_email = matches!(subject, Subject::Simple(SimpleSubject::Email(_)));
        let made = SecurityEvent::build(
            event.event_type,
            &subject,
            shared.time,
            shared.values.clone(),
        )
        .map_err(|fault| ("claims", Fault::of_field(fault, is_email)))?;
        let canonical = subject.canonical();
        let subject_key = canonical.key();
        let text_bytes = canonical.as_str().len()
            + shared.values.text_bytes()
            + shared.txn.as_ref().map_or(0, String::len)
            + shared.prefix.len();
        let other_lane = made
            .new_subject()
            .map(|new| new.canonical().key())
            .filter(|key| *key != subject_key);
        Ok(Claims {
            jti: shared.prefix.jti(event.event_type, &canonical),
            rule: self.name.clone(),
            event: made,
            subject,
            subject_key,
            other_lane,
            txn: shared.txn.clone(),
            prefix: shared.prefix.clone(),
            text_bytes,
        })
    }

    fn error(&self, field: &'static str, fault: Fault) -> MapError {
        MapError::new(&self.name, field, fault)
    }
}

/// What all subjects of one node share.
struct Shared {
    time: Timestamp,
    prefix: JtiPrefix,
    txn: Option<String>,
    values: FieldValues,
}

impl EventRule {
    /// `whole` is the SHA-256 of the element, where nothing else is its key.
    fn shared(
        &self,
        scope: &Scope<'_>,
        input: &MapInput<'_>,
        whole: Option<&[u8]>,
    ) -> InField<Shared> {
        let time = self.time(scope, input).map_err(|fault| ("time", fault))?;
        let key = self
            .detection_key(scope, whole)
            .map_err(|fault| ("id", fault))?;
        let prefix = JtiPrefix::new(input.issuer, input.stream, &key);
        let txn = match &self.txn {
            Some(expr) => text(expr, scope).map_err(|fault| ("txn", fault))?,
            None => None,
        };
        let values = self.values(scope)?;
        Ok(Shared {
            time,
            prefix,
            txn,
            values,
        })
    }

    /// The mapped time, else Kafka's. Never the clock.
    fn time(&self, scope: &Scope<'_>, input: &MapInput<'_>) -> Result<Timestamp, Fault> {
        let (max_future, max_past) = (self.max_future, self.max_past);
        if let Some(expr) = &self.time
            && let Some(value) = expr.one(scope)?
        {
            let time = time::read(&value, self.time_unit, expr.origin())?;
            return time::in_range(time, input.now, max_future, max_past, expr.origin());
        }
        let millis = input.record.timestamp_ms.ok_or_else(|| {
            Fault::new(
                MapReason::BadTime,
                "neither the detection nor the record has a time",
            )
        })?;
        let time = Timestamp::from_millis(millis);
        time::in_range(
            time,
            input.now,
            max_future,
            max_past,
            "the Kafka time stamp",
        )
    }

    /// The JSON texts of the named values, none of them missing: were `$.id` missing and allowed
    /// to, all detections would share a key and be swallowed as duplicates of the first.
    /// Without names: SHA-256 of the element's bytes, and of the node when there is `each`.
    fn detection_key(
        &self,
        scope: &Scope<'_>,
        whole: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, Fault> {
        if let Some(whole) = whole {
            let mut key = vec![whole.to_vec()];
            if self.each.is_some() {
                key.push(sha256(&json_text(scope.node)));
            }
            return Ok(key);
        }
        self.id
            .iter()
            .map(|expr| match expr.one(scope)? {
                Some(value) => Ok(json_text(&value)),
                None => Err(missing(expr)),
            })
            .collect()
    }

    fn values(&self, scope: &Scope<'_>) -> InField<FieldValues> {
        let mut values = FieldValues::default();
        for (field, expr) in &self.claims {
            let value =
                field_value(field.kind, expr, scope).map_err(|fault| (field.name, fault))?;
            match (value, field.kind) {
                (Some(value), _) => values.push(field.name, value),
                (None, FieldKind::Reason) => {}
                (None, _) if field.required => return Err((field.name, missing(expr))),
                (None, _) => {}
            }
        }
        if let Some(reason) = &self.fallback_reason {
            values.push_default("reason_admin", FieldValue::Reason(reason.clone()));
        }
        Ok(values)
    }
}

/// A value as JSON without white space, members sorted: a part of the detection key.
fn json_text(value: &Value) -> Vec<u8> {
    let written = if value.is_object() || value.is_array() {
        let mut sorted = value.clone();
        sorted.sort_all_objects();
        serde_json::to_vec(&sorted)
    } else {
        serde_json::to_vec(value)
    };
    written.expect("a JSON value can always be written")
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

fn missing(expr: &Expr) -> Fault {
    Fault::new(
        MapReason::MissingValue,
        format!("{} has no value", expr.origin()),
    )
}

fn text(expr: &Expr, scope: &Scope<'_>) -> Result<Option<String>, Fault> {
    let Some(value) = expr.one(scope)? else {
        return Ok(None);
    };
    match text_of(&value) {
        Some(text) => Ok(Some(short_enough(text.trim(), expr.origin())?.to_owned())),
        None => Err(Fault::wrong_type(expr.origin(), &value, "a text")),
    }
}

/// A text of at most [`MAX_TEXT_BYTES`].
fn short_enough<'t>(text: &'t str, origin: &str) -> Result<&'t str, Fault> {
    if text.len() > MAX_TEXT_BYTES {
        let text = format!("{origin} is longer than {MAX_TEXT_BYTES} bytes");
        return Err(Fault::bad_value(text));
    }
    Ok(text)
}

fn field_value(
    kind: FieldKind,
    expr: &Expr,
    scope: &Scope<'_>,
) -> Result<Option<FieldValue>, Fault> {
    let reason = if kind == FieldKind::Level {
        MapReason::BadLevel
    } else {
        MapReason::BadValue
    };
    let value = expr.one(scope).map_err(|fault| fault.in_field(reason))?;
    let Some(value) = value else {
        return Ok(None);
    };
    read_field(kind, &value, expr.origin())
}

/// A JSON value as the value of a field of this kind; `None` when it is as good as missing.
pub(super) fn read_field(
    kind: FieldKind,
    value: &Value,
    origin: &str,
) -> Result<Option<FieldValue>, Fault> {
    let word = |wanted| match value {
        Value::String(text) => Ok(text),
        other => Err(Fault::wrong_type(origin, other, wanted)),
    };
    match kind {
        FieldKind::Level => word("a level, or a number with `bands`")
            .and_then(|text| {
                Level::parse(text).map_err(|e| Fault::bad_value(format!("{origin} {e}")))
            })
            .map(|level| Some(FieldValue::Level(level)))
            .map_err(|fault| fault.in_field(MapReason::BadLevel)),
        FieldKind::InitiatingEntity => {
            let entity = InitiatingEntity::parse(word("an initiating entity")?);
            entity
                .map(|e| Some(FieldValue::InitiatingEntity(e)))
                .map_err(|e| Fault::bad_value(format!("{origin} {e}")))
        }
        FieldKind::Reason => Ok(reason_of(value, origin)?.map(FieldValue::Reason)),
        FieldKind::Identifier => Ok(Some(FieldValue::Identifier(word("an identifier")?.clone()))),
    }
}

/// A reason: a text, or an object of texts by language with `en` among them.
fn reason_of(value: &Value, origin: &str) -> Result<Option<Reason>, Fault> {
    let Value::Object(texts) = value else {
        let text = text_of(value).ok_or_else(|| Fault::wrong_type(origin, value, "a text"))?;
        return Ok(Reason::english(short_enough(&text, origin)?));
    };
    let Some(Value::String(english)) = texts.get("en") else {
        return Err(Fault::bad_value(format!(
            "{origin} has no text in English (`en`)"
        )));
    };
    let Some(mut reason) = Reason::english(short_enough(english, origin)?) else {
        return Ok(None);
    };
    for (tag, text) in texts {
        match text {
            Value::String(text) if Reason::is_language_tag(tag) => {
                reason.add(tag, short_enough(text, origin)?);
            }
            _ => {
                return Err(Fault::bad_value(format!(
                    "{origin} is no object of texts by language"
                )));
            }
        }
    }
    Ok(Some(reason))
}
