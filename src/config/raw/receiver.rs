//! One receiver as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::domain::ReceiverKind;
use super::text::{DurationText, PathText, RawSecret};

/// Who gets the SETs.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawReceiver {
    /// The protocol: `rfc8935` is push-based SET delivery, which Okta speaks.
    #[serde(default = "default_kind")]
    pub(crate) kind: ReceiverKind,
    /// Where SETs are posted; for Okta `https://ORG/security/api/v1/security-events`.
    pub(crate) url: String,
    /// How we authenticate; default not at all (Okta: the signature is the credential).
    #[serde(default)]
    pub(crate) auth: RawAuth,
    /// Extra trust, and our own certificate.
    #[serde(default)]
    pub(crate) tls: RawTls,
    /// A proxy's URL, or `none`; default as HTTPS_PROXY and NO_PROXY say. May be `file:/path`.
    #[serde(skip_serializing)]
    pub(crate) proxy: Option<RawSecret>,
    /// TCP and TLS have to be up by then.
    #[serde(default = "default_connect_timeout")]
    pub(crate) connect_timeout: DurationText,
    /// The whole request has to be answered by then.
    #[serde(default = "default_request_timeout")]
    pub(crate) request_timeout: DurationText,
    /// SETs per second to this scheme, host and port, for all streams together; default only the
    /// receiver's own headers pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1_000_000))]
    pub(crate) rate: Option<f64>,
    /// Allow plain http beyond loopback: SETs can then be read on the way.
    #[serde(default)]
    pub(crate) allow_http: bool,
}

fn default_kind() -> ReceiverKind {
    ReceiverKind::Rfc8935
}

fn default_connect_timeout() -> DurationText {
    "5s".into()
}

fn default_request_timeout() -> DurationText {
    "10s".into()
}

/// How we authenticate: one of these, or none.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawAuth {
    /// A fixed header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<RawHeaderAuth>,
    /// OAuth 2.0 client credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oauth2: Option<RawOAuth2>,
}

/// A fixed header.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawHeaderAuth {
    /// The header's name.
    #[serde(default = "default_header")]
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$"),
        extend("x-mend" = "write a header name such as Authorization")
    )]
    pub(crate) name: String,
    /// Its value, e.g. `file:/run/secrets/authorization` with `Bearer …` in it.
    #[serde(skip_serializing)]
    pub(crate) value: RawSecret,
}

fn default_header() -> String {
    "Authorization".into()
}

/// OAuth 2.0 client credentials.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawOAuth2 {
    /// Where tokens are fetched.
    pub(crate) token_url: String,
    /// The client.
    #[schemars(length(min = 1))]
    pub(crate) client_id: String,
    /// Its secret. Either this or `private_key_file`.
    #[serde(skip_serializing)]
    pub(crate) client_secret: Option<RawSecret>,
    /// Its private key (`private_key_jwt`), PEM or JWK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) private_key_file: Option<PathText>,
    /// `kid` of the assertions that the private key signs; default the JWK's own, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub(crate) private_key_id: Option<String>,
    /// Scopes to ask for.
    #[serde(default)]
    #[schemars(inner(regex(pattern = r"^[!#-\[\]-~]+$")))]
    pub(crate) scopes: Vec<String>,
}

/// TLS towards the receiver.
#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RawTls {
    /// PEM with certificates to trust besides the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathText>,
    /// PEM with our certificate, the leaf first (mutual TLS).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_file: Option<PathText>,
    /// PEM with our certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathText>,
}
