//! An OAuth 2.0 token endpoint: numbered bearer tokens, and a note of every request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One request for a token.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) headers: HeaderMap,
    /// The form, decoded
    pub(crate) form: Vec<(String, String)>,
}

impl Asked {
    /// A field of the form.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let (_, value) = self.form.iter().find(|(n, _)| n == name)?;
        Some(value)
    }
}

#[derive(Default)]
struct Book {
    asked: Vec<Asked>,
    refuse: bool,
    /// Who asks waits until this is given up.
    stalls: Option<tokio::sync::watch::Receiver<()>>,
}

/// As long as this lives, the endpoint answers nobody.
pub(crate) struct Stall {
    _end: tokio::sync::watch::Sender<()>,
}

/// A running token endpoint. The n-th request gets `token-n`. Dropping it closes the port.
pub(crate) struct TokenEndpoint {
    address: SocketAddr,
    book: Arc<Mutex<Book>>,
    server: JoinHandle<()>,
}

impl TokenEndpoint {
    pub(crate) async fn start() -> TokenEndpoint {
        let book = Arc::new(Mutex::new(Book::default()));
        let router = Router::new()
            .route("/token", post(answer))
            .with_state(Arc::clone(&book));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(async move {
            axum::serve(listener, router).await.expect("served");
        });
        TokenEndpoint {
            address,
            book,
            server,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.book.lock().unwrap().asked.clone()
    }

    /// From now on nobody is answered.
    pub(crate) fn stall(&self) -> Stall {
        let (end, stalls) = tokio::sync::watch::channel(());
        self.book.lock().unwrap().stalls = Some(stalls);
        Stall { _end: end }
    }

    /// From now on `invalid_client`, or tokens again.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.book.lock().unwrap().refuse = refuse;
    }
}

impl Drop for TokenEndpoint {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn answer(State(book): State<Arc<Mutex<Book>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 * 1024).await.expect("a form");
    let form = url::form_urlencoded::parse(&body).into_owned().collect();
    let (headers, shared) = (head.headers, book);
    let stalls = {
        let mut book = shared.lock().unwrap();
        book.asked.push(Asked { headers, form });
        book.stalls.clone()
    };
    if let Some(mut stalls) = stalls {
        // It changes never, and ends with the stall.
        let _ = stalls.changed().await;
    }
    let book = shared.lock().unwrap();
    if book.refuse {
        let body = axum::Json(json!({"error": "invalid_client"}));
        return (StatusCode::UNAUTHORIZED, body).into_response();
    }
    let token = format!("token-{}", book.asked.len());
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": 3600});
    axum::Json(body).into_response()
}
