//! The inventory of all metrics: registered once, every label value known beforehand and started at 0.
//!
//! Names are `setbridge_<noun>_<unit>[_total]`, in seconds and bytes. Labels come from enums and configured ids, never
//! from a jti, a subject, a URL or an error text. Nothing here decides anything.

mod ring;
mod stream;

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::signing::vault::{Call, CallKind, Seen};

pub use ring::RingMetrics;
pub use stream::{LabelValues, Labelled, StreamMetrics};

/// Buckets for one call (sign, push): 100 µs to 30 s.
const CALL_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];
/// Buckets for the whole way of a detection: 1 ms to a day.
const WAY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
    300.0, 1800.0, 7200.0, 86400.0,
];

/// Buckets for SETs in one call to Vault.
const BATCH_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

const VAULT_BATCH: &str = "SETs in one request for signatures to Vault.";
const KEY_AWAITED: &str = "1 while a key whose time has come does not sign, since it was not seen in the JWKS at its public address.";
const KEY_OVERDUE: &str =
    "1 while the key that signs has passed its not_after, and there is no other.";
const MULTI_BUFFER_ON: &str = "1 while RSA signatures are made eight at once; 0 without CPU or library, or after three batches with a wrong signature.";

/// What one family is called, what its help says, what its labels are: the README's table is made from this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyDoc {
    /// Full name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Label names.
    pub labels: Vec<&'static str>,
    /// One sentence.
    pub help: String,
}

/// Everything that is measured.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    docs: Vec<FamilyDoc>,
    records: IntCounterVec,
    record_bytes: IntCounterVec,
    replay_records: IntCounterVec,
    tombstones: IntCounterVec,
    detections: IntCounterVec,
    sets_mapped: IntCounterVec,
    filtered: IntCounterVec,
    outcomes: IntCounterVec,
    dead_letters: IntCounterVec,
    dead_letter_errors: IntCounterVec,
    attempts: IntCounterVec,
    accepted_other: IntCounterVec,
    retries: IntCounterVec,
    signed: IntCounterVec,
    sign_seconds: HistogramVec,
    push_seconds: HistogramVec,
    delivery_seconds: HistogramVec,
    held: IntGaugeVec,
    holds: IntCounterVec,
    oldest_unsettled: GaugeVec,
    unsettled: IntGaugeVec,
    unsettled_bytes: IntGaugeVec,
    uncommitted: IntGaugeVec,
    in_flight: IntGaugeVec,
    limits: IntGaugeVec,
    partitions: IntGaugeVec,
    paused: IntGaugeVec,
    rebalances: IntCounterVec,
    commit_errors: IntCounterVec,
    records_lost: IntCounterVec,
    kafka_errors: IntCounterVec,
    lag_records: IntGaugeVec,
    lag_seconds: GaugeVec,
    spread_subjects: IntCounterVec,
    handovers: IntCounterVec,
    state_fenced: IntCounterVec,
    state_bypassed: IntGaugeVec,
    sets_without_state: IntCounterVec,
    state_errors: IntCounterVec,
    operator_acts: IntCounterVec,
    /// CPU time that the signer threads spent inside the sign call.
    pub sign_cpu_seconds: Counter,
    /// 1 while the multi-buffer backend signs.
    pub multi_buffer_on: IntGauge,
    /// Signatures that it made.
    pub multi_buffer_signed: IntCounter,
    /// Its batches with a wrong signature, none of which left.
    pub multi_buffer_mismatches: IntCounter,
    vault_calls: IntCounterVec,
    vault_call_seconds: HistogramVec,
    vault_batch: Histogram,
    vault_wrong_signatures: IntCounter,
    key_info: IntGaugeVec,
    key_awaited: IntGaugeVec,
    key_overdue: IntGaugeVec,
    key_reload_errors: IntCounterVec,
    /// Reloads of the public port's certificate that failed; the old one stays.
    pub certificate_reload_errors: IntCounter,
    config_hash: IntGaugeVec,
}

/// Registers families and keeps their documentation.
struct Inventory {
    registry: Registry,
    docs: Vec<FamilyDoc>,
}

impl Inventory {
    fn add<C: Collector + Clone + 'static>(
        &mut self,
        kind: &'static str,
        (name, help, labels): (&str, &str, &[&'static str]),
        made: prometheus::Result<C>,
    ) -> prometheus::Result<C> {
        let collector = made?;
        self.registry.register(Box::new(collector.clone()))?;
        self.docs.push(FamilyDoc {
            name: name.to_owned(),
            kind,
            labels: labels.to_vec(),
            help: help.to_owned(),
        });
        Ok(collector)
    }

    /// A counter without labels.
    fn plain_counter(&mut self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add("counter", (name, help, &[]), IntCounter::new(name, help))
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&'static str],
    ) -> prometheus::Result<IntCounterVec> {
        self.add(
            "counter",
            (name, help, labels),
            IntCounterVec::new(Opts::new(name, help), labels),
        )
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&'static str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.add(
            "gauge",
            (name, help, labels),
            IntGaugeVec::new(Opts::new(name, help), labels),
        )
    }

    fn float_gauge(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&'static str],
    ) -> prometheus::Result<GaugeVec> {
        self.add(
            "gauge",
            (name, help, labels),
            GaugeVec::new(Opts::new(name, help), labels),
        )
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> prometheus::Result<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(
            "histogram",
            (name, help, &["stream"]),
            HistogramVec::new(options, &["stream"]),
        )
    }
}

impl Metrics {
    /// A registry with every family in it.
    ///
    /// # Errors
    /// Only when two families have one name, which a test would have shown.
    pub fn new() -> prometheus::Result<Self> {
        let mut i = Inventory {
            registry: Registry::new(),
            docs: Vec::new(),
        };
        let stream: &[&'static str] = &["stream"];
        let ring: &[&'static str] = &["ring"];
        let by_reason: &[&'static str] = &["stream", "reason"];
        let build = i.gauge(
            "setbridge_build_info",
            "Version of the running binary; always 1.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            records: i.counter("setbridge_records_consumed_total", "Records read from Kafka.", stream)?,
            record_bytes: i.counter("setbridge_record_bytes_total", "Bytes of keys and values read.", stream)?,
            replay_records: i.counter("setbridge_replay_records_total", "Records read from side topics: dead letters that are replayed.", stream)?,
            tombstones: i.counter("setbridge_tombstones_total", "Records without a value; settled.", stream)?,
            detections: i.counter("setbridge_detections_total", "Detections found in records.", stream)?,
            sets_mapped: i.counter("setbridge_sets_mapped_total", "SETs made by the mapping, by event type.", &["stream", "event"])?,
            filtered: i.counter("setbridge_filtered_total", "Detections settled without a SET, by reason.", by_reason)?,
            outcomes: i.counter("setbridge_outcomes_total", "SETs with a final outcome.", &["stream", "outcome"])?,
            dead_letters: i.counter("setbridge_dead_letters_total", "Dead letters that the broker acknowledged, by reason.", by_reason)?,
            dead_letter_errors: i.counter("setbridge_dead_letter_errors_total", "Failed writes to a dead-letter or outcome topic.", stream)?,
            attempts: i.counter("setbridge_push_attempts_total", "Requests to the receiver, by verdict.", &["stream", "verdict"])?,
            accepted_other: i.counter("setbridge_push_accepted_not_202_total", "Acceptances with a 2xx other than 202.", stream)?,
            retries: i.counter("setbridge_push_retries_total", "Attempts to be repeated, by the moment's fault.", &["stream", "fault"])?,
            signed: i.counter("setbridge_sets_signed_total", "Signatures made.", stream)?,
            sign_seconds: i.histogram("setbridge_sign_seconds", "Time of one signature, or of the batch that it was made in at once, without waiting.", CALL_BUCKETS)?,
            push_seconds: i.histogram("setbridge_push_seconds", "Time of one request to the receiver.", CALL_BUCKETS)?,
            delivery_seconds: i.histogram("setbridge_delivery_seconds", "From the record's Kafka timestamp to the receiver's 2xx.", WAY_BUCKETS)?,
            held: i.gauge("setbridge_stream_held", "1 while the stream is held, by reason.", by_reason)?,
            holds: i.counter("setbridge_stream_holds_total", "Times that the stream was held, by reason.", by_reason)?,
            oldest_unsettled: i.float_gauge("setbridge_oldest_unsettled_seconds", "Time since the oldest unsettled record was read.", stream)?,
            unsettled: i.gauge("setbridge_unsettled_sets", "SETs without a final outcome.", stream)?,
            unsettled_bytes: i.gauge("setbridge_unsettled_bytes", "Bytes of the records behind them, and of the texts in their SETs.", stream)?,
            uncommitted: i.gauge("setbridge_uncommitted_records", "Records past the last acknowledged commit.", stream)?,
            in_flight: i.gauge("setbridge_requests_in_flight", "Requests that wait for an answer.", stream)?,
            limits: i.gauge("setbridge_limit", "The configured limits, by name.", &["stream", "limit"])?,
            partitions: i.gauge("setbridge_partitions_assigned", "Partitions assigned to this process.", stream)?,
            paused: i.gauge("setbridge_partitions_paused", "Partitions paused because a limit is reached.", stream)?,
            rebalances: i.counter("setbridge_rebalances_total", "Partitions assigned, revoked or lost.", &["stream", "kind"])?,
            commit_errors: i.counter("setbridge_commit_errors_total", "Commits that the broker refused.", stream)?,
            records_lost: i.counter("setbridge_records_lost_total", "Records that retention removed before they were read, or that went with a topic that was made anew or a log's lost end before they were settled (at most so many).", stream)?,
            kafka_errors: i.counter("setbridge_kafka_errors_total", "Errors of the Kafka client, by kind.", &["stream", "kind"])?,
            lag_records: i.gauge("setbridge_lag_records", "Records between the settled prefix and the log's end.", &["stream", "topic", "partition"])?,
            lag_seconds: i.float_gauge("setbridge_lag_seconds", "Age of the oldest record that is not settled, by its Kafka timestamp.", stream)?,
            spread_subjects: i.counter("setbridge_subjects_on_several_partitions_total", "SETs about a subject last seen on another partition: their order across replicas is not kept.", stream)?,
            handovers: i.counter("setbridge_state_handovers_total", "Partitions whose levels and marks were dropped, since another process worked on them, the topic was made anew, the log lost its end or the shared state lost writes.", stream)?,
            state_bypassed: i.gauge("setbridge_state_bypassed", "1 while the shared state does not answer and the stream goes on without it.", stream)?,
            sets_without_state: i.counter("setbridge_sets_without_state_total", "SETs admitted while the shared state did not answer: no deduplication, no level before.", stream)?,
            state_fenced: i.counter("setbridge_state_fenced_total", "Partitions let go because the shared state named this assignment no longer as their owner (another one took them, or its data was lost); those that the group confirmed were taken over again.", stream)?,
            state_errors: i.counter("setbridge_state_errors_total", "Failed calls of the state store.", stream)?,
            operator_acts: i.counter("setbridge_operator_acts_total", "What operators did to the stream by `setbridge stream`.", &["stream", "act"])?,
            sign_cpu_seconds: i.add("counter", ("setbridge_sign_cpu_seconds_total", "CPU time inside the sign call.", &[]), Counter::new("setbridge_sign_cpu_seconds_total", "CPU time inside the sign call."))?,
            multi_buffer_on: i.add("gauge", ("setbridge_sign_multi_buffer_on", MULTI_BUFFER_ON, &[]), IntGauge::new("setbridge_sign_multi_buffer_on", MULTI_BUFFER_ON))?,
            multi_buffer_signed: i.plain_counter("setbridge_sign_multi_buffer_signatures_total", "Signatures that were made eight at once, or as many as were waiting.")?,
            multi_buffer_mismatches: i.plain_counter("setbridge_sign_multi_buffer_mismatches_total", "Batches of the multi-buffer library with a wrong signature, found before it left and made again by aws-lc-rs, and keys that failed their trial. Any is a sign of faulty hardware.")?,
            vault_calls: i.counter("setbridge_vault_calls_total", "Requests to Vault, by what was asked and how it ended.", &["call", "outcome"])?,
            vault_call_seconds: i.add("histogram", ("setbridge_vault_call_seconds", "Time of one request to Vault.", &["call"]), HistogramVec::new(HistogramOpts::new("setbridge_vault_call_seconds", "Time of one request to Vault.").buckets(CALL_BUCKETS.to_vec()), &["call"]))?,
            vault_batch: i.add("histogram", ("setbridge_vault_batch_sets", VAULT_BATCH, &[]), Histogram::with_opts(HistogramOpts::new("setbridge_vault_batch_sets", VAULT_BATCH).buckets(BATCH_BUCKETS.to_vec())))?,
            vault_wrong_signatures: i.plain_counter("setbridge_vault_wrong_signatures_total", "Signatures of Vault that the public key did not confirm; none of them left.")?,
            key_info: i.gauge("setbridge_key_info", "Keys of the rings; 1 by ring, kid and state.", &["ring", "kid", "state"])?,
            key_awaited: i.gauge("setbridge_key_awaited", KEY_AWAITED, ring)?,
            key_overdue: i.gauge("setbridge_key_overdue", KEY_OVERDUE, ring)?,
            key_reload_errors: i.counter("setbridge_key_reload_errors_total", "Reloads of a ring's keys that failed; the old keys stay.", ring)?,
            certificate_reload_errors: i.plain_counter("setbridge_certificate_reload_errors_total", "Reloads of the public port's certificate that failed; the old one stays.")?,
            config_hash: i.gauge("setbridge_config_hash", "First 48 bits of the configuration's SHA-256.", &[])?,
            docs: i.docs,
            registry: i.registry,
        })
    }

    /// The families, for the documentation.
    #[must_use]
    pub fn docs(&self) -> &[FamilyDoc] {
        &self.docs
    }

    /// Prometheus text format 0.0.4.
    ///
    /// # Errors
    /// When a family cannot be encoded.
    pub fn render(&self) -> prometheus::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }

    /// Sets the configuration's hash (48 bits, so that a double carries it exactly).
    pub fn set_config_hash(&self, hash: u64) {
        self.config_hash
            .with_label_values::<&str>(&[])
            .set(i64::try_from(hash).unwrap_or(0));
    }

    /// Starts the series of Vault at 0, for who uses it.
    pub fn start_vault(&self) {
        for call in CallKind::ALL.map(CallKind::as_str) {
            for outcome in Call::OUTCOMES {
                self.vault_calls.with_label_values(&[call, outcome]);
            }
            self.vault_call_seconds.with_label_values(&[call]);
        }
    }

    /// Counts what was seen of Vault.
    pub fn vault(&self, seen: Seen) {
        let call = match seen {
            Seen::WrongSignature => return self.vault_wrong_signatures.inc(),
            Seen::Call(call) => call,
        };
        let kind = call.kind.as_str();
        self.vault_calls
            .with_label_values(&[kind, call.outcome])
            .inc();
        self.vault_call_seconds
            .with_label_values(&[kind])
            .observe(call.took.as_secs_f64());
        if call.kind == CallKind::Sign {
            self.vault_batch.observe(call.batch as f64);
        }
    }

    /// The metrics of one ring of keys, started at 0.
    #[must_use]
    pub fn ring(&self, name: &str) -> RingMetrics {
        RingMetrics::new(
            name,
            self.key_info.clone(),
            self.key_awaited.with_label_values(&[name]),
            self.key_overdue.with_label_values(&[name]),
            self.key_reload_errors.with_label_values(&[name]),
        )
    }

    /// The metrics of one stream, every label value started at 0.
    #[must_use]
    pub fn stream(&self, id: &str, labels: &LabelValues) -> StreamMetrics {
        let counters = |family: &IntCounterVec, values: &[&'static str]| {
            values
                .iter()
                .map(|value| (*value, family.with_label_values(&[id, *value])))
                .collect()
        };
        let one = |family: &IntCounterVec| family.with_label_values(&[id]);
        let gauge = |family: &IntGaugeVec| family.with_label_values(&[id]);
        StreamMetrics {
            records: one(&self.records),
            record_bytes: one(&self.record_bytes),
            replay_records: one(&self.replay_records),
            tombstones: one(&self.tombstones),
            detections: one(&self.detections),
            sets_mapped: Labelled(counters(&self.sets_mapped, &labels.events)),
            filtered: Labelled(counters(&self.filtered, &labels.filters)),
            outcomes: Labelled(counters(&self.outcomes, &labels.outcomes)),
            dead_letters: Labelled(counters(&self.dead_letters, &labels.dead_letters)),
            dead_letter_errors: one(&self.dead_letter_errors),
            attempts: Labelled(counters(
                &self.attempts,
                &["accepted", "refused", "set_up", "moment"],
            )),
            accepted_other: one(&self.accepted_other),
            retries: Labelled(counters(&self.retries, &labels.faults)),
            signed: one(&self.signed),
            sign_seconds: self.sign_seconds.with_label_values(&[id]),
            push_seconds: self.push_seconds.with_label_values(&[id]),
            delivery_seconds: self.delivery_seconds.with_label_values(&[id]),
            held: labels
                .holds
                .iter()
                .map(|r| (*r, self.held.with_label_values(&[id, *r])))
                .collect(),
            holds: Labelled(counters(&self.holds, &labels.holds)),
            oldest_unsettled: self.oldest_unsettled.with_label_values(&[id]),
            unsettled: gauge(&self.unsettled),
            unsettled_bytes: gauge(&self.unsettled_bytes),
            uncommitted: gauge(&self.uncommitted),
            in_flight: gauge(&self.in_flight),
            partitions: gauge(&self.partitions),
            paused: gauge(&self.paused),
            rebalances: Labelled(counters(&self.rebalances, &["assigned", "revoked", "lost"])),
            commit_errors: one(&self.commit_errors),
            records_lost: one(&self.records_lost),
            kafka_errors: Labelled(counters(&self.kafka_errors, &labels.kafka)),
            lag_seconds: self.lag_seconds.with_label_values(&[id]),
            spread_subjects: one(&self.spread_subjects),
            handovers: one(&self.handovers),
            state_bypassed: gauge(&self.state_bypassed),
            sets_without_state: one(&self.sets_without_state),
            state_fenced: one(&self.state_fenced),
            state_errors: one(&self.state_errors),
            operator_acts: Labelled(counters(&self.operator_acts, &labels.acts)),
            lag_records: self.lag_records.clone(),
            limits: self.limits.clone(),
            id: id.to_owned(),
        }
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics")
            .field("families", &self.docs.len())
            .finish()
    }
}
