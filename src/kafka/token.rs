//! The OAUTHBEARER token for Kafka, read from a file that somebody else keeps fresh (a projected service-account
//! token, a side-car): librdkafka's own OIDC client needs libcurl, which we do not link.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use thiserror::Error;

/// Why there is no token.
#[derive(Debug, Error)]
pub(crate) enum TokenError {
    /// `kafka.oauthbearer_token_file` is not set.
    #[error("sasl.mechanism is OAUTHBEARER, but kafka.oauthbearer_token_file is not set")]
    NoFile,
    /// The file cannot be read.
    #[error("the OAUTHBEARER token file cannot be read")]
    Unreadable(#[from] std::io::Error),
    /// The file holds no JWT with `sub` and `exp`.
    #[error("the OAUTHBEARER token file holds no JWT with the claims sub and exp")]
    NotAJwt,
}

/// Reads the token; principal and lifetime are those of its claims `sub` and `exp` (seconds since 1970).
pub(crate) fn read(file: Option<&Path>) -> Result<OAuthToken, TokenError> {
    let token = std::fs::read_to_string(file.ok_or(TokenError::NoFile)?)?
        .trim()
        .to_owned();
    let claims = token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let claims: serde_json::Value = claims
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(TokenError::NotAJwt)?;
    let principal_name = claims["sub"]
        .as_str()
        .ok_or(TokenError::NotAJwt)?
        .to_owned();
    let lifetime_ms = claims["exp"]
        .as_i64()
        .and_then(|s| s.checked_mul(1000))
        .ok_or(TokenError::NotAJwt)?;
    Ok(OAuthToken {
        token,
        principal_name,
        lifetime_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_principal_and_lifetime_from_the_claims() -> Result<(), Box<dyn std::error::Error>> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("token");
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"bridge","exp":1900000000}"#);
        std::fs::write(&file, format!("e30.{claims}.c2ln\n"))?;
        let token = read(Some(&file))?;
        assert_eq!(
            (token.principal_name.as_str(), token.lifetime_ms),
            ("bridge", 1_900_000_000_000)
        );
        std::fs::write(&file, "not a token")?;
        assert!(matches!(read(Some(&file)), Err(TokenError::NotAJwt)));
        assert!(matches!(read(None), Err(TokenError::NoFile)));
        Ok(())
    }
}
