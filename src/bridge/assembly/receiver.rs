//! A receiver's configuration → the settings of its client.

use crate::config::{self, AuthConfig, ProxyConfig, ReceiverConfig, RetryConfig};
use crate::delivery::ReceiverSettings;
use crate::delivery::auth::{
    AssertionKey, AuthSettings, ClientCredential, OAuthSettings, SecretStyle,
};
use crate::delivery::receiver::{ClientCertificate, ProxySettings};
use crate::delivery::target::TargetUrl;
use crate::signing::KeySource;

pub(in crate::bridge) fn settings(
    config: &ReceiverConfig,
    retry: &RetryConfig,
) -> Result<ReceiverSettings, String> {
    let url = |url: &url::Url| {
        TargetUrl::parse(url.as_str(), config.allow_http).map_err(|error| error.to_string())
    };
    let auth = match &config.auth {
        AuthConfig::None => AuthSettings::None,
        AuthConfig::Header { name, value } => {
            let name = name
                .parse()
                .map_err(|_| format!("{name} is no header name"))?;
            AuthSettings::Header {
                name,
                value: value.clone(),
            }
        }
        AuthConfig::OAuth2 {
            token_url,
            client_id,
            credential,
            scopes,
        } => AuthSettings::OAuth(Box::new(OAuthSettings {
            token_url: url(token_url)?,
            client_id: client_id.clone(),
            credential: credential_of(credential)?,
            scopes: scopes.clone(),
            assertion_audience: None,
        })),
    };
    Ok(ReceiverSettings {
        auth,
        connect_timeout: config.connect_timeout,
        total_timeout: config.request_timeout,
        ca_files: config.tls.ca_file.iter().cloned().collect(),
        client_certificate: config.tls.client.as_ref().map(|client| ClientCertificate {
            certificate: client.certificate_file.clone(),
            key: client.key_file.clone(),
        }),
        proxy: match &config.proxy {
            ProxyConfig::Environment => ProxySettings::Environment,
            ProxyConfig::Direct => ProxySettings::Direct,
            ProxyConfig::Url(proxy) => ProxySettings::Url(proxy.clone()),
        },
        advice_cap: retry.max_advised_delay,
        ..ReceiverSettings::new(url(&config.url)?)
    })
}

fn credential_of(credential: &config::ClientCredential) -> Result<ClientCredential, String> {
    match credential {
        config::ClientCredential::Secret(secret) => Ok(ClientCredential::Secret {
            secret: secret.clone(),
            style: SecretStyle::Basic,
        }),
        config::ClientCredential::PrivateKey { file, kid } => {
            let mut source = KeySource::new(file);
            source.kid = kid.clone();
            AssertionKey::load(&source)
                .map(ClientCredential::PrivateKey)
                .map_err(|error| crate::telemetry::chain(&error))
        }
    }
}
