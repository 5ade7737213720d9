//! What has to hold between settings: times that contain one another, bounds that can be reached,
//! topics that must not feed themselves.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::super::domain::*;
use super::super::pointer::child;
use super::super::raw::{RawConfig, RawStream};
use super::super::topics::{TopicName, TopicPattern, TopicTemplate};
use super::Checker;

const DRAIN: &str = "/shutdown/drain_deadline";

/// The names of side topics to come (DESIGN §2).
const SIDE_TOPICS: [&str; 1] = ["{topic}.{stream}.park"];

pub(super) fn check(config: &Config, raw: &RawConfig, checker: &mut Checker<'_>) {
    times(config, raw, checker);
    redis_times(config, raw, checker);
    vault_times(config, raw, checker);
    listeners(config, checker);
    for (index, stream) in config.streams.iter().enumerate() {
        let at = child("/streams", index);
        stream_times(config, raw, stream, &raw.streams[index], &at, checker);
        age(stream, &raw.streams[index], &at, checker);
        bounds(stream, &at, checker);
        loops(config, stream, &at, checker);
    }
    rates(config, checker);
}

/// `shorter` has to end before `longer`.
fn before(
    at: &str,
    (shorter, shorter_text): (&str, &dyn Display),
    (longer, longer_text): (&str, &dyn Display),
    checker: &mut Checker<'_>,
) {
    checker.wrong::<()>(
        at,
        format!("{shorter} ({shorter_text}) has to be shorter than {longer} ({longer_text})"),
        format!("shorten {shorter}, or raise {longer}"),
    );
}

fn times(config: &Config, raw: &RawConfig, checker: &mut Checker<'_>) {
    let drain = config.shutdown.drain_deadline;
    let drain_text: (&str, &dyn Display) = ("drain_deadline", &raw.shutdown.drain_deadline);
    let poll_text: (&str, &dyn Display) = ("max_poll_interval", &raw.kafka.max_poll_interval);
    if drain >= config.kafka.max_poll_interval {
        before(DRAIN, drain_text, poll_text, checker);
    }
    if drain >= config.shutdown.termination_grace {
        let grace = &raw.shutdown.termination_grace;
        before(DRAIN, drain_text, ("termination_grace", grace), checker);
    }
    if drain >= config.admin.liveness_threshold {
        let threshold = &raw.admin.liveness_threshold;
        let at = "/admin/liveness_threshold";
        before(at, drain_text, ("liveness_threshold", threshold), checker);
    }
    if let Some(session) = config.kafka.session_timeout
        && session > config.kafka.max_poll_interval
    {
        let given = raw.kafka.session_timeout.as_ref();
        let session = given.map_or("45s, the default".to_owned(), ToString::to_string);
        let at = "/kafka/max_poll_interval";
        before(at, ("session_timeout", &session), poll_text, checker);
    }
}

/// Every member publishes a version before one of them signs by it; and a call ends before the drain does.
fn vault_times(config: &Config, raw: &RawConfig, checker: &mut Checker<'_>) {
    for ring in &config.rings {
        let KeysConfig::Vault(vault) = &ring.keys else {
            continue;
        };
        let words = match &ring.name {
            RingName::Default => Some(raw.signing.ring()),
            RingName::Stream(id) => {
                let mut streams = raw.streams.iter();
                let stream = streams.find(|stream| stream.id == id.as_str());
                stream.map(|stream| stream.signing.ring())
            }
        };
        let Some(words) = words else {
            continue;
        };
        let at = child(&ring.at, "vault");
        let before_use = words.publish_before_use;
        let before_use = before_use.unwrap_or(&raw.signing.publish_before_use);
        if vault.refresh >= ring.publish_before_use {
            let refresh: (&str, &dyn Display) = ("refresh", &words.vault.refresh);
            let longer = ("publish_before_use", before_use as &dyn Display);
            before(&child(&at, "refresh"), refresh, longer, checker);
        }
        if vault.settings.timeout >= config.shutdown.drain_deadline {
            let timeout: (&str, &dyn Display) = ("timeout", &words.vault.timeout);
            let drain = (
                "drain_deadline",
                &raw.shutdown.drain_deadline as &dyn Display,
            );
            before(&child(&at, "timeout"), timeout, drain, checker);
        }
    }
}

/// What was decided is written before the drain is over, also when the Redis has to be connected to for it.
fn redis_times(config: &Config, raw: &RawConfig, checker: &mut Checker<'_>) {
    let StateConfig::Redis(redis) = &config.state else {
        return;
    };
    let drain: (&str, &dyn Display) = ("drain_deadline", &raw.shutdown.drain_deadline);
    let given = &raw.state.redis;
    for (name, text, timeout) in [
        (
            "connect_timeout",
            &given.connect_timeout,
            redis.connect_timeout,
        ),
        (
            "request_timeout",
            &given.request_timeout,
            redis.request_timeout,
        ),
    ] {
        if timeout >= config.shutdown.drain_deadline {
            before(&child("/state/redis", name), (name, text), drain, checker);
        }
    }
}

fn stream_times(
    config: &Config,
    raw: &RawConfig,
    stream: &StreamConfig,
    raw_stream: &RawStream,
    at: &str,
    checker: &mut Checker<'_>,
) {
    let receiver = &stream.receiver;
    let request: (&str, &dyn Display) = ("request_timeout", &raw_stream.receiver.request_timeout);
    let at = child(&child(at, "receiver"), "request_timeout");
    if receiver.request_timeout >= config.shutdown.drain_deadline {
        let drain = &raw.shutdown.drain_deadline;
        before(&at, request, ("drain_deadline", drain), checker);
    }
    if receiver.connect_timeout >= receiver.request_timeout {
        let connect = &raw_stream.receiver.connect_timeout;
        before(&at, ("connect_timeout", connect), request, checker);
    }
}

/// What is older than `max_past_seconds` never becomes a SET, so it can never expire.
fn age(stream: &StreamConfig, raw: &RawStream, at: &str, checker: &mut Checker<'_>) {
    let max_past = stream.mapping.max_past_seconds();
    if let (Some(age), Some(text)) = (stream.max_event_age, &raw.max_event_age)
        && age.as_secs() > u64::from(max_past)
    {
        checker.wrong::<()>(
            &child(at, "max_event_age"),
            format!("the mapping refuses events that are more than {max_past} s old, so none gets {text} old"),
            "shorten it, or raise `mapping.max_past_seconds`",
        );
    }
}

fn listeners(config: &Config, checker: &mut Checker<'_>) {
    let Some(public) = config.transmitter.listen else {
        return;
    };
    let admin = config.admin.listen;
    let same_address =
        public.ip() == admin.ip() || public.ip().is_unspecified() || admin.ip().is_unspecified();
    if public.port() != 0 && public.port() == admin.port() && same_address {
        checker.wrong::<()>(
            "/admin/listen",
            format!("port {} is the public listener's too", admin.port()),
            "give the two listeners a port each: metrics must not be public",
        );
    }
}

fn bounds(stream: &StreamConfig, at: &str, checker: &mut Checker<'_>) {
    let limits = &stream.limits;
    let at_limits = child(at, "limits");
    let mut room = |key: &str, needs: u64, within: &str, has: u64| {
        if needs > has {
            checker.wrong::<()>(
                &child(&at_limits, within),
                format!("{within} ({has}) leaves no room for {key} ({needs})"),
                format!("raise {within}, or lower {key}"),
            );
        }
    };
    let count = |number: std::num::NonZeroUsize| number.get() as u64;
    let unsettled = count(limits.max_unsettled);
    let requests = count(limits.max_requests_in_flight);
    room(
        "max_requests_in_flight",
        requests,
        "max_unsettled",
        unsettled,
    );
    let record = limits.max_record_bytes as u64;
    room(
        "max_record_bytes",
        record,
        "max_unsettled_bytes",
        limits.max_unsettled_bytes,
    );
    if let Some(guard) = stream.guard.refusals {
        let subjects = count(guard.subjects);
        room(
            "guard.refusals.subjects",
            subjects,
            "max_unsettled",
            unsettled,
        );
    }
    if let Some(guard) = stream.guard.records {
        let uncommitted = count(limits.max_uncommitted);
        room(
            "guard.records.faults",
            count(guard.faults),
            "max_uncommitted",
            uncommitted,
        );
    }
}

/// What a stream reads must never be what some stream writes.
fn loops(config: &Config, stream: &StreamConfig, at: &str, checker: &mut Checker<'_>) {
    for writer in &config.streams {
        let id = writer.id.as_str();
        let replay = &writer.replay.topic;
        let replays = TopicTemplate::parse(&format!("{replay}{}", ReplayConfig::OUTCOMES), id);
        let mut written = vec![
            ("a dead-letter topic", writer.dead_letter.topic.clone()),
            ("a side topic", replay.clone()),
        ];
        written.extend(replays.ok().map(|t| ("a topic for outcomes of replays", t)));
        for side in SIDE_TOPICS {
            written.extend(
                TopicTemplate::parse(side, id)
                    .ok()
                    .map(|t| ("a side topic", t)),
            );
        }
        if let Some(outcomes) = &writer.outcome_topic {
            let fixed = TopicTemplate::parse(outcomes.as_str(), id).ok();
            written.extend(fixed.map(|template| ("the outcome topic", template)));
        }
        for (what, template) in &written {
            match &stream.topics {
                TopicSelection::Names(names) => {
                    named_loop(names, what, template, id, at, checker);
                }
                TopicSelection::Pattern(pattern) => {
                    pattern_loop(pattern, what, template, id, at, checker);
                }
            }
        }
    }
}

fn named_loop(
    names: &[TopicName],
    what: &str,
    template: &TopicTemplate,
    writer: &str,
    at: &str,
    checker: &mut Checker<'_>,
) {
    for (index, name) in names.iter().enumerate() {
        if template.may_yield(name.as_str()) {
            checker.wrong::<()>(
                &child(&child(at, "topics"), index),
                format!("{name} has the name of {what} of the stream {writer}"),
                "read the source topics: what setbridge writes there would come back to it",
            );
        }
    }
}

fn pattern_loop(
    pattern: &TopicPattern,
    what: &str,
    template: &TopicTemplate,
    writer: &str,
    at: &str,
    checker: &mut Checker<'_>,
) {
    if template.may_match(pattern) {
        checker.wrong::<()>(
            &child(at, "topic_pattern"),
            format!("it can match {what} of the stream {writer}, {template}"),
            "end the pattern with $ and leave dots out of its open parts: ^detections\\.[a-z-]+$",
        );
    }
}

/// The rate is the total for an origin, so all streams to it say the same.
fn rates(config: &Config, checker: &mut Checker<'_>) {
    let mut first: BTreeMap<String, (usize, Option<Rate>)> = BTreeMap::new();
    for (index, stream) in config.streams.iter().enumerate() {
        let origin = stream.receiver.url.origin().ascii_serialization();
        let rate = stream.receiver.rate;
        let (before, other) = *first.entry(origin.clone()).or_insert((index, rate));
        if other != rate {
            let at = child(&child("/streams", index), "receiver");
            checker.wrong::<()>(
                &child(&at, "rate"),
                format!("streams[{before}] has another rate for {origin}"),
                "the rate is the total for that origin: write the same in both streams",
            );
        }
    }
}
