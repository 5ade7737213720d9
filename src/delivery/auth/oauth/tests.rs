use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex as StdMutex;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap as AxumHeaders, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::json;

use super::super::AuthSettings;
use super::*;

/// The `Authorization` header of a request, and its form.
type Asked = (Option<String>, HashMap<String, String>);

/// A token endpoint over TCP: answers what it was told, counts, remembers the forms.
#[derive(Default)]
struct Server {
    status: StdMutex<u16>,
    body: StdMutex<String>,
    delay: StdMutex<Duration>,
    forms: StdMutex<Vec<Asked>>,
}

impl Server {
    async fn start() -> (Arc<Self>, TargetUrl) {
        let server = Arc::new(Self::default());
        server.answers(
            200,
            &json!({"token_type": "Bearer", "access_token": "tok-$n", "expires_in": 3600})
                .to_string(),
        );
        let router = Router::new()
            .route("/token", post(Self::token))
            .with_state(Arc::clone(&server));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!(
            "http://{}/token",
            listener.local_addr().expect("an address")
        );
        tokio::spawn(async move { axum::serve(listener, router).await });
        (server, TargetUrl::parse(&url, false).expect("loopback"))
    }

    fn answers(&self, status: u16, body: &str) {
        *self.status.lock().expect("a lock") = status;
        *self.body.lock().expect("a lock") = body.to_owned();
    }

    fn lifetime(&self, seconds: u64) {
        let body = json!({"token_type": "bearer", "access_token": "tok-$n", "expires_in": seconds});
        self.answers(200, &body.to_string());
    }

    fn count(&self) -> usize {
        self.forms.lock().expect("a lock").len()
    }

    fn form(&self, index: usize) -> Asked {
        self.forms.lock().expect("a lock")[index].clone()
    }

    async fn token(
        State(server): State<Arc<Self>>,
        headers: AxumHeaders,
        body: String,
    ) -> impl IntoResponse {
        let form = url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
        let authorization = headers
            .get("authorization")
            .and_then(|v| v.to_str().ok())
            .map(str::to_owned);
        let number = {
            let mut forms = server.forms.lock().expect("a lock");
            forms.push((authorization, form));
            forms.len()
        };
        let delay = *server.delay.lock().expect("a lock");
        tokio::time::sleep(delay).await;
        let status =
            StatusCode::from_u16(*server.status.lock().expect("a lock")).expect("a status");
        let body = server
            .body
            .lock()
            .expect("a lock")
            .replace("$n", &number.to_string());
        (status, [("retry-after", "7")], body)
    }
}

fn settings(token_url: TargetUrl) -> OAuthSettings {
    let secret = Secret::literal("s3:cret".to_owned());
    OAuthSettings {
        token_url,
        client_id: "client id".to_owned(),
        credential: ClientCredential::Secret {
            secret,
            style: SecretStyle::Basic,
        },
        scopes: vec!["ssf.read".to_owned(), "ssf.manage".to_owned()],
        assertion_audience: None,
    }
}

fn source(settings: OAuthSettings) -> TokenSource {
    TokenSource::new(settings, Duration::from_secs(300))
}

fn client() -> Client {
    Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .expect("a client")
}

#[tokio::test]
async fn one_token_serves_many_and_is_not_shown() {
    let (server, url) = Server::start().await;
    *server.delay.lock().expect("a lock") = Duration::from_millis(50);
    let source = Arc::new(source(settings(url)));
    let client = client();
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let (source, client) = (Arc::clone(&source), client.clone());
            tokio::spawn(async move { source.token(&client).await })
        })
        .collect();
    for task in waiting {
        let credential = task.await.expect("no panic").expect("a token");
        assert_eq!(credential.value, "Bearer tok-1");
        assert!(!format!("{credential:?} {source:?}").contains("tok-1"));
    }
    assert_eq!(server.count(), 1);
    let (authorization, form) = server.form(0);
    // base64("client+id:s3%3Acret")
    assert_eq!(
        authorization.as_deref(),
        Some("Basic Y2xpZW50K2lkOnMzJTNBY3JldA==")
    );
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["scope"], "ssf.read ssf.manage");
    assert!(!form.contains_key("client_secret"));
}

#[tokio::test]
async fn a_stale_token_is_replaced_once_for_all() {
    let (server, url) = Server::start().await;
    let (source, client) = (source(settings(url)), client());
    let first = source.token(&client).await.expect("a token");
    let second = source
        .fresher_than(first.issue, &client)
        .await
        .expect("a token");
    assert_eq!(second.value, "Bearer tok-2");
    let also = source
        .fresher_than(first.issue, &client)
        .await
        .expect("a token");
    assert_eq!(
        also.value, "Bearer tok-2",
        "another task's refresh is good enough"
    );
    assert_eq!(
        source.token(&client).await.expect("a token").value,
        "Bearer tok-2"
    );
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn an_expired_token_is_renewed_and_one_about_to_expire_too() {
    let (server, url) = Server::start().await;
    let (source, client) = (source(settings(url)), client());
    server.lifetime(0);
    source.token(&client).await.expect("a token");
    // Counts as 1 s, and after four fifths of that it is renewed while it still serves.
    tokio::time::sleep(Duration::from_millis(850)).await;
    assert_eq!(
        source.token(&client).await.expect("a token").value,
        "Bearer tok-2"
    );
    server.answers(503, "");
    tokio::time::sleep(Duration::from_millis(850)).await;
    assert_eq!(
        source.token(&client).await.expect("the old one").value,
        "Bearer tok-2"
    );
    tokio::time::sleep(Duration::from_millis(200)).await;
    let fault = source.token(&client).await.expect_err("expired");
    assert_eq!(fault.verdict, Verdict::Moment(MomentFault::TokenEndpoint));
    assert_eq!(fault.advice.map(|a| a.wait), Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_waited() {
    let (server, url) = Server::start().await;
    server.answers(500, "");
    *server.delay.lock().expect("a lock") = Duration::from_millis(50);
    let (source, client) = (Arc::new(source(settings(url))), client());
    let waiting: Vec<_> = (0..20)
        .map(|_| {
            let (source, client) = (Arc::clone(&source), client.clone());
            tokio::spawn(async move { source.token(&client).await })
        })
        .collect();
    for task in waiting {
        assert!(task.await.expect("no panic").is_err());
    }
    assert_eq!(server.count(), 1);
    *server.delay.lock().expect("a lock") = Duration::ZERO;
    server.lifetime(3600);
    assert!(
        source.token(&client).await.is_ok(),
        "who comes later tries again"
    );
}

#[tokio::test]
async fn refusals_are_set_up_and_moments_are_moments() {
    let (server, url) = Server::start().await;
    let client = client();
    let refused = Verdict::SetUp(SetUpFault::TokenRefused);
    let moment = Verdict::Moment(MomentFault::TokenEndpoint);
    let rows = [
        (400, r#"{"error":"invalid_scope"}"#, refused),
        (401, r#"{"error":"invalid_client"}"#, refused),
        (403, "", refused),
        (404, "", refused),
        (302, "", refused),
        (200, "not json", refused),
        (200, r#"{"token_type":"DPoP","access_token":"x"}"#, refused),
        (
            200,
            r#"{"token_type":"Bearer","access_token":"a\nb"}"#,
            refused,
        ),
        (408, "", moment),
        (429, "", moment),
        (503, "", moment),
    ];
    for (status, body, verdict) in rows {
        server.answers(status, body);
        let fault = source(settings(url.clone()))
            .token(&client)
            .await
            .expect_err("a fault");
        assert_eq!(
            (fault.verdict, fault.status),
            (verdict, Some(status)),
            "{status} {body}"
        );
    }
    let nowhere = TargetUrl::parse("http://127.0.0.1:1/token", false).expect("loopback");
    let fault = source(settings(nowhere))
        .token(&client)
        .await
        .expect_err("no server");
    assert_eq!((fault.verdict, fault.status), (moment, None));
}

#[tokio::test]
async fn private_key_and_secret_in_the_form() {
    let (server, url) = Server::start().await;
    let client = client();
    let key = super::super::assertion::tests::key(None);
    let mut with_key = settings(url.clone());
    with_key.credential = ClientCredential::PrivateKey(key);
    with_key.scopes.clear();
    source(with_key).token(&client).await.expect("a token");
    let (authorization, form) = server.form(0);
    assert_eq!(authorization, None);
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert_eq!(form["client_assertion"].split('.').count(), 3);
    assert!(!form.contains_key("scope") && !form.contains_key("client_id"));

    let mut posted = settings(url);
    let secret = Secret::literal("s3cret".to_owned());
    posted.credential = ClientCredential::Secret {
        secret,
        style: SecretStyle::Post,
    };
    assert!(!format!("{:?}", AuthSettings::OAuth(Box::new(posted.clone()))).contains("s3cret"));
    source(posted).token(&client).await.expect("a token");
    let (authorization, form) = server.form(1);
    assert_eq!(authorization, None);
    assert_eq!(
        (form["client_id"].as_str(), form["client_secret"].as_str()),
        ("client id", "s3cret")
    );
}
