//! Hears what librdkafka says about a reader: why nothing comes in.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

use crate::kafka::client::{self, Trouble, code_of};
use crate::kafka::token;

/// See the module.
pub(super) struct Listener {
    token_file: Option<PathBuf>,
    /// The last global error: why nothing comes in.
    said: Mutex<Option<(Trouble, String)>>,
}

impl Listener {
    pub(super) fn new(token_file: Option<PathBuf>) -> Self {
        Self {
            token_file,
            said: Mutex::default(),
        }
    }

    pub(super) fn said(&self) -> Option<(Trouble, String)> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }
}

impl ClientContext for Listener {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let trouble = code_of(&error).map_or(Trouble::Other, Trouble::of);
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers are down" comes last and says least.
        if said.is_none() || trouble.is_set_up() {
            *said = Some((trouble, reason.to_owned()));
        }
    }

    fn generate_oauth_token(
        &self,
        _configuration: Option<&str>,
    ) -> Result<OAuthToken, Box<dyn std::error::Error>> {
        Ok(token::read(self.token_file.as_deref())?)
    }
}

impl ConsumerContext for Listener {}
