//! The floor under the push: reqwest posting one and the same SET, with nothing around it. As the bridge does, one
//! runtime thread and 32 requests at once. What a POST costs here, kernel and loopback network included, no bridge on
//! this machine can go below.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use setbridge::signing::KeySource;

use crate::Fallible;
use crate::machine::cpu_of;

/// As many as `max_requests_in_flight` by default.
const AT_ONCE: u64 = 32;

/// Posts `count` SETs to `url`, signed with the key in `pem`; prints the CPU seconds of all of them.
pub(crate) fn run(url: &str, issuer: &str, pem: &str, count: &str) -> Fallible<()> {
    let count: u64 = count.parse()?;
    let body = token(url, issuer, pem)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .connect_timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let posts = |each: u64| {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE {
            tasks.spawn(post(client.clone(), url.parse(), body.clone(), each));
        }
        async {
            let done = tasks.join_all().await;
            done.into_iter().try_for_each(|result| result)
        }
    };
    let post_all = |each| runtime.block_on(async { posts(each).await });
    // Connections and caches first.
    post_all(50).map_err(|error| error.to_string())?;
    let before = cpu_of(std::process::id())?;
    post_all(count / AT_ONCE).map_err(|error| error.to_string())?;
    let spent = cpu_of(std::process::id())? - before;
    println!("{}", spent / (count / AT_ONCE * AT_ONCE) as f64);
    Ok(())
}

type Sendable = Box<dyn std::error::Error + Send + Sync>;

async fn post(
    client: reqwest::Client,
    url: Result<url::Url, url::ParseError>,
    body: Bytes,
    times: u64,
) -> Result<(), Sendable> {
    let url = url?;
    for _ in 0..times {
        let answer = client
            .post(url.clone())
            .header(CONTENT_TYPE, "application/secevent+jwt")
            .header(ACCEPT, "application/json")
            .body(body.clone())
            .send()
            .await?;
        if answer.status() != 202 {
            return Err(format!("the receiver says {}", answer.status()).into());
        }
    }
    Ok(())
}

/// A SET that the receiver accepts. It ignores a jti that it knows, after having read all of it.
fn token(url: &str, issuer: &str, pem: &str) -> Fallible<Bytes> {
    let audience: url::Url = url.parse()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = serde_json::json!({
        "iss": issuer,
        "aud": audience.origin().ascii_serialization(),
        "jti": "bench-0000000000000000000000000000000000000",
        "iat": now,
        "events": {"https://schemas.okta.com/secevent/okta/event-type/user-risk-change": {
            "subject": {"user": {"format": "email", "email": "user00042@corp.example.com"}},
            "event_timestamp": now,
            "initiating_entity": "system",
            "current_level": "high",
            "previous_level": "low",
            "reason_admin": {"en": "Credential theft from LSASS memory on wks-00042"},
        }},
    });
    Ok(KeySource::new(pem)
        .load()?
        .sign(claims.to_string().as_bytes())?)
}
