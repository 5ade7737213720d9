//! The end of a process with work in flight: what was answered is stored, the rest is sent again under the same jti.

use std::collections::BTreeSet;
use std::time::Duration;

use setbridge::okta::simulator::{Reply, Simulator};
use tokio::time::Instant;

use crate::support::bridge::SOON;
use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::one_stream::OneStream;
use crate::support::receipts::{answered, arrived, requests, taken};

const SETS: usize = 12;
const AT_ONCE: usize = 4;

async fn produce(one: &OneStream) {
    let detections = (0..SETS).map(|n| record(&risk("1", &user(n), "high")));
    one.produce(detections).await;
}

fn jtis(org: &Simulator) -> BTreeSet<String> {
    requests(org)
        .iter()
        .filter_map(|r| r.jti().map(str::to_owned))
        .collect()
}

/// The next process delivers all of them, under these jtis.
async fn goes_on_under(tried: &BTreeSet<String>, one: &OneStream) {
    one.org.recover();
    one.org.clear_log();
    let mut next = one.start().await;
    next.outcomes("okta", "delivered", SETS as u64).await;
    assert_eq!(jtis(&one.org), *tried, "{}: the same jtis", one.name);
    next.drain().await;
}

#[tokio::test]
async fn sigterm_waits_for_the_answers_and_leaves_the_rest_to_the_next_process() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1)
            .await
            .sqlite()
            .set("limits.max_requests_in_flight", AT_ONCE);
        let name = one.name;
        let slow = Reply::Judge.after(Duration::from_secs(1));
        one.org.answer_when(None, |_| true, slow);
        produce(&one).await;
        let mut bridge = one.start().await;
        arrived(&one.org, AT_ONCE as u64).await;
        bridge.term();
        bridge.message("draining; a second signal aborts").await;
        assert_eq!(bridge.code(SOON).await, 0, "{name}");
        bridge
            .message("drained; everything that was decided is stored")
            .await;

        // All that was on the wire was answered, and nothing new was begun after the signal was heard.
        let tally = one.org.tally();
        assert_eq!(tally.taken, tally.requests, "{name}: {tally:?}");
        let first = tally.taken as usize;
        assert!((AT_ONCE..=2 * AT_ONCE).contains(&first), "{name}: {first}");
        let done: BTreeSet<_> = taken(&one.org).into_iter().map(|r| r.user).collect();
        let prefix = (0..).take_while(|n| done.contains(&user(*n))).count();
        assert_eq!(one.committed().await, prefix as i64, "{name}");

        one.org.recover();
        let mut next = one.start().await;
        let rest = (SETS - first) as u64;
        next.outcomes("okta", "delivered", rest).await;
        assert_eq!(one.org.tally().requests, SETS as u64, "{name}: each once");
        assert_eq!(taken(&one.org).len(), SETS, "{name}");
        one.all_committed(SETS as i64).await;
        next.drain().await;
    }
}

#[tokio::test]
async fn sigterm_stops_retries_and_the_next_process_goes_on_under_the_same_jti() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let name = one.name;
        one.org.answer_when(None, |_| true, Reply::status(503));
        produce(&one).await;
        let mut bridge = one.start().await;
        answered(&one.org, 3 * SETS).await;
        let begun = Instant::now();
        bridge.term();
        assert_eq!(bridge.code(SOON).await, 0, "{name}");
        // Far below the drain deadline of 20 s: nobody waits for a retry.
        assert!(begun.elapsed() < Duration::from_secs(10), "{name}");
        let tried = jtis(&one.org);
        assert_eq!(tried.len(), SETS, "{name}");
        assert_eq!(one.committed().await, 0, "{name}");

        goes_on_under(&tried, &one).await;
    }
}

#[tokio::test]
async fn a_second_signal_forces_and_nothing_unanswered_is_stored() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let name = one.name;
        one.org.answer_when(None, |_| true, Reply::Never);
        produce(&one).await;
        let mut bridge = one.start().await;
        answered(&one.org, SETS).await;
        let tried = jtis(&one.org);
        let begun = Instant::now();
        bridge.term();
        bridge.message("draining; a second signal aborts").await;
        bridge.term();
        assert_eq!(bridge.code(SOON).await, 0, "{name}");
        // The requests would have had 10 s, the drain 20 s.
        assert!(begun.elapsed() < Duration::from_secs(8), "{name}");
        let ended = |line: &serde_json::Value| {
            line["message"]
                .as_str()
                .is_some_and(|m| m.starts_with("ended before all answers were there"))
        };
        bridge.line("the abort", ended).await;
        assert_eq!(one.committed().await, 0, "{name}");

        goes_on_under(&tried, &one).await;
    }
}

#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1)
        .await
        .set("shutdown.drain_deadline", "5s")
        .set("streams.0.receiver.connect_timeout", "500ms")
        .set("streams.0.receiver.request_timeout", "4900ms");
    // Each answer is in time for its request, but the last request begins right before the signal.
    one.org.answer_when(
        None,
        |_| true,
        Reply::Judge.after(Duration::from_millis(1500)),
    );
    produce(&one).await;
    let mut bridge = one.start().await;
    arrived(&one.org, 1).await;
    let begun = Instant::now();
    bridge.term();
    assert_eq!(bridge.code(SOON).await, 0);
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    bridge
        .message("drained; everything that was decided is stored")
        .await;
    assert_eq!(one.committed().await, taken(&one.org).len() as i64);
}

#[tokio::test]
async fn sqlite_recognises_duplicates_and_levels_after_a_restart() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let name = one.name;
        let mut bridge = one.start().await;
        let first = risk("1", "a@example.com", "medium");
        one.produce([record(&first)]).await;
        bridge.outcomes("okta", "delivered", 1).await;
        bridge.drain().await;

        let mut next = one.start().await;
        let second = risk("2", "a@example.com", "high");
        one.produce([record(&first), record(&second)]).await;
        next.outcomes("okta", "delivered", 1).await;
        next.outcomes("okta", "duplicate", 1).await;
        let taken = taken(&one.org);
        assert_eq!(one.org.tally().requests, 2, "{name}");
        assert_eq!(taken[1].previous, "medium", "{name}");
        next.drain().await;
    }
}
