//! Who may act: whoever shows the token of `admin.token`.

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, header};

use crate::secret::{Secret, SecretError};

/// The token in force, if there is one.
pub struct Token(ArcSwapOption<Secret>);

/// Why somebody may not act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denied {
    /// Nobody may: no token is configured.
    NoToken,
    /// No token was shown.
    NotShown,
    /// Another one was.
    Wrong,
}

impl Token {
    /// With this secret; [`None`]: nobody may act.
    #[must_use]
    pub fn new(secret: Option<Secret>) -> Self {
        Self(ArcSwapOption::from_pointee(secret))
    }

    /// Reads its file again; the old one stays when that fails.
    ///
    /// # Errors
    /// As [`Secret::from_file`].
    pub fn reload(&self) -> Result<(), SecretError> {
        if let Some(secret) = self.0.load_full() {
            self.0.store(Some(secret.read_again()?.into()));
        }
        Ok(())
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let secret = self.0.load();
        let secret = secret.as_deref().ok_or(Denied::NoToken)?;
        let shown = headers.get(header::AUTHORIZATION).ok_or(Denied::NotShown)?;
        let shown = shown.as_bytes();
        let (scheme, shown) = shown.split_at_checked(7).ok_or(Denied::NotShown)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(Denied::NotShown);
        }
        // Of digests, so that the time tells nothing about the length either.
        let [shown, wanted] = [shown, secret.reveal().as_bytes()].map(|text| digest(&SHA256, text));
        verify_slices_are_equal(shown.as_ref(), wanted.as_ref()).map_err(|_| Denied::Wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_very_token_opens() {
        let token = Token::new(Some(Secret::literal("0123456789abcdef")));
        let check = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            }
            token.check(&headers)
        };
        assert_eq!(check(Some("Bearer 0123456789abcdef")), Ok(()));
        assert_eq!(check(Some("bearer 0123456789abcdef")), Ok(()));
        for wrong in [
            "",
            "0123456789abcde",
            "0123456789abcdeF",
            "0123456789abcdef0",
        ] {
            let wrong = format!("Bearer {wrong}");
            assert_eq!(check(Some(&wrong)), Err(Denied::Wrong), "{wrong}");
        }
        for other in ["0123456789abcdef", "Basic 0123456789abcdef", "Bear"] {
            assert_eq!(check(Some(other)), Err(Denied::NotShown), "{other}");
        }
        assert_eq!(check(None), Err(Denied::NotShown));
        let nobody = Token::new(None);
        assert_eq!(nobody.check(&HeaderMap::new()), Err(Denied::NoToken));
    }

    #[test]
    fn a_file_is_read_again_and_a_missing_one_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "0123456789abcdef\n").expect("written");
        let token = Token::new(Some(Secret::from_file(&path).expect("read")));
        let check = |value: &str| {
            let headers = [(header::AUTHORIZATION, value.parse().expect("a header"))];
            token.check(&headers.into_iter().collect())
        };
        std::fs::write(&path, "fedcba9876543210\n").expect("written");
        assert_eq!(check("Bearer 0123456789abcdef"), Ok(()));
        token.reload().expect("read again");
        assert_eq!(check("Bearer 0123456789abcdef"), Err(Denied::Wrong));
        std::fs::remove_file(&path).expect("removed");
        token.reload().expect_err("it is gone");
        assert_eq!(check("Bearer fedcba9876543210"), Ok(()));
    }
}
