//! Who may not act, and what cannot be done: clear answers, with a status and an exit code that fit.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::bridge::Bridge;
use crate::support::broker::brokers;
use crate::support::one_stream::OneStream;
use crate::support::operator::{Operator, TOKEN, setbridge};

/// Status and body of a `POST` to the admin port.
async fn post(bridge: &Bridge, path: &str, bearer: Option<&str>, body: &str) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]);
    let url = format!("http://{}{path}", bridge.admin);
    let mut question = client.build().unwrap().post(url).body(body.to_owned());
    if let Some(bearer) = bearer {
        question = question.header("Authorization", format!("Bearer {bearer}"));
    }
    let answer = question.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn without_a_configured_token_nobody_may_act() {
    let broker = &brokers()[0];
    let one = OneStream::on(broker, 1).await;
    let mut bridge = one.start().await;
    let (status, why) = post(&bridge, "/streams/okta/hold", Some(TOKEN), "").await;
    assert_eq!(status, 403, "{why}");
    assert!(why.contains("admin.token"), "{why}");
    let file = one.configuration.write().display().to_string();
    let said = setbridge(&["stream", "hold", "--stream", "okta", "-c", &file]).await;
    assert_eq!(said.code, 77, "{said:?}");
    assert!(said.err.contains("--token-file"), "{said:?}");
    let mut other = one.configuration.clone();
    let operator = Operator::of(&mut other);
    let said = operator.tell("hold", &[&bridge], &[]).await;
    assert_eq!((said.code, said.out.as_str()), (77, ""), "{said:?}");
    assert!(
        said.err.contains("`admin.token` is not configured"),
        "{said:?}"
    );
    assert_eq!(
        bridge.metrics().await.sum("setbridge_stream_held", &[]),
        0.0
    );
    bridge.drain().await;
}

#[tokio::test]
async fn the_wrong_token_and_what_is_not_there_are_told_apart() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1).await;
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    let path = "/streams/okta/hold";
    let cases = [
        (path, None, "", 401),
        (path, Some("correct-horse-batterz"), "", 401),
        ("/streams/nobody/hold", Some("wrong"), "", 401),
        ("/streams/nobody/hold", Some(TOKEN), "", 404),
        ("/streams/okta/explode", Some(TOKEN), "", 404),
        (path, Some(TOKEN), "{", 400),
        (path, Some(TOKEN), r#"{"raeson": "x"}"#, 400),
        (path, Some(TOKEN), r#"{"secret-word": 1}"#, 400),
        (
            "/streams/okta/skip",
            Some(TOKEN),
            r#"{"jti": "secret-word"}"#,
            404,
        ),
        (path, Some(TOKEN), "{\"reason\": \"two\\nlines\"}", 400),
    ];
    for (path, bearer, body, wanted) in cases {
        let (status, why) = post(&bridge, path, bearer, body).await;
        assert_eq!(status, wanted, "{path} {bearer:?} {body}: {why}");
        assert!(why.starts_with(r#"{"error":"#), "{why}");
    }
    assert_eq!(bridge.get(path).await.0, 405);
    let long = format!(r#"{{"reason": "{}"}}"#, "x".repeat(20_000));
    assert_eq!(post(&bridge, path, Some(TOKEN), &long).await.0, 413);

    let wrong = one.configuration.folder().join("wrong");
    std::fs::write(&wrong, "correct-horse-batterz").unwrap();
    let wrong = wrong.display().to_string();
    let said = operator
        .tell("hold", &[&bridge], &["--token-file", &wrong])
        .await;
    assert_eq!(said.code, 77, "{said:?}");
    let at = format!("http://{}", bridge.admin);
    let ask = ["stream", "hold", "--stream", "nobody", "--admin", &at, "-c"];
    let file = one.configuration.write().display().to_string();
    let said = setbridge(&[&ask[..], &[&file]].concat()).await;
    assert_eq!(said.code, 66, "{said:?}");
    assert!(said.err.contains("no stream \"nobody\""), "{said:?}");

    assert_eq!(
        bridge.metrics().await.sum("setbridge_stream_held", &[]),
        0.0
    );
    let acts = bridge
        .metrics()
        .await
        .sum("setbridge_operator_acts_total", &[]);
    assert_eq!(acts, 0.0);
    bridge.drain().await;
    let log = bridge.log_text();
    assert!(log.contains("an operator's act was denied"), "{log}");
    assert!(!log.contains("correct-horse"), "no token in the log");
    assert!(!log.contains("secret-word"), "nothing mistyped: {log}");
    assert!(log.contains("an operator asks for an act"), "{log}");
}

#[tokio::test]
async fn without_the_token_no_body_is_waited_for() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1).await;
    Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    for (path, bearer, wanted) in [
        ("/streams/okta/hold", "wrong", "HTTP/1.1 401"),
        ("/streams/nobody/hold", TOKEN, "HTTP/1.1 404"),
    ] {
        let mut client = tokio::net::TcpStream::connect(bridge.admin).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nContent-Length: 9\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        // The body's own time-out is 408.
        let mut status = [0; 12];
        client.read_exact(&mut status).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&status), wanted);
    }
    bridge.drain().await;
}

#[tokio::test]
async fn who_was_not_reached_is_said_and_the_others_are_told() {
    let broker = &brokers()[0];
    let mut one = OneStream::on(broker, 1).await;
    let operator = Operator::of(&mut one.configuration);
    let mut bridge = one.start().await;
    let mut gone = one.start().await;
    let at = gone.admin.to_string();
    gone.crash().await;
    let said = operator.tell("hold", &[&bridge, &gone], &[]).await;
    assert_eq!(said.code, 69, "{said:?}");
    assert!(
        said.err.contains(&at) && said.err.contains("not reached"),
        "{said:?}"
    );
    assert!(said.out.contains(&bridge.admin.to_string()), "{said:?}");
    bridge.held("okta", Some("operator")).await;
    bridge.drain().await;
}
