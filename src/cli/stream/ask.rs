//! One question to the admin port of a running bridge, and what its answer means to a shell.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use reqwest::header::{HeaderValue, InvalidHeaderValue};
use serde_json::{Value, json};
use url::Url;

use crate::cli::Exit;
use crate::secret::Secret;
use crate::telemetry::chain;

/// So long for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// So long for an answer. A rewind reads the topic first; the port's own limit on a connection is 5 minutes.
const ANSWER: Duration = Duration::from_secs(295);

/// Where a bridge has its admin port.
#[derive(Clone, Debug)]
pub(super) struct Address(Url);

impl Address {
    /// The port that listens there, as this machine reaches it.
    pub(super) fn of(listen: SocketAddr) -> Self {
        let host = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        let host = SocketAddr::new(host, listen.port());
        let url = format!("http://{host}/");
        #[expect(clippy::expect_used, reason = "an address and a port make a URL")]
        Self(url.parse().expect("a URL"))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let url: Url = url.parse().map_err(|error| format!("{error}"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err("write http://host:port".to_owned());
        }
        Ok(Self(url))
    }
}

/// Without user and password, which a URL may bring.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut url = self.0.clone();
        // Refused only for a URL without a host.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        f.write_str(url.as_str().trim_end_matches('/'))
    }
}

/// Why a bridge did not do what it was asked.
#[derive(Debug)]
pub(super) enum Refused {
    /// Nobody there, or no whole answer.
    NotReached(String),
    /// It said no, with this status, for this reason.
    Status(u16, String),
}

impl Refused {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Status(401 | 403, _) => Exit::Denied,
            Self::Status(400, _) => Exit::Usage,
            Self::Status(404, _) => Exit::NoInput,
            Self::Status(409 | 422, _) => Exit::Data,
            _ => Exit::Unavailable,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReached(why) => write!(f, "not reached: {why}"),
            Self::Status(_, why) => f.write_str(why),
        }
    }
}

/// What one bridge answered.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) address: Address,
    pub(super) answer: Result<Value, Refused>,
}

impl Answered {
    pub(super) fn to_json(&self) -> Value {
        let mut said = match &self.answer {
            Ok(answer) => answer.clone(),
            Err(Refused::NotReached(why)) => json!({"error": why, "reached": false}),
            Err(Refused::Status(status, why)) => json!({"error": why, "status": status}),
        };
        said["address"] = json!(self.address.to_string());
        said
    }
}

/// Asks about one stream.
pub(super) struct Asker {
    client: reqwest::Client,
    addresses: Vec<Address>,
    stream: String,
    bearer: HeaderValue,
}

/// No question can be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskerError {
    #[error("the token cannot travel in a header")]
    Token(#[source] InvalidHeaderValue),
    #[error("no HTTP client")]
    Client(#[source] reqwest::Error),
}

impl Asker {
    pub(super) fn new(
        addresses: Vec<Address>,
        stream: &str,
        token: Secret,
    ) -> Result<Self, AskerError> {
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
            .map_err(AskerError::Token)?;
        bearer.set_sensitive(true);
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("setbridge/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        // Plain http needs no certificate authorities, so a machine without any will do.
        if addresses.iter().all(|address| address.0.scheme() == "http") {
            client = client.tls_certs_only([]);
        }
        Ok(Self {
            client: client.build().map_err(AskerError::Client)?,
            addresses,
            stream: stream.to_owned(),
            bearer,
        })
    }

    /// Every address, all at once; the answers come in the order of the addresses.
    pub(super) async fn ask_all(&self, act: &str, body: &Value) -> Vec<Answered> {
        let all = self.addresses.iter();
        futures_util::future::join_all(all.map(|address| self.ask(address, act, body))).await
    }

    /// One address after the other, until one has done it.
    pub(super) async fn ask_until_done(&self, act: &str, body: &Value) -> Vec<Answered> {
        let mut answers = Vec::new();
        for address in &self.addresses {
            answers.push(self.ask(address, act, body).await);
            if answers.last().is_some_and(|last| last.answer.is_ok()) {
                break;
            }
        }
        answers
    }

    /// How many addresses there are.
    pub(super) fn addresses(&self) -> usize {
        self.addresses.len()
    }

    async fn ask(&self, address: &Address, act: &str, body: &Value) -> Answered {
        let mut url = address.0.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["streams", &self.stream, act]);
        }
        let question = self
            .client
            .post(url)
            .header(reqwest::header::AUTHORIZATION, self.bearer.clone())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let answer = async {
            let answer = question.send().await?;
            Ok((answer.status().as_u16(), answer.text().await?))
        };
        let not_reached = |error: reqwest::Error| Refused::NotReached(chain(&error.without_url()));
        let answer = answer.await.map_err(not_reached);
        Answered {
            address: address.clone(),
            answer: answer.and_then(|(status, text)| understand(status, &text)),
        }
    }
}

fn understand(status: u16, text: &str) -> Result<Value, Refused> {
    let said: Option<Value> = serde_json::from_str(text).ok();
    match said {
        Some(answer) if status == 200 || status == 202 => Ok(answer),
        said => {
            let why = said.as_ref().and_then(|said| said["error"].as_str());
            let why = why.map_or_else(
                || format!("HTTP {status}: is this the admin port of setbridge?"),
                str::to_owned,
            );
            Err(Refused::Status(status, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_password() {
        let shown = |text: &str| text.parse::<Address>().map(|at| at.to_string());
        let with = shown("http://user:secret@bridge.example.com:9090/");
        assert_eq!(with.as_deref(), Ok("http://bridge.example.com:9090"));
        let with = shown("user:secret@bridge.example.com:9090/behind");
        assert_eq!(with.as_deref(), Ok("http://bridge.example.com:9090/behind"));
    }
}
