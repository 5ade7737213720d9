//! A receiver that is reached only through a proxy: by the configuration, by the environment, and not at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use setbridge::okta::simulator::SET_PATH;

use crate::support::bridge::Bridge;
use crate::support::broker::{Broker, brokers};
use crate::support::configuration::{Configuration, ISSUER};
use crate::support::numbered::{all_taken, wave};
use crate::support::one_stream::OneStream;
use crate::support::proxy::{Connected, Proxy};
use crate::support::tls_front::TlsFront;

/// The stream's receiver speaks TLS, and a proxy is there.
struct Proxied {
    /// The mock cluster ends with it
    _broker: Broker,
    one: OneStream,
    front: TlsFront,
    proxy: Proxy,
}

impl Proxied {
    async fn new() -> Proxied {
        let broker = brokers().remove(0);
        let mut one = OneStream::on(&broker, 1).await;
        let folder = one.configuration.folder().to_owned();
        let front = TlsFront::start(&folder, one.org.address()).await;
        one.org
            .register(ISSUER, &front.origin, one.configuration.jwks());
        one.configuration = one
            .configuration
            .set(
                "streams.0.receiver.url",
                format!("{}{SET_PATH}", front.origin),
            )
            .set(
                "streams.0.receiver.tls.ca_file",
                front.ca.display().to_string(),
            );
        let proxy = Proxy::start().await;
        Proxied {
            _broker: broker,
            one,
            front,
            proxy,
        }
    }

    /// Delivers, and returns to whom the proxy was asked to connect meanwhile.
    async fn deliver(&self, configuration: &Configuration, proxy: &str) -> Vec<Connected> {
        let environment = [("HTTPS_PROXY", proxy)];
        let mut bridge = Bridge::start_in(configuration, &environment).await;
        self.one.produce(wave(5, 0..1)).await;
        all_taken(&self.one.org, 5, || bridge.log_text()).await;
        self.one.all_committed(5).await;
        bridge.drain().await;
        let log = bridge.log_text();
        assert!(!log.contains("pr0xy-secret"), "{log}");
        self.proxy.connected()
    }

    /// Every connection led to the receiver, with these credentials.
    fn assert_tunnelled(&self, connected: &[Connected], credentials: Option<&str>) {
        let receiver = self.front.origin.strip_prefix("https://").unwrap();
        let expected = Connected {
            to: receiver.to_owned(),
            credentials: credentials.map(|c| format!("Basic {}", STANDARD.encode(c))),
        };
        assert!(!connected.is_empty(), "nobody came through the proxy");
        assert!(connected.iter().all(|c| *c == expected), "{connected:?}");
    }
}

#[tokio::test]
async fn the_proxy_of_the_receiver_is_used_with_its_credentials() {
    let proxied = Proxied::new().await;
    let url = format!("http://bridge:pr0xy-secret@{}", proxied.proxy.address());
    let configuration = proxied.one.configuration.clone();
    let configuration = configuration.set("streams.0.receiver.proxy", url);
    // What the configuration says goes before what the environment says.
    let connected = proxied.deliver(&configuration, "http://127.0.0.1:1").await;
    proxied.assert_tunnelled(&connected, Some("bridge:pr0xy-secret"));
}

#[tokio::test]
async fn https_proxy_is_used_when_the_configuration_says_nothing() {
    let proxied = Proxied::new().await;
    let url = format!("http://bridge:pr0xy-secret@{}", proxied.proxy.address());
    let connected = proxied.deliver(&proxied.one.configuration, &url).await;
    proxied.assert_tunnelled(&connected, Some("bridge:pr0xy-secret"));
}

#[tokio::test]
async fn proxy_none_goes_past_https_proxy() {
    let proxied = Proxied::new().await;
    let url = format!("http://{}", proxied.proxy.address());
    let configuration = proxied.one.configuration.clone();
    let configuration = configuration.set("streams.0.receiver.proxy", "none");
    let connected = proxied.deliver(&configuration, &url).await;
    assert_eq!(connected, [], "nobody comes through the proxy");
}

#[tokio::test]
async fn a_proxy_that_is_down_is_retried_and_nothing_goes_past_it() {
    let proxied = Proxied::new().await;
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let configuration = proxied.one.configuration.clone();
    let configuration = configuration.set("streams.0.receiver.proxy", format!("http://{gone}"));
    let mut bridge = Bridge::start(&configuration).await;
    proxied.one.produce(wave(1, 0..1)).await;
    let retries = [("stream", "okta"), ("fault", "connect")];
    bridge
        .metric("setbridge_push_retries_total", &retries, |sum| sum >= 3.0)
        .await;
    assert_eq!(proxied.one.org.tally().requests, 0);
    bridge.held("okta", None).await;
    bridge.drain().await;
}
