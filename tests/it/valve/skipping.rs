//! `skip`: exactly one SET becomes a dead letter, nothing is cut off, and what is behind it goes on in order.

use std::time::Duration;

use serde_json::Value;
use setbridge::okta::simulator::{Received, Reply};

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::configuration::{record, risk, user};
use crate::support::numbered::{all_taken, member, number_of, numbered, register, taken, wave};
use crate::support::one_stream::OneStream;
use crate::support::operator::{Operator, Said};
use crate::support::receipts::{arrived, requests};

const STREAM: [(&str, &str); 1] = [("stream", "okta")];

/// Whether a SET is that of this user and number.
fn is(user: &str, number: usize) -> impl Fn(&Value) -> bool + Send + Sync + 'static {
    let time = numbered(user, number)["time"].to_string();
    let user = user.to_owned();
    move |claims| {
        let events = claims["events"].to_string();
        events.contains(&user) && events.contains(&time)
    }
}

fn jti_of(received: &[Received], user: &str, number: usize) -> String {
    let wanted = (user.to_owned(), number);
    let found = received.iter().find(|sent| number_of(sent) == wanted);
    found
        .and_then(Received::jti)
        .expect("it was sent")
        .to_owned()
}

/// What is shown as blocking.
async fn blocking(bridge: &Bridge, until: impl Fn(&Value) -> bool) -> Value {
    let status = bridge.status_is("what blocks", |status| {
        until(&status["streams"][0]["blocking"])
    });
    status.await["streams"][0]["blocking"].clone()
}

fn answer(said: &Said) -> Value {
    said.answers().pop().expect("one bridge")
}

#[tokio::test]
async fn what_gets_500_for_ever_is_skipped_and_its_lane_goes_on_in_order() {
    for broker in brokers() {
        let mut one = OneStream::on(&broker, 1).await.sqlite();
        let operator = Operator::of(&mut one.configuration);
        let name = one.name;
        let mut bridge = one.start().await;
        one.org
            .answer_when(None, is(&user(0), 0), Reply::status(500));
        one.produce(wave(3, 0..3)).await;
        bridge.outcomes("okta", "delivered", 6).await;
        arrived(&one.org, 8).await;
        let jti = jti_of(&requests(&one.org), &user(0), 0);
        let shown = blocking(&bridge, |blocking| blocking["jti"] == jti.as_str()).await;
        assert_eq!(shown["origin"], format!("{}:0:0", one.topic), "{name}");
        assert_eq!(one.committed().await, 0, "{name}");

        let said = operator.does("skip", &bridge, &[]).await;
        let wanted = format!(
            "SET {jti} of {}:0:0: skipped: it is a dead letter\n",
            one.topic
        );
        assert!(said.out.ends_with(&wanted), "{name}: {said:?}");
        all_taken(&one.org, 8, || bridge.log_text()).await;
        one.all_committed(9).await;
        let order = one.org.log(taken);
        assert_eq!(order[&user(0)], [1, 2], "{name}");
        let letters = one.dead_letters().await;
        assert_eq!(letters.len(), 1, "{name}");
        let header = |name: &str| letters[0].header(&format!("setbridge-{name}"));
        assert_eq!(header("reason"), Some("skipped"), "{name}");
        assert_eq!(header("jti"), Some(jti.as_str()), "{name}");
        assert_eq!(header("http-status"), Some("500"), "{name}");
        let attempts: u64 = header("attempts").unwrap().parse().unwrap();
        assert_eq!(one.org.tally().requests, 8 + attempts, "{name}");
        let acts = [("stream", "okta"), ("act", "skip")];
        let metrics = bridge.metrics().await;
        assert_eq!(metrics.sum("setbridge_operator_acts_total", &acts), 1.0);

        // It is decided: after a crash it does not come back, not even when its record does.
        let said = operator.tell("skip", &[&bridge], &["--jti", &jti]).await;
        assert_eq!(said.code, 66, "{said:?}");
        let said = operator.tell("skip", &[&bridge], &[]).await;
        assert_eq!(said.code, 66, "{said:?}");
        assert!(said.err.contains("nothing waits"), "{said:?}");
        bridge.crash().await;
        one.org.recover();
        let mut bridge = one.start().await;
        one.produce(wave(3, 3..4)).await;
        all_taken(&one.org, 11, || bridge.log_text()).await;
        assert_eq!(one.org.log(taken)[&user(0)], [1, 2, 3], "{name}");
        assert_eq!(one.dead_letters().await.len(), 1, "{name}");
        bridge.drain().await;
    }
}

#[tokio::test]
async fn what_is_on_the_wire_is_waited_for_and_an_acceptance_wins() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1).await;
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    let late = Duration::from_secs(3);
    one.org
        .answer_when(Some(1), is(&user(0), 0), Reply::Judge.after(late));
    one.produce(wave(1, 0..1)).await;
    arrived(&one.org, 1).await;
    let said = operator.does("skip", &bridge, &["--json"]).await;
    assert_eq!(answer(&said)["outcome"], "delivered", "{said:?}");
    assert_eq!(one.org.tally().taken, 1);

    one.org
        .answer_when(Some(1), is(&user(0), 1), Reply::status(500).after(late));
    one.produce(wave(1, 1..2)).await;
    arrived(&one.org, 2).await;
    let said = operator.does("skip", &bridge, &["--json"]).await;
    let answer = answer(&said);
    assert_eq!(answer["reason"], "skipped", "{said:?}");
    one.all_committed(2).await;
    let letters = one.dead_letters().await;
    assert_eq!(letters.len(), 1);
    let header = |name: &str| letters[0].header(&format!("setbridge-{name}"));
    assert_eq!(header("http-status"), Some("500"), "its answer was heard");
    assert_eq!(header("attempts"), Some("1"));
    assert_eq!(one.org.tally().requests, 2);
    bridge.drain().await;
}

#[tokio::test]
async fn one_that_waits_in_its_lane_is_skipped_at_its_turn() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1).await;
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    // Its jti is known from another stream of the world: a first delivery of the same detections.
    one.org
        .answer_when(None, is(&user(0), 0), Reply::status(503));
    one.produce(wave(1, 0..3)).await;
    arrived(&one.org, 2).await;
    let (record, jti) = (
        numbered(&user(0), 1),
        map(&one, &numbered(&user(0), 1)).await,
    );
    let said = operator.does("skip", &bridge, &["--jti", &jti]).await;
    assert!(said.out.contains("no outcome yet"), "{record}: {said:?}");
    assert_eq!(one.dead_letters().await, [], "not before those ahead of it");
    one.org.recover();
    all_taken(&one.org, 2, || bridge.log_text()).await;
    one.all_committed(3).await;
    assert_eq!(one.org.log(taken)[&user(0)], [0, 2]);
    let letters = one.dead_letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].header("setbridge-jti"), Some(jti.as_str()));
    assert_eq!(letters[0].header("setbridge-attempts"), Some("0"));
    bridge.drain().await;
}

/// The jti that `setbridge map` makes of a detection.
async fn map(one: &OneStream, detection: &Value) -> String {
    use std::io::Write as _;
    let file = one.configuration.write();
    let detection = detection.to_string();
    let run = move || {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_setbridge"))
            .args(["map", "-c"])
            .arg(file)
            .env_clear()
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(detection.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    };
    let ended = tokio::task::spawn_blocking(run).await.unwrap();
    let token: Value = serde_json::from_slice(&ended.stdout).unwrap();
    token["jti"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_record_that_waits_for_the_mapping_guard_is_skipped() {
    for broker in brokers() {
        let mut one = OneStream::on(&broker, 1)
            .await
            .set("streams.0.guard.records.faults", 3)
            .set("streams.0.guard.records.keys", 3);
        let operator = Operator::of(&mut one.configuration);
        let name = one.name;
        let mut bridge = one.start().await;
        let bad = |n: usize| record(&risk(&n.to_string(), &user(n), "purple"));
        one.produce((0..3).map(bad)).await;
        bridge.held("okta", Some("mapping_suspect")).await;
        assert_eq!(one.dead_letters().await, [], "{name}");
        for number in 0..2 {
            let said = operator.does("skip", &bridge, &["--json"]).await;
            let answer = answer(&said);
            assert_eq!(answer["reason"], "skipped", "{name}: {said:?}");
            assert_eq!(answer["set"]["origin"], format!("{}:0:{number}", one.topic));
            assert_eq!(answer["set"]["jti"], Value::Null);
        }
        one.all_committed(2).await;
        let letters = one.dead_letters().await;
        assert_eq!(letters.len(), 2, "{name}: exactly those");
        let header = |name: &str| letters[0].header(&format!("setbridge-{name}"));
        assert_eq!(header("stage"), Some("map"), "{name}");
        assert!(
            header("detail").unwrap().starts_with("bad_level: "),
            "{name}"
        );
        bridge.held("okta", Some("mapping_suspect")).await;
        one.produce(wave(1, 0..1)).await;
        all_taken(&one.org, 1, || bridge.log_text()).await;
        bridge.outcomes("okta", "dead_lettered", 3).await;
        one.all_committed(4).await;
        bridge.drain().await;
    }
}

/// A hold keeps all in place; what is skipped leaves it, and only that.
#[tokio::test]
async fn during_a_hold_one_can_be_skipped() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1).await;
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    operator.does("hold", &bridge, &[]).await;
    one.produce(wave(2, 0..2)).await;
    let all = |unsettled: f64| unsettled == 4.0;
    bridge
        .metric("setbridge_unsettled_sets", &STREAM, all)
        .await;
    let said = operator.does("skip", &bridge, &["--json"]).await;
    assert_eq!(answer(&said)["reason"], "skipped", "{said:?}");
    one.all_committed(1).await;
    assert_eq!(one.org.tally().requests, 0);
    operator.does("resume", &bridge, &[]).await;
    all_taken(&one.org, 3, || bridge.log_text()).await;
    let order = one.org.log(taken);
    assert_eq!(
        (&order[&user(0)][..], &order[&user(1)][..]),
        (&[1][..], &[0, 1][..])
    );
    one.all_committed(4).await;
    bridge.drain().await;
}

/// Two SETs are on the wire, both are to be skipped, and one's partition leaves: that one is its next owner's.
#[tokio::test]
async fn what_is_skipped_while_its_partition_leaves_is_the_next_owners() {
    let Some(mut one) = OneStream::on_apache(2).await else {
        return;
    };
    one = one.set("streams.0.receiver.request_timeout", "14s");
    let operator = Operator::of(&mut one.configuration);
    register(&one.org, &one.configuration, &["a", "b"]);
    let mut a = Bridge::start(&member(&one.configuration, "a")).await;
    one.org.answer_when(Some(2), |_| true, Reply::Never);
    let both = [0, 1].map(|n: i32| record(&numbered(&user(n as usize), 0)).partition(n));
    one.produce(both).await;
    arrived(&one.org, 2).await;
    let jtis = [
        map(&one, &numbered(&user(0), 0)).await,
        map(&one, &numbered(&user(1), 0)).await,
    ];
    let skip = |jti| {
        let (operator, a) = (&operator, &a);
        async move { operator.tell("skip", &[a], &["--jti", jti]).await }
    };
    let other = async { Bridge::start(&member(&one.configuration, "b")).await };
    let (first, second, mut b) = tokio::join!(skip(&jtis[0]), skip(&jtis[1]), other);
    let mut codes = [first.code, second.code];
    codes.sort_unstable();
    assert_eq!(codes, [0, 65], "{first:?} {second:?}");
    all_taken(&one.org, 1, || b.log_text()).await;
    one.all_committed(2).await;
    let letters = one.dead_letters().await;
    assert_eq!(letters.len(), 1);
    let delivered = requests(&one.org).pop().unwrap();
    assert_eq!(delivered.kid.as_deref(), Some("b"));
    assert_ne!(letters[0].header("setbridge-jti"), delivered.jti());
    assert!(jtis.iter().any(|jti| Some(jti.as_str()) == delivered.jti()));
    a.drain().await;
    b.drain().await;
}
