//! One stream.

use std::num::NonZeroU32;
use std::sync::Arc;

use super::super::domain::*;
use super::super::pointer::child;
use super::super::raw::*;
use super::super::topics::{TopicName, TopicPattern, TopicTemplate};
use super::super::{convert, fingerprint};
use super::{Checker, receiver, replay, text};
use crate::mapping::Mapping;
use crate::signing::Algorithm;

pub(super) fn stream(
    all: &RawConfig,
    raw: &RawStream,
    default_issuer: Option<&Issuer>,
    ring: Option<RingName>,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<StreamConfig> {
    let topics = topics(raw, at, checker);
    let start_at = start_at(&raw.start_at, &child(at, "start_at"), checker);
    let issuer = issuer(all, raw, default_issuer, at, checker);
    let mapping = mapping(raw, &child(at, "mapping"), checker);
    let receiver = receiver::receiver(&raw.receiver, &child(at, "receiver"), checker);
    let retry = retry(&raw.retry, &child(at, "retry"), checker);
    let max_event_age = raw
        .max_event_age
        .as_ref()
        .map(|age| text::positive(age, &child(at, "max_event_age"), checker));
    let receiver_error = receiver_error(&raw.receiver_error, &child(at, "receiver_error"), checker);
    let guard = guard(&raw.guard, &child(at, "guard"), checker);
    let hold = hold(&raw.hold, &child(at, "hold"), checker);
    let dead_letter = dead_letter(raw, &child(at, "dead_letter"), checker);
    let replay = replay::replay(raw, &child(at, "replay"), checker);
    let outcome_topic = raw
        .outcome_topic
        .as_ref()
        .map(|name| topic_name(name, &child(at, "outcome_topic"), checker));
    let limits = limits(&all.limits, &raw.limits, &child(at, "limits"), checker);
    let (issuer, receiver) = (issuer?, receiver?);
    let audience: Arc<str> = match &raw.audience {
        Some(audience) => audience.as_str().into(),
        None => receiver.url.origin().ascii_serialization().into(),
    };
    let algorithm = algorithm(all, raw, &receiver, at, checker);
    let shadow = match raw.mode {
        Mode::Live => "",
        Mode::Shadow => ".shadow",
    };
    Some(StreamConfig {
        id: StreamId(raw.id.as_str().into()),
        group_id: format!("{}.{}{shadow}", all.group_id, raw.id),
        topics: topics?,
        start_at: start_at?,
        mode: raw.mode,
        fingerprint: fingerprint::stream(&receiver, &issuer, &audience, raw.profile, algorithm?),
        algorithm: algorithm?,
        ring: ring?,
        issuer,
        audience,
        profile: raw.profile,
        mapping: mapping?,
        receiver,
        retry: retry?,
        max_event_age: text::all(max_event_age)?,
        receiver_error: receiver_error?,
        guard: guard?,
        hold: hold?,
        dead_letter: dead_letter?,
        replay: replay?,
        outcome_topic: text::all(outcome_topic)?,
        limits: limits?,
    })
}

/// Okta documents RS256 only (CONTRACTS §1.1): another one would hold the stream at its first SET.
fn algorithm(
    all: &RawConfig,
    raw: &RawStream,
    receiver: &ReceiverConfig,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Algorithm> {
    let own = raw.signing.algorithm;
    let algorithm = own.unwrap_or(all.signing.algorithm);
    let host = receiver.url.host_str().unwrap_or_default();
    let suffixes = ["okta.com", "oktapreview.com", "okta-emea.com"];
    let is_okta = raw.profile == Profile::Okta
        || suffixes.iter().any(|suffix| {
            let rest = host.strip_suffix(suffix);
            rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        });
    if algorithm == Algorithm::Rs256 || !is_okta {
        return Some(algorithm);
    }
    let at = match own {
        Some(_) => child(&child(at, "signing"), "algorithm"),
        None => "/signing/algorithm".to_owned(),
    };
    checker.wrong(
        &at,
        format!("Okta takes SETs signed by RS256, not by {algorithm}"),
        "set RS256 for this stream, or the profile of its receiver (profile: ssf-1.0)",
    )
}

fn topics(raw: &RawStream, at: &str, checker: &mut Checker<'_>) -> Option<TopicSelection> {
    match (&raw.topics, &raw.topic_pattern) {
        (Some(names), None) => {
            let at = child(at, "topics");
            let mut parsed: Vec<Option<TopicName>> = Vec::new();
            for (index, name) in names.iter().enumerate() {
                let at = child(&at, index);
                if names[..index].contains(name) {
                    checker.wrong::<()>(&at, "this topic is listed twice", "list it once");
                }
                parsed.push(topic_name(name, &at, checker));
            }
            let names: Vec<TopicName> = parsed.into_iter().collect::<Option<_>>()?;
            Some(TopicSelection::Names(names))
        }
        (None, Some(pattern)) => match TopicPattern::parse(pattern) {
            Ok(pattern) => Some(TopicSelection::Pattern(pattern)),
            Err(error) => checker.wrong(
                &child(at, "topic_pattern"),
                error.to_string(),
                "write an extended regular expression such as ^detections\\.[a-z]+$",
            ),
        },
        (None, None) => checker.wrong(
            at,
            "the stream has no topics",
            "add `topics`, or `topic_pattern`",
        ),
        (Some(_), Some(_)) => checker.wrong(
            &child(at, "topic_pattern"),
            "`topics` and `topic_pattern` are both there",
            "keep one of them",
        ),
    }
}

fn topic_name(raw: &str, at: &str, checker: &mut Checker<'_>) -> Option<TopicName> {
    match TopicName::parse(raw) {
        Ok(name) => Some(name),
        Err(error) => {
            let mend = match raw.starts_with('^') {
                true => "for a pattern use `topic_pattern` instead of `topics`",
                false => "write the topic's name as Kafka has it",
            };
            checker.wrong(at, error.to_string(), mend)
        }
    }
}

fn start_at(raw: &str, at: &str, checker: &mut Checker<'_>) -> Option<StartAt> {
    match raw {
        "earliest" => Some(StartAt::Earliest),
        "latest" => Some(StartAt::Latest),
        time => text::time(time, at, checker).map(|time| StartAt::Time {
            epoch_ms: time.as_millisecond(),
        }),
    }
}

fn issuer(
    all: &RawConfig,
    raw: &RawStream,
    default: Option<&Issuer>,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Issuer> {
    match (&raw.issuer, default) {
        (Some(issuer), _) => text::issuer(issuer, &child(at, "issuer"), checker),
        (None, Some(default)) => Some(default.clone()),
        // A wrong one was reported where it stands.
        (None, None) if all.transmitter.issuer.is_some() => None,
        (None, None) => checker.wrong(
            at,
            "the stream has no issuer",
            "set `transmitter.issuer`, or `issuer` of this stream",
        ),
    }
}

fn mapping(raw: &RawStream, at: &str, checker: &mut Checker<'_>) -> Option<Arc<Mapping>> {
    let faults = match convert::mapping(raw.mapping.as_ref(), raw.on_no_subject) {
        Ok(mapping) => return Some(mapping),
        Err(faults) => faults,
    };
    for fault in &faults {
        let at = format!("{at}{}", fault.pointer);
        checker.wrong::<()>(&at, &fault.message, &fault.mend);
    }
    None
}

fn retry(raw: &RawRetry, at: &str, checker: &mut Checker<'_>) -> Option<RetryConfig> {
    let initial = text::positive(&raw.initial_delay, &child(at, "initial_delay"), checker);
    let max = text::positive(&raw.max_delay, &child(at, "max_delay"), checker);
    let at_advised = child(at, "max_advised_delay");
    let advised = text::positive(&raw.max_advised_delay, &at_advised, checker);
    let (initial_delay, max_delay) = (initial?, max?);
    if initial_delay > max_delay {
        return checker.wrong(
            &child(at, "initial_delay"),
            format!(
                "the first wait ({}) is longer than the longest ({})",
                raw.initial_delay, raw.max_delay
            ),
            "shorten it, or raise `max_delay`",
        );
    }
    Some(RetryConfig {
        initial_delay,
        max_delay,
        multiplier: raw.multiplier,
        max_advised_delay: advised?,
        max_attempts: raw.max_attempts.and_then(NonZeroU32::new),
    })
}

fn receiver_error(
    raw: &RawReceiverError,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Option<ReceiverErrorConfig>> {
    let after = text::positive(&raw.after, &child(at, "after"), checker)?;
    Some(raw.enabled.then_some(ReceiverErrorConfig {
        attempts: NonZeroU32::new(raw.attempts)?,
        after,
        other_subjects: NonZeroU32::new(raw.other_subjects)?,
    }))
}

fn guard(raw: &RawGuard, at: &str, checker: &mut Checker<'_>) -> Option<GuardConfig> {
    let at_refusals = child(at, "refusals");
    let wait = text::positive(&raw.refusals.wait, &child(&at_refusals, "wait"), checker);
    let subjects = text::count(
        raw.refusals.subjects,
        &child(&at_refusals, "subjects"),
        checker,
    );
    let at_records = child(at, "records");
    let faults = text::count(raw.records.faults, &child(&at_records, "faults"), checker);
    let keys = text::count(raw.records.keys, &child(&at_records, "keys"), checker);
    let (faults, keys) = (faults?, keys?);
    if raw.records.enabled && keys > faults {
        return checker.wrong(
            &child(&at_records, "keys"),
            format!("{faults} faults never come from {keys} keys"),
            "use at most as many keys as faults",
        );
    }
    Some(GuardConfig {
        refusals: raw.refusals.enabled.then_some(RefusalGuardConfig {
            subjects: subjects?,
            wait: wait?,
        }),
        records: raw
            .records
            .enabled
            .then_some(RecordGuardConfig { faults, keys }),
    })
}

fn hold(raw: &RawHold, at: &str, checker: &mut Checker<'_>) -> Option<HoldConfig> {
    let at_initial = child(at, "initial_probe_delay");
    let initial = text::positive(&raw.initial_probe_delay, &at_initial, checker);
    let max = text::positive(&raw.max_probe_delay, &child(at, "max_probe_delay"), checker);
    let (initial_probe_delay, max_probe_delay) = (initial?, max?);
    if initial_probe_delay > max_probe_delay {
        return checker.wrong(
            &at_initial,
            format!(
                "the first wait ({}) is longer than the longest ({})",
                raw.initial_probe_delay, raw.max_probe_delay
            ),
            "shorten it, or raise `max_probe_delay`",
        );
    }
    Some(HoldConfig {
        initial_probe_delay,
        max_probe_delay,
    })
}

fn dead_letter(raw: &RawStream, at: &str, checker: &mut Checker<'_>) -> Option<DeadLetterConfig> {
    let letter = &raw.dead_letter;
    let topic = match TopicTemplate::parse(&letter.topic, &raw.id) {
        Ok(topic) => topic,
        Err(error) => {
            return checker.wrong(
                &child(at, "topic"),
                error.to_string(),
                "write a topic's name; {topic} and {stream} are filled in",
            );
        }
    };
    for name in raw.topics.iter().flatten() {
        if TopicName::parse(name).is_ok() && topic.name_for(name).is_err() {
            return checker.wrong(
                &child(at, "topic"),
                format!("for the topic {name} the name would be longer than 249 characters"),
                "choose a shorter one",
            );
        }
    }
    Some(DeadLetterConfig {
        topic,
        create: letter.create,
        partitions: letter.partitions.and_then(NonZeroU32::new),
        replication_factor: letter.replication_factor.and_then(NonZeroU32::new),
    })
}

fn limits(
    raw: &RawLimits,
    own: &RawLimitOverrides,
    at: &str,
    checker: &mut Checker<'_>,
) -> Option<Limits> {
    let mut count = |own: Option<u32>, all: u32, key: &str| {
        text::count(own.unwrap_or(all), &limit(at, own.is_some(), key), checker)
    };
    let requests = (own.max_requests_in_flight, raw.max_requests_in_flight);
    let max_requests_in_flight = count(requests.0, requests.1, "max_requests_in_flight");
    let max_unsettled = count(own.max_unsettled, raw.max_unsettled, "max_unsettled");
    let max_uncommitted = count(own.max_uncommitted, raw.max_uncommitted, "max_uncommitted");
    let max_elements = count(own.max_elements, raw.max_elements, "max_elements");
    let mut bytes = |own: &Option<SizeText>, all: &SizeText, key: &str| {
        let at = limit(at, own.is_some(), key);
        text::bytes(own.as_ref().unwrap_or(all), &at, checker)
    };
    let unsettled = (&own.max_unsettled_bytes, &raw.max_unsettled_bytes);
    let max_unsettled_bytes = bytes(unsettled.0, unsettled.1, "max_unsettled_bytes");
    let record = (&own.max_record_bytes, &raw.max_record_bytes);
    let max_record_bytes = bytes(record.0, record.1, "max_record_bytes");
    Some(Limits {
        max_requests_in_flight: max_requests_in_flight?,
        max_unsettled: max_unsettled?,
        max_unsettled_bytes: max_unsettled_bytes?,
        max_uncommitted: max_uncommitted?,
        max_record_bytes: usize::try_from(max_record_bytes?).ok()?,
        max_elements: max_elements?,
    })
}

/// Where a limit stands: among the stream's overrides, or at the top.
fn limit(at: &str, overridden: bool, key: &str) -> String {
    child(if overridden { at } else { "/limits" }, key)
}
