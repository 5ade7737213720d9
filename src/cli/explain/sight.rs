//! What is seen of one record: shown as text, or as one JSON object.

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Scene;
use crate::cli::kafka;
use crate::kafka::dead_letter::DeadLetter;
use crate::mapping::{Mapped, RuleTrace};
use crate::pipeline::preview::{ElementPreview, Preview, SetPreview, Terms};
use crate::pipeline::{Admission, admit, now_ms};
use crate::record::Record;
use crate::set::Timestamp;
use crate::state::{Facts, Position};

#[derive(Debug, Serialize)]
pub(super) struct RecordSight {
    pub(super) stream: String,
    pub(super) mode: &'static str,
    pub(super) origin: String,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) key: Option<String>,
    pub(super) bytes: usize,
    /// The record was found as a dead letter.
    pub(super) dead_letter: Option<Letter>,
    pub(super) group: String,
    /// The group's next offset on the partition.
    pub(super) committed: Option<i64>,
    /// Why that is not known.
    pub(super) committed_unseen: Option<String>,
    /// Whether the record lies before it.
    pub(super) settled: Option<bool>,
    /// Why duplicates and marks are not known.
    pub(super) state_unseen: Option<String>,
    #[serde(flatten)]
    pub(super) contents: Contents,
}

#[derive(Debug, Serialize)]
pub(super) struct Letter {
    pub(super) stage: &'static str,
    pub(super) reason: String,
    pub(super) detail: Option<String>,
    pub(super) attempts: u32,
}

#[derive(Debug, Serialize)]
#[serde(tag = "contents", rename_all = "snake_case")]
pub(super) enum Contents {
    Tombstone,
    DeadLetter(Fault),
    Detections { elements: Vec<Element> },
}

/// Why something goes to the dead letters.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    pub(super) detail: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Element {
    pub(super) element: u32,
    pub(super) sha256: Option<String>,
    pub(super) dead_letter: Option<Fault>,
    pub(super) rules: Vec<Rule>,
    pub(super) filtered: Option<&'static str>,
    pub(super) sets: Vec<Set>,
}

#[derive(Debug, Serialize)]
pub(super) struct Rule {
    pub(super) rule: String,
    pub(super) verdict: &'static str,
    pub(super) sets: Option<usize>,
    pub(super) when: Option<String>,
    /// Name and value of what `when` looks at; null: nothing is there.
    pub(super) looked_at: Vec<(String, Option<Value>)>,
}

#[derive(Debug, Serialize)]
pub(super) struct Set {
    pub(super) set: u32,
    /// `fresh`, `duplicate`, `already_decided`, `expired`, `unknown`, `dead_letter`
    pub(super) verdict: &'static str,
    pub(super) dead_letter: Option<Fault>,
    #[serde(flatten)]
    pub(super) made: Option<Made>,
}

/// What there is only of a SET that can be made.
#[derive(Debug, Serialize)]
pub(super) struct Made {
    pub(super) jti: String,
    pub(super) event: &'static str,
    pub(super) rule: String,
    /// One, or two for identifier-changed: SETs that share one leave in order.
    pub(super) lanes: Vec<String>,
    pub(super) known: Option<Known>,
    /// Seconds since the event, when that is more than `max_event_age`.
    pub(super) older_than_max_event_age: Option<i64>,
    pub(super) claims: Box<RawValue>,
}

/// What the state knows.
#[derive(Debug, Serialize)]
pub(super) struct Known {
    /// Offset, element and number of the newest SET in the lane, from this partition, that has its outcome.
    pub(super) mark: Option<(i64, u32, u32)>,
    pub(super) level: Option<&'static str>,
    pub(super) level_event_time: Option<i64>,
    pub(super) other_partition: bool,
}

impl RecordSight {
    pub(super) fn new(scene: &Scene<'_>, record: &Record, letter: Option<&DeadLetter>) -> Self {
        let stream = scene.stream;
        let now = Timestamp::from_millis(now_ms());
        let preview = Preview::of(
            record,
            &Terms {
                mapping: &stream.mapping,
                limits: stream.decode_limits(),
                issuer: stream.issuer.as_str(),
                stream: stream.id.as_str(),
                now,
            },
        );
        let (facts, state_unseen) = match facts(scene, record, &preview) {
            Ok(facts) => (Some(facts), None),
            Err(why) => (None, Some(why)),
        };
        let origin = &record.origin;
        let committed = scene.reader.committed(&origin.topic, &[origin.partition]);
        let (committed, committed_unseen) = match committed {
            Ok(of) => (of.get(&origin.partition).copied(), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let settled = committed_unseen
            .is_none()
            .then(|| committed.is_some_and(|next| origin.offset < next));
        let mut view = View {
            scene,
            record,
            now,
            facts: facts.map(Vec::into_iter),
        };
        Self {
            stream: stream.id.to_string(),
            mode: stream.mode.as_str(),
            origin: origin.to_string(),
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_ref().map(|key| kafka::text_of(key, 200)),
            bytes: record.value.as_ref().map_or(0, bytes::Bytes::len),
            dead_letter: letter.map(|letter| Letter {
                stage: letter.stage.as_str(),
                reason: letter.reason.clone(),
                detail: letter.detail.clone(),
                attempts: letter.attempts,
            }),
            group: stream.group_id.clone(),
            committed,
            committed_unseen,
            settled,
            state_unseen,
            contents: view.contents(preview),
        }
    }
}

/// What the state knows about each SET of the record, or why that cannot be seen.
fn facts(scene: &Scene<'_>, record: &Record, preview: &Preview) -> Result<Vec<Facts>, String> {
    let (state, runtime) = scene.state.as_ref().map_err(String::clone)?;
    let questions: Vec<_> = preview
        .sets(record)
        .map(|set| set.question(record))
        .collect();
    runtime
        .block_on(state.look_up(&scene.state_name, &questions))
        .map_err(|error| crate::telemetry::chain(&error))
}

/// Turns a preview into what is shown; takes the facts in the order of the SETs.
struct View<'a> {
    scene: &'a Scene<'a>,
    record: &'a Record,
    now: Timestamp,
    facts: Option<std::vec::IntoIter<Facts>>,
}

impl View<'_> {
    fn contents(&mut self, preview: Preview) -> Contents {
        match preview {
            Preview::Tombstone => Contents::Tombstone,
            Preview::Refused(error) => Contents::DeadLetter(Fault {
                reason: error.reason(),
                detail: error.to_string(),
            }),
            Preview::Elements(elements) => Contents::Detections {
                elements: elements
                    .iter()
                    .map(|element| self.element(element))
                    .collect(),
            },
        }
    }

    fn element(&mut self, element: &ElementPreview) -> Element {
        let (dead_letter, rules, filtered) = match &element.found {
            Err(error) => {
                let fault = Fault {
                    reason: error.reason(),
                    detail: error.to_string(),
                };
                (Some(fault), Vec::new(), None)
            }
            Ok(traced) => {
                let filtered = match &traced.mapped {
                    Mapped::Filtered(reason) => Some(reason.as_str()),
                    Mapped::Sets(_) => None,
                };
                (None, traced.rules.iter().map(rule).collect(), filtered)
            }
        };
        let sets = element.numbered(self.record.origin.offset);
        let sets = sets.map(|(position, set)| match set {
            Ok(claims) => self.set(&SetPreview { position, claims }),
            Err(error) => Set {
                set: position.set,
                verdict: "dead_letter",
                dead_letter: Some(Fault {
                    reason: error.reason(),
                    detail: error.detail(),
                }),
                made: None,
            },
        });
        Element {
            element: element.element,
            sha256: element.sha256.clone(),
            dead_letter,
            rules,
            filtered,
            sets: sets.collect(),
        }
    }

    fn set(&mut self, set: &SetPreview<'_>) -> Set {
        let facts = self.facts.as_mut().and_then(Iterator::next);
        let admission = facts.map(|facts| admit(&facts, set.position));
        // Also of one that will not be sent: so it would be now.
        let previous = facts.and_then(|facts| facts.level);
        let claims = set.claims;
        let age = self.now.as_secs() - claims.event_time().as_secs();
        let limit = self.scene.stream.max_event_age;
        let too_old = limit.is_some_and(|limit| age > limit.as_secs().cast_signed());
        let verdict = match admission {
            None => "unknown",
            Some(Admission::Duplicate) => "duplicate",
            Some(Admission::AlreadyDecided) => "already_decided",
            // Only of a replay, and this is none.
            Some(Admission::Stale) => "stale",
            Some(Admission::Fresh { .. }) if too_old => "expired",
            Some(Admission::Fresh { .. }) => "fresh",
        };
        let token = claims.complete(previous, self.now, &self.scene.stream.envelope());
        let claims_text = String::from_utf8(token.to_json()).unwrap_or_default();
        let lanes = std::iter::once(claims.subject_key).chain(claims.other_lane);
        Set {
            set: set.position.set,
            verdict,
            dead_letter: None,
            made: Some(Made {
                jti: claims.jti.to_string(),
                event: claims.event.event_type().as_str(),
                rule: claims.rule.to_string(),
                lanes: lanes.map(|lane| format!("{lane:?}")).collect(),
                known: facts.map(known),
                older_than_max_event_age: too_old.then_some(age),
                claims: RawValue::from_string(claims_text)
                    .unwrap_or_else(|_| RawValue::NULL.to_owned()),
            }),
        }
    }
}

fn known(facts: Facts) -> Known {
    let mark = |Position {
                    offset,
                    element,
                    set,
                }| (offset, element, set);
    Known {
        mark: facts.mark.map(mark),
        level: facts.level.map(crate::set::Level::as_str),
        level_event_time: facts.level_event_time.map(Timestamp::as_secs),
        other_partition: facts.other_partition,
    }
}

fn rule(trace: &RuleTrace) -> Rule {
    use crate::mapping::RuleVerdict::Made;
    Rule {
        rule: trace.rule.to_string(),
        verdict: trace.verdict.as_str(),
        sets: match trace.verdict {
            Made(count) => Some(count),
            _ => None,
        },
        when: trace.when.as_ref().map(|when| when.to_string()),
        looked_at: trace.looked_at.clone(),
    }
}
