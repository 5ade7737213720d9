//! The limits and rules of one stream.

use crate::config::{RetryConfig, StreamConfig};
use crate::delivery::guard::{Guard, GuardSettings};
use crate::delivery::hold::Gate;
use crate::delivery::policy::DeliveryPolicy;
use crate::delivery::receiver_fault::ReceiverFaultSettings;
use crate::delivery::retry::{RetryPolicy, RetrySettings};
use crate::kafka::room::RoomLimits;
use crate::metrics::StreamMetrics;
use crate::pipeline::passage;

pub(super) fn room_limits(stream: &StreamConfig) -> RoomLimits {
    RoomLimits {
        max_unsettled: stream.limits.max_unsettled.get(),
        max_unsettled_bytes: usize::try_from(stream.limits.max_unsettled_bytes)
            .unwrap_or(usize::MAX),
        max_uncommitted: stream.limits.max_uncommitted.get(),
    }
}

pub(super) fn limits(metrics: &StreamMetrics, stream: &StreamConfig) {
    let room = room_limits(stream);
    metrics.set_limit(
        "max_requests_in_flight",
        stream.limits.max_requests_in_flight.get(),
    );
    metrics.set_limit("max_unsettled", room.max_unsettled);
    metrics.set_limit("max_unsettled_bytes", room.max_unsettled_bytes);
    metrics.set_limit("max_uncommitted", room.max_uncommitted);
}

fn retry(config: &RetryConfig) -> Result<RetryPolicy, String> {
    let settings = RetrySettings {
        initial: config.initial_delay,
        max: config.max_delay,
        multiplier: config.multiplier,
    };
    RetryPolicy::new(settings).map_err(|error| error.to_string())
}

pub(super) fn passage_of(
    stream: &StreamConfig,
    metrics: &StreamMetrics,
) -> Result<passage::Passage, String> {
    let receiver_fault = stream.receiver_error.map_or_else(
        || ReceiverFaultSettings {
            enabled: false,
            ..ReceiverFaultSettings::default()
        },
        |rule| ReceiverFaultSettings {
            enabled: true,
            min_attempts: rule.attempts.get(),
            min_age: rule.after,
            min_others: usize::try_from(rule.other_subjects.get()).unwrap_or(usize::MAX),
        },
    );
    let probes = RetrySettings {
        initial: stream.hold.initial_probe_delay,
        max: stream.hold.max_probe_delay,
        ..RetrySettings::default()
    };
    let probes = RetryPolicy::new(probes).map_err(|error| error.to_string())?;
    let guard = stream.guard.refusals.map_or_else(
        || GuardSettings {
            enabled: false,
            ..GuardSettings::refusals()
        },
        |rule| GuardSettings {
            max_wait: rule.wait,
            max_faults: rule.subjects.get(),
            min_keys: rule.subjects.get(),
            ..GuardSettings::refusals()
        },
    );
    let policy = DeliveryPolicy {
        retry: retry(&stream.retry)?,
        receiver_fault,
        max_event_age: stream.max_event_age,
        max_attempts: stream.retry.max_attempts,
    };
    let guard = Guard::new(guard, false);
    Ok(passage::Passage::new(
        stream.id.as_str(),
        policy,
        Gate::new(probes),
        guard,
        metrics.clone(),
    ))
}

pub(super) fn mapping_guard(stream: &StreamConfig) -> GuardSettings {
    stream.guard.records.map_or_else(
        || GuardSettings {
            enabled: false,
            ..GuardSettings::mapping()
        },
        |rule| GuardSettings {
            max_faults: rule.faults.get(),
            min_keys: rule.keys.get(),
            ..GuardSettings::mapping()
        },
    )
}
