//! What is known and what Kafka says do not fit: offsets that somebody set back by hand, a state file that is gone.

use std::fs;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use setbridge::okta::simulator::Reply;

use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;
use crate::support::receipts::{is_about, taken};

/// As an operator does with Kafka's own tools while no member runs.
async fn set_offset(one: &OneStream, partition: i32, offset: i64) {
    let of_group = one.wire.clone().with("group.id", &one.group());
    let topic = one.topic.clone();
    let committed = tokio::task::spawn_blocking(move || {
        let consumer: BaseConsumer = of_group.client().create().expect("a consumer");
        let mut offsets = TopicPartitionList::new();
        offsets
            .add_partition_offset(&topic, partition, Offset::Offset(offset))
            .expect("an offset");
        consumer.commit(&offsets, CommitMode::Sync)
    });
    committed.await.expect("no panic").expect("a commit");
}

/// DESIGN "Hard cases": what was decided stays decided, so that a slip of the hand floods nobody.
#[tokio::test]
async fn offsets_that_were_set_back_by_hand_send_nothing_again() {
    // The mock cluster takes commits from members only.
    let Some(one) = OneStream::on_apache(1).await else {
        return;
    };
    let one = one.sqlite();
    let mut bridge = one.start().await;
    one.produce(wave(5, 0..4)).await;
    all_taken(&one.org, 20, || bridge.log_text()).await;
    // One that was decided without an acceptance: nothing but its mark remembers it.
    let refusal = Reply::refusal("invalid_request", "this one never");
    one.org
        .answer_when(None, |c| is_about(c, &user(9)), refusal);
    one.produce([record(&risk("refused", &user(9), "high"))])
        .await;
    let refused = [("stream", "okta"), ("verdict", "refused")];
    bridge
        .metric("setbridge_push_attempts_total", &refused, |n| n >= 1.0)
        .await;
    // Another acceptance frees it from the guard.
    one.produce([record(&risk("frees", &user(8), "low"))]).await;
    bridge.outcomes("okta", "dead_lettered", 1).await;
    one.all_committed(22).await;
    bridge.drain().await;
    let requests = one.org.tally().requests;

    set_offset(&one, 0, 0).await;
    assert_eq!(one.committed().await, 0, "{}", one.name);
    let mut again = one.start().await;
    one.all_committed(22).await;
    again.outcomes("okta", "duplicate", 21).await;
    again.outcomes("okta", "already_decided", 1).await;
    assert_eq!(one.org.tally().requests, requests, "{}", one.name);
    assert_eq!(one.dead_letters().await.len(), 1, "{}", one.name);

    // What comes next is sent, and follows what was accepted before.
    one.produce(wave(5, 4..5)).await;
    one.all_committed(27).await;
    let last = taken(&one.org).pop().expect("a SET");
    assert_eq!(last.previous, "low", "{}", one.name);
    again.drain().await;
}

/// DESIGN "Hard cases": a state file that is lost is said; repeats are possible, loss is not.
#[tokio::test]
async fn a_state_file_that_is_gone_is_said_and_loses_nothing() {
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.sqlite();
        let mut bridge = one.start().await;
        bridge.message("the state file is new").await;
        one.produce(wave(5, 0..2)).await;
        all_taken(&one.org, 10, || bridge.log_text()).await;
        one.all_committed(10).await;
        let slow = one.org.answer_when(None, |_| true, Reply::Never);
        one.produce(wave(5, 2..3)).await;
        let in_flight = [("stream", "okta")];
        bridge
            .metric("setbridge_requests_in_flight", &in_flight, |n| n == 5.0)
            .await;
        bridge.crash().await;
        one.org.withdraw(slow);
        for end in ["", "-wal", "-shm"] {
            let file = one
                .configuration
                .folder()
                .join(format!("state.sqlite{end}"));
            if file.exists() {
                fs::remove_file(file).expect("our own file");
            }
        }

        let mut again = one.start().await;
        again.message("the state file is new").await;
        one.all_committed(15).await;
        let said = again
            .line("what is not known", |line| {
                let message = line["message"].as_str();
                message.is_some_and(|m| m.starts_with("nothing is known here"))
            })
            .await;
        assert_eq!(said["committed"], 10, "{said}");
        assert_whole_and_in_order(&one.org, 5, 3);
        let last = taken(&one.org).pop().expect("a SET");
        assert_eq!(last.previous, "none", "{}", one.name);
        again.drain().await;
    }
}
