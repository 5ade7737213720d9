//! Replicas that share their state: what one is told reaches all.

use std::time::{Duration, Instant};

use crate::support::bridge::Bridge;
use crate::support::numbered::{all_taken, register, sharing, wave};
use crate::support::one_stream::OneStream;
use crate::support::operator::Operator;
use crate::support::receipts::requests;
use crate::support::redis_server::RedisServer;

const STREAM: [(&str, &str); 1] = [("stream", "okta")];

#[tokio::test]
async fn a_hold_reaches_every_replica_and_a_rewind_forgets_for_all() {
    let Some(mut one) = OneStream::on_apache(2).await else {
        return;
    };
    let operator = Operator::of(&mut one.configuration);
    register(&one.org, &one.configuration, &["a", "b"]);
    one.configuration = one.configuration.redis(RedisServer::shared());
    let [a, b] = ["a", "b"].map(|kid| sharing(&one.configuration, kid));
    let (mut a, mut b) = (Bridge::start(&a).await, Bridge::start(&b).await);
    for bridge in [&a, &b] {
        let assigned = "setbridge_partitions_assigned";
        bridge
            .metric(assigned, &STREAM, |partitions| partitions == 1.0)
            .await;
    }
    one.produce(wave(20, 0..2)).await;
    one.all_committed(40).await;

    let said = operator.does("hold", &a, &["--json"]).await;
    let told = Instant::now();
    assert_eq!(said.answers()[0]["shared_state"], true);
    assert_eq!(said.err, "", "no other replica need be named");
    b.held("okta", Some("operator")).await;
    let followed = told.elapsed();
    assert!(
        followed < Duration::from_secs(5),
        "about a second, not {followed:?}"
    );
    one.org.clear_log();
    one.produce(wave(20, 2..3)).await;
    let since = ["--since", "2020-01-01T00:00:00Z", "--json"];
    let said = operator.tell("rewind", &[&a, &b], &since).await;
    assert_eq!(said.code, 0, "{said:?}");
    let again = said.answers();
    let again = again
        .iter()
        .filter_map(|one| one["rewound"]["again"].as_u64());
    assert_eq!(again.sum::<u64>(), 40, "{said:?}");
    assert_eq!(one.org.tally().requests, 0);

    operator.does("resume", &b, &[]).await;
    a.held("okta", None).await;
    one.all_committed(60).await;
    let sent: Vec<_> = requests(&one.org);
    assert_eq!(sent.len(), 60, "each of the two waves again, and the third");
    a.drain().await;
    b.drain().await;
    let log = || format!("{}{}", a.log_text(), b.log_text());
    // The repeats took no effect a second time: the org knows their jtis.
    all_taken(&one.org, 20, log).await;
    assert_eq!(one.org.tally().taken, 20);
}
