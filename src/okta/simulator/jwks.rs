//! The transmitter's public keys, as a receiver gets them: by URL, cached, fetched again for an unknown
//! `kid`; or given.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, JwkSet};
use reqwest::Client;
use tokio::sync::RwLock;
use url::Url;

/// Longest JWKS that is read, in bytes.
const MAX_JWKS: usize = 1024 * 1024;

/// Where the keys of a provider are.
#[derive(Debug, Clone)]
pub enum JwksSource {
    /// Fetched over HTTP.
    Url(Url),
    /// Known; never fetched.
    Given(Box<JwkSet>),
}

/// An RSA public key, big-endian.
#[derive(Debug, Clone)]
pub(super) struct PublicKey {
    pub(super) n: Vec<u8>,
    pub(super) e: Vec<u8>,
}

/// Keys by `kid`.
type Keys = HashMap<String, Arc<PublicKey>>;

/// The keys of one provider.
#[derive(Debug)]
pub(super) struct KeyCache {
    client: Client,
    source: JwksSource,
    keys: RwLock<Keys>,
}

impl KeyCache {
    pub(super) fn new(client: Client, source: JwksSource) -> Self {
        let keys = match &source {
            JwksSource::Url(_) => Keys::new(),
            JwksSource::Given(set) => rsa_keys(set),
        };
        Self {
            client,
            source,
            keys: RwLock::new(keys),
        }
    }

    /// The key named `kid`; `None` when the provider's JWKS has none, or cannot be fetched.
    pub(super) async fn find(&self, kid: &str) -> Option<Arc<PublicKey>> {
        if let Some(key) = self.keys.read().await.get(kid) {
            return Some(Arc::clone(key));
        }
        let JwksSource::Url(url) = &self.source else {
            return None;
        };
        // One fetch at a time; who waited looks again first.
        let mut keys = self.keys.write().await;
        if !keys.contains_key(kid)
            && let Some(fetched) = fetch(&self.client, url).await
        {
            *keys = fetched;
        }
        keys.get(kid).map(Arc::clone)
    }
}

/// A client for JWKS; plain http needs no certificate authorities, so a machine without any will do.
pub(super) fn client() -> reqwest::Result<Client> {
    let builder = Client::builder()
        .timeout(Duration::from_secs(5))
        .redirect(reqwest::redirect::Policy::none());
    builder
        .no_proxy()
        .build()
        .or_else(|_| Client::builder().no_proxy().tls_certs_only([]).build())
}

async fn fetch(client: &Client, url: &Url) -> Option<Keys> {
    let mut response = client
        .get(url.clone())
        .header("accept", "application/json")
        .send()
        .await
        .ok()?;
    if response.status() != reqwest::StatusCode::OK {
        return None;
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_JWKS {
            return None;
        }
    }
    serde_json::from_slice::<JwkSet>(&body)
        .ok()
        .map(|set| rsa_keys(&set))
}

fn rsa_keys(set: &JwkSet) -> Keys {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let mut keys = Keys::new();
    for jwk in &set.keys {
        let (Some(kid), AlgorithmParameters::RSA(rsa)) = (&jwk.common.key_id, &jwk.algorithm)
        else {
            continue;
        };
        if let (Some(n), Some(e)) = (decode(&rsa.n), decode(&rsa.e)) {
            keys.insert(kid.clone(), Arc::new(PublicKey { n, e }));
        }
    }
    keys
}
