//! A disk that is full, at each moment at which the state has to be written: the stream is held, nothing is lost, nothing
//! is stored that the state does not know, and when there is room again everything goes on.

use setbridge::okta::simulator::Reply;

use crate::support::bridge::{Bridge, SOON};
use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;
use crate::support::receipts::{answered, is_about, taken, taken_by_user};

/// The stream is held, and it stays so when it tries again.
async fn held_for_the_state(bridge: &Bridge) {
    bridge.held("okta", Some("state_store")).await;
    let (name, stream) = ("setbridge_state_errors_total", [("stream", "okta")]);
    let before = bridge.metrics().await.sum(name, &stream);
    bridge.metric(name, &stream, |n| n >= before + 2.0).await;
    bridge.held("okta", Some("state_store")).await;
    assert_eq!(bridge.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn a_disk_that_is_full_when_a_partition_comes_is_waited_for() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 2).await.sqlite();
        // Joining the group takes longer than this: the first write of the state is about the assignment.
        let mut bridge = one.start().await;
        bridge.fill_disk();
        one.produce(wave(5, 0..2)).await;
        held_for_the_state(&bridge).await;
        assert_eq!(one.committed().await, 0, "{}", one.name);

        bridge.make_room();
        all_taken(&one.org, 10, || bridge.log_text()).await;
        bridge.held("okta", None).await;
        one.all_committed(10).await;
        assert_whole_and_in_order(&one.org, 5, 2);
        bridge.drain().await;

        // The assignment and the levels are in the file.
        let mut next = one.start().await;
        one.produce(wave(1, 2..3)).await;
        next.outcomes("okta", "delivered", 1).await;
        let last = taken(&one.org).pop().expect("a SET");
        assert_eq!(last.previous, "high", "{}", one.name);
        let handovers = next.metrics().await;
        assert_eq!(handovers.sum("setbridge_state_handovers_total", &[]), 0.0);
        next.drain().await;
    }
}

#[tokio::test]
async fn what_was_delivered_settles_only_when_the_state_is_durable() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let mut bridge = one.start().await;
        one.produce(wave(5, 0..1)).await;
        one.all_committed(5).await;
        // Admitted, and on its way again and again, so that only remembering it meets the full disk.
        one.org.answer_when(None, |_| true, Reply::status(503));
        one.produce(wave(5, 1..2)).await;
        answered(&one.org, 5 + 2 * 5).await;
        bridge.fill_disk();
        one.org.recover();
        held_for_the_state(&bridge).await;
        // The first that was accepted shuts the gate for those that are not on the wire.
        let taken = one.org.tally().taken;
        assert!((6..=10).contains(&taken), "{}: {taken}", one.name);
        assert_eq!(one.committed().await, 5, "{}", one.name);

        // What comes now is not sent.
        one.produce(wave(5, 2..3)).await;
        bridge
            .metric("setbridge_unsettled_sets", &[], |sets| sets == 10.0)
            .await;
        held_for_the_state(&bridge).await;
        assert_eq!(one.org.tally().taken, taken, "{}", one.name);
        assert_eq!(one.committed().await, 5, "{}", one.name);

        bridge.make_room();
        all_taken(&one.org, 15, || bridge.log_text()).await;
        one.all_committed(15).await;
        bridge.held("okta", None).await;
        assert_whole_and_in_order(&one.org, 5, 3);
        assert_eq!(one.org.tally().repeats, 0, "{}", one.name);
        bridge.drain().await;
    }
}

/// Without an acceptance only the mark keeps a restart from sending it after its successor.
#[tokio::test]
async fn a_refused_set_keeps_its_lane_until_its_mark_is_durable() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let mut bridge = one.start().await;
        one.produce([record(&risk("0", &user(0), "low"))]).await;
        one.all_committed(1).await;
        one.org.answer_when(
            None,
            |claims| is_about(claims, &user(1)) && claims.to_string().contains("\"high\""),
            Reply::refusal("invalid_request", "no"),
        );
        let busy = |claims: &_| is_about(claims, &user(2));
        let busy = one.org.answer_when(None, busy, Reply::status(503));
        one.produce(["high", "low"].map(|level| record(&risk("1", &user(1), level))))
            .await;
        one.produce([record(&risk("2", &user(2), "low"))]).await;
        let refused = [("verdict", "refused")];
        bridge
            .metric("setbridge_push_attempts_total", &refused, |n| n == 1.0)
            .await;
        let retried = "setbridge_push_retries_total";
        bridge.metric(retried, &[], |n| n >= 2.0).await;
        bridge.fill_disk();
        // The acceptance of another proves the refusal to be the record's own fault.
        one.org.withdraw(busy);
        held_for_the_state(&bridge).await;
        bridge
            .metric("setbridge_dead_letters_total", &[], |n| n == 1.0)
            .await;
        held_for_the_state(&bridge).await;
        let about = |user: &str| {
            let taken = taken_by_user(&one.org);
            taken.get(user).map_or(0, Vec::len)
        };
        assert_eq!(about(&user(1)), 0, "{}: its successor waits", one.name);
        assert_eq!(one.committed().await, 1, "{}", one.name);

        bridge.make_room();
        one.all_committed(4).await;
        assert_eq!(about(&user(1)), 1, "{}", one.name);
        assert_eq!(one.dead_letters().await.len(), 1, "{}", one.name);
        bridge.drain().await;
    }
}

#[tokio::test]
async fn a_drain_on_a_full_disk_stores_nothing_that_the_state_does_not_know() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let one = one
            .set("shutdown.drain_deadline", "2s")
            .set("streams.0.receiver.connect_timeout", "500ms")
            .set("streams.0.receiver.request_timeout", "1900ms");
        let mut bridge = one.start().await;
        accepted_on_a_full_disk(&one, &bridge).await;
        bridge.term();
        assert_eq!(bridge.code(SOON).await, 0, "{}", one.name);
        bridge
            .message("the state was not closed in an orderly way")
            .await;
        assert_eq!(one.committed().await, 0, "{}", one.name);

        // It comes again, under the same jti: the org does not take it twice.
        let mut next = one.start().await;
        one.all_committed(1).await;
        next.outcomes("okta", "delivered", 1).await;
        let tally = one.org.tally();
        assert_eq!((tally.taken, tally.repeats), (1, 1), "{}", one.name);
        next.drain().await;
    }
}

#[tokio::test]
async fn a_drain_waits_for_room_and_then_stores_everything() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let mut bridge = one.start().await;
        accepted_on_a_full_disk(&one, &bridge).await;
        bridge.term();
        bridge.message("draining; a second signal aborts").await;
        bridge.message("draining").await;
        assert_eq!(one.committed().await, 0, "{}", one.name);
        bridge.make_room();
        assert_eq!(bridge.code(SOON).await, 0, "{}", one.name);
        bridge
            .message("drained; everything that was decided is stored")
            .await;
        assert_eq!(one.committed().await, 1, "{}", one.name);

        let mut next = one.start().await;
        one.produce(wave(1, 0..2)).await;
        next.outcomes("okta", "duplicate", 1).await;
        next.outcomes("okta", "delivered", 1).await;
        assert_eq!(one.org.tally().repeats, 0, "{}", one.name);
        next.drain().await;
    }
}

/// One SET that the receiver has and the state cannot keep.
async fn accepted_on_a_full_disk(one: &OneStream, bridge: &Bridge) {
    // Admitted, and on its way again and again, so that only remembering it meets the full disk.
    one.org.answer_when(None, |_| true, Reply::status(503));
    one.produce(wave(1, 0..1)).await;
    answered(&one.org, 2).await;
    bridge.fill_disk();
    one.org.recover();
    all_taken(&one.org, 1, || bridge.log_text()).await;
    held_for_the_state(bridge).await;
}
