use std::time::Duration;

use super::*;

#[tokio::test]
async fn replies_come_in_order_and_then_okta_is_well() {
    let simulator = start().await;
    simulator.answer_next(2, Reply::status(503));
    simulator.answer_next(1, Reply::rate_limited(600, 0, 1_750_980_800));
    simulator.answer_next(1, Reply::refusal("access_denied", "no"));
    let statuses = [
        push(&simulator, sign(&risk("a"))).await.0,
        push(&simulator, sign(&risk("a"))).await.0,
    ];
    assert_eq!(statuses, [503, 503]);
    let (status, body) = push(&simulator, sign(&risk("a"))).await;
    assert_eq!((status, &body["errorCode"]), (429, &json!("E0000047")));
    assert_eq!(
        push(&simulator, sign(&risk("a"))).await.1["err"],
        "access_denied"
    );
    assert_eq!(push(&simulator, sign(&risk("a"))).await.0, 202);
    let tally = simulator.tally();
    assert_eq!((tally.scripted, tally.taken, tally.repeats), (4, 1, 0));
}

#[tokio::test]
async fn rules_pick_their_sets() {
    let simulator = start().await;
    let rule = simulator.answer_when(None, |claims| claims["jti"] == "bad", Reply::status(500));
    simulator.answer_when(
        Some(1),
        |claims| claims["jti"] == "once",
        Reply::status(503),
    );
    for (jti, status) in [
        ("bad", 500),
        ("good", 202),
        ("bad", 500),
        ("once", 503),
        ("once", 202),
    ] {
        assert_eq!(push(&simulator, sign(&risk(jti))).await.0, status, "{jti}");
    }
    simulator.withdraw(rule);
    assert_eq!(push(&simulator, sign(&risk("bad"))).await.0, 202);
    simulator.answer_when(None, |_| true, Reply::status(500));
    simulator.recover();
    assert_eq!(push(&simulator, sign(&risk("x"))).await.0, 202);
}

#[tokio::test]
async fn resets_silence_and_the_202_that_is_never_sent() {
    let simulator = start().await;
    let client = client();
    let send = |jti: &str| {
        let request = client
            .post(simulator.url())
            .header("content-type", "application/secevent+jwt");
        request.body(sign(&risk(jti))).send()
    };
    for reply in [Reply::ResetUnread, Reply::ResetRead] {
        simulator.answer_next(1, reply);
        assert!(send("a").await.is_err());
        assert_eq!(simulator.tally().taken, 0);
    }
    simulator.answer_next(1, Reply::TakeThenReset);
    assert!(send("a").await.is_err());
    assert_eq!(simulator.tally().taken, 1, "taken, though nobody was told");
    assert_eq!(send("a").await.expect("an answer").status(), 202);
    assert_eq!(simulator.tally().repeats, 1);

    simulator.answer_next(1, Reply::Never);
    let silent = send("b");
    tokio::select! {
        answer = silent => panic!("answered: {answer:?}"),
        () = simulator.wait_for(|log| log.tally.unanswered == 4) => {}
    }
    simulator.log(|log| {
        let ends: Vec<_> = log.received.iter().map(|r| r.answered).collect();
        let reset = Answered::Reset;
        assert_eq!(
            ends,
            [reset, reset, reset, Answered::Status(202), Answered::Never]
        );
        assert!(log.received[0].raw.is_empty() && !log.received[1].raw.is_empty());
    });
}

#[tokio::test]
async fn a_slow_answer_comes_after_its_time() {
    let simulator = start().await;
    simulator.answer_next(1, Reply::Judge.after(Duration::from_millis(80)));
    let start = std::time::Instant::now();
    assert_eq!(push(&simulator, sign(&risk("a"))).await.0, 202);
    assert!(start.elapsed() >= Duration::from_millis(80));
}

#[tokio::test]
async fn the_bench_verifies_one_in_n_and_still_knows_repeats() {
    let settings = SimulatorSettings {
        verify_every: 3,
        keep: 0,
        ..SimulatorSettings::new(ISSUER, "https://another.example", given("k1"))
    };
    let simulator = Simulator::start(settings).await.expect("started");
    let mut statuses = Vec::new();
    for jti in ["1", "2", "3", "1", "2", "3"] {
        statuses.push(push(&simulator, sign(&risk(jti))).await.0);
    }
    assert_eq!(
        statuses,
        [202, 202, 400, 202, 202, 400],
        "the audience is wrong for every third"
    );
    let tally = simulator.tally();
    assert_eq!((tally.taken, tally.repeats, tally.refused), (2, 2, 2));
    assert!(simulator.log(|log| log.received.is_empty()));
}

#[tokio::test]
async fn the_log_is_bounded() {
    let settings = SimulatorSettings {
        keep: 3,
        ..SimulatorSettings::new(ISSUER, AUDIENCE, given("k1"))
    };
    let simulator = Simulator::start(settings).await.expect("started");
    for n in 0..5 {
        push(&simulator, sign(&risk(&n.to_string()))).await;
    }
    let kept = simulator.log(|log| log.received.iter().map(|r| r.number).collect::<Vec<_>>());
    assert_eq!(kept, [3, 4, 5]);
    assert_eq!(simulator.tally().taken, 5);
    simulator.clear_log();
    assert_eq!(simulator.tally(), Tally::default());
    push(&simulator, sign(&risk("4"))).await;
    assert_eq!(simulator.tally().repeats, 1, "known jtis outlive the log");
}

#[tokio::test]
async fn a_mended_registration_counts_at_once_and_a_dropped_simulator_is_gone() {
    let simulator = start().await;
    simulator.register(ISSUER, AUDIENCE, given("k9"));
    assert_eq!(
        push(&simulator, sign(&risk("a"))).await.1["err"],
        "invalid_key"
    );
    simulator.register(ISSUER, AUDIENCE, given("k1"));
    assert_eq!(push(&simulator, sign(&risk("a"))).await.0, 202);
    let client = client();
    let url = simulator.url();
    let first = client.post(&url).body("x").send().await.expect("an answer");
    first.bytes().await.expect("a body");
    drop(simulator);
    assert!(
        client.post(&url).body("x").send().await.is_err(),
        "idle connections end, too"
    );
}
