//! State in a real Redis that stops, pauses, is not there yet: the stream is held, nothing is lost, nothing is sent twice.

use setbridge::okta::simulator::Received;

use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::numbered::{all_taken, assert_whole_and_in_order, wave};
use crate::support::one_stream::OneStream;
use crate::support::redis_server::RedisServer;

fn previous_level(received: &Received) -> String {
    let (_, event) = received.event().expect("one event");
    event["previous_level"]
        .as_str()
        .expect("a level")
        .to_owned()
}

#[tokio::test]
async fn levels_and_jtis_outlive_a_process_without_a_file() {
    let server = RedisServer::shared();
    for broker in brokers() {
        let one = OneStream::on(&broker, 1).await.redis(server);
        let mut bridge = one.start().await;
        one.produce([record(&risk("1", &user(1), "low"))]).await;
        one.all_committed(1).await;
        bridge.crash().await;
        let mut again = one.start().await;
        one.produce([
            record(&risk("1", &user(1), "low")),
            record(&risk("2", &user(1), "high")),
        ])
        .await;
        again.outcomes("okta", "duplicate", 1).await;
        one.all_committed(3).await;
        one.org.log(|log| {
            let levels: Vec<_> = log.received.iter().map(previous_level).collect();
            assert_eq!(levels, ["none", "low"], "{}", one.name);
        });
        again.drain().await;
    }
}

/// `on_unavailable: continue`: it goes on, says so, and tells the Redis later what it did.
#[tokio::test]
async fn where_configured_a_stream_goes_on_without_redis() {
    for broker in brokers() {
        let mut server = RedisServer::start(&[]);
        let one = OneStream::on(&broker, 1).await.redis(&server);
        let one = one.set("state.redis.on_unavailable", "continue");
        let mut bridge = one.start().await;
        one.produce([record(&risk("1", &user(1), "low"))]).await;
        one.all_committed(1).await;
        let bypassed = "setbridge_state_bypassed";
        bridge.metric(bypassed, &[], |on| on == 0.0).await;
        server.kill();
        one.produce([record(&risk("2", &user(1), "high"))]).await;
        all_taken(&one.org, 2, || bridge.log_text()).await;
        one.all_committed(2).await;
        bridge.metric(bypassed, &[], |on| on == 1.0).await;
        let without = "setbridge_sets_without_state_total";
        assert_eq!(bridge.metrics().await.sum(without, &[]), 1.0);
        bridge.held("okta", None).await;
        server.start_again();
        bridge.metric(bypassed, &[], |on| on == 0.0).await;
        one.produce([
            record(&risk("2", &user(1), "high")),
            record(&risk("3", &user(1), "medium")),
        ])
        .await;
        bridge.outcomes("okta", "duplicate", 1).await;
        one.all_committed(4).await;
        one.org.log(|log| {
            let levels: Vec<_> = log.received.iter().map(previous_level).collect();
            assert_eq!(levels, ["none", "none", "high"], "{}", one.name);
        });
        bridge.drain().await;
    }
}

/// Not there at the start, killed with work in flight, paused for longer than the time-out.
#[tokio::test]
async fn a_stream_is_held_while_redis_is_away_and_nothing_comes_twice() {
    for broker in brokers() {
        let mut server = RedisServer::prepare(&[]);
        let one = OneStream::on(&broker, 2).await.redis(&server);
        let mut bridge = one.start().await;
        bridge.held("okta", Some("state_store")).await;
        one.produce(wave(4, 0..5)).await;
        assert_eq!(bridge.get("/readyz").await.0, 200);
        assert_eq!(
            one.org.tally().requests,
            0,
            "nobody knows what was sent before"
        );
        server.start_again();
        all_taken(&one.org, 20, || bridge.log_text()).await;
        bridge.held("okta", None).await;
        one.all_committed(20).await;

        server.kill();
        one.produce(wave(4, 5..10)).await;
        bridge.held("okta", Some("state_store")).await;
        server.start_again();
        all_taken(&one.org, 40, || bridge.log_text()).await;
        bridge.held("okta", None).await;
        one.all_committed(40).await;

        server.pause();
        one.produce(wave(4, 10..15)).await;
        bridge.held("okta", Some("state_store")).await;
        server.go_on();
        all_taken(&one.org, 60, || bridge.log_text()).await;
        bridge.held("okta", None).await;
        one.all_committed(60).await;
        assert_whole_and_in_order(&one.org, 4, 15);
        assert_eq!(one.org.tally().repeats, 0, "{}", one.name);
        bridge.drain().await;
    }
}

/// Each SET asks again and again by itself; who reads the log hears once that it fails, and once that it works again.
#[tokio::test]
async fn an_outage_of_redis_is_told_once_and_its_end_once() {
    for broker in brokers() {
        let server = RedisServer::start(&[]);
        let one = OneStream::on(&broker, 2).await.redis(&server);
        let one = one.set("state.redis.request_timeout", "300ms");
        let mut bridge = one.start().await;
        one.produce(wave(8, 0..1)).await;
        one.all_committed(8).await;
        let said = |about: &str| {
            let lines = bridge.lines();
            let about = lines.iter().filter(|line| {
                let message = line["message"].as_str().unwrap_or_default();
                line["level"] != "DEBUG" && message.contains(about)
            });
            about.count()
        };
        for outage in 1..=2_usize {
            let errors = "setbridge_state_errors_total";
            let before = bridge.metrics().await.sum(errors, &[]);
            server.pause();
            one.produce(wave(8, 2 * outage - 1..2 * outage + 1)).await;
            // Each of eight lanes has tried several times.
            bridge.metric(errors, &[], |now| now - before >= 40.0).await;
            server.go_on();
            one.all_committed(8 + 16 * outage as i64).await;
            bridge.held("okta", None).await;
            let told = [
                "the state store fails",
                "the state store works again",
                "the state in Redis works again",
            ];
            for about in told {
                assert_eq!(said(about), outage, "{about}\n{}", bridge.log_text());
            }
        }
        bridge.drain().await;
    }
}
