//! What every librdkafka client of ours has in common: its properties, its log lines, and how its errors are read.
//!
//! Must never print a property value: passwords are among them.

use std::path::PathBuf;

use rdkafka::ClientConfig;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::token;
use crate::ffi;

/// How to reach a Kafka cluster: librdkafka properties, already merged (ours below the operator's).
#[derive(Clone)]
pub struct KafkaClient {
    properties: Vec<(String, String)>,
    token_file: Option<PathBuf>,
}

impl std::fmt::Debug for KafkaClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .properties
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        f.debug_struct("KafkaClient")
            .field("properties", &names)
            .finish()
    }
}

impl KafkaClient {
    /// A client of the cluster at `bootstrap` (`host:port[,…]`) with the operator's own librdkafka properties.
    #[must_use]
    pub fn new(
        bootstrap: &str,
        client_id: &str,
        operator: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let mut properties = vec![
            ("bootstrap.servers".to_owned(), bootstrap.to_owned()),
            ("client.id".to_owned(), client_id.to_owned()),
            ("client.software.name".to_owned(), "setbridge".to_owned()),
            (
                "client.software.version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            ),
            ("log.connection.close".to_owned(), "false".to_owned()),
            // A topic that is created after the start is picked up within 10 s; the default is 5 minutes.
            (
                "topic.metadata.refresh.interval.ms".to_owned(),
                "8000".to_owned(),
            ),
            (
                "topic.metadata.propagation.max.ms".to_owned(),
                "2000".to_owned(),
            ),
            // Reconnect soon: an identity provider waits for these events.
            ("reconnect.backoff.max.ms".to_owned(), "5000".to_owned()),
        ];
        properties.extend(operator);
        Self {
            properties,
            token_file: None,
        }
    }

    /// The same with a file that holds an OAUTHBEARER token.
    #[must_use]
    pub fn with_token_file(mut self, file: Option<PathBuf>) -> Self {
        self.token_file = file;
        self
    }

    /// Where the OAUTHBEARER token is, for a client that asks for it itself.
    pub(super) fn token_file(&self) -> Option<PathBuf> {
        self.token_file.clone()
    }

    /// Gives the token to a client that only asks or creates: nobody polls it, so it never asks for one itself.
    pub(super) fn authenticate<C: ClientContext>(
        &self,
        client: &Client<C>,
    ) -> Result<(), KafkaError> {
        let Some(file) = &self.token_file else {
            return Ok(());
        };
        let token = token::read(Some(file)).map_err(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no OAUTHBEARER token"
            );
            KafkaError::Global(RDKafkaErrorCode::Authentication)
        })?;
        ffi::give_token(client, &token)
    }

    /// A librdkafka configuration with these properties. Later properties win over earlier ones.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

/// Why a Kafka client cannot do its work at present, by who must act (DESIGN P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// SASL said no: user, password, token or mechanism.
    Auth,
    /// The TLS handshake failed: certificate, CA or protocol.
    Tls,
    /// An ACL is missing on the topic or the group.
    Acl,
    /// A topic of the stream does not exist (yet).
    UnknownTopic,
    /// No broker answers, or not the one that could. The moment's fault: librdkafka goes on trying.
    Unreachable,
    /// Anything else: logged and counted, librdkafka goes on.
    Other,
}

impl Trouble {
    /// Every kind, so that metrics can start each at 0.
    pub const ALL: [Self; 6] = [
        Self::Auth,
        Self::Tls,
        Self::Acl,
        Self::UnknownTopic,
        Self::Unreachable,
        Self::Other,
    ];

    /// Reads a librdkafka error code and the text beside it.
    #[must_use]
    pub fn of(code: RDKafkaErrorCode) -> Self {
        use RDKafkaErrorCode as Code;
        match code {
            Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
            | Code::SecurityDisabled => Self::Auth,
            Code::SSL => Self::Tls,
            Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed => Self::Acl,
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                Self::UnknownTopic
            }
            Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::NetworkException
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            // Another broker answers, as soon as everybody knows which.
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::ReplicaNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::KafkaStorageError
            | Code::RequestTimedOut => Self::Unreachable,
            _ => Self::Other,
        }
    }

    /// The label of this trouble in metrics and, for the set-up's faults, the hold's reason.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "kafka_auth",
            Self::Tls => "kafka_tls",
            Self::Acl => "kafka_acl",
            Self::UnknownTopic => "kafka_unknown_topic",
            Self::Unreachable => "kafka_unreachable",
            Self::Other => "kafka_other",
        }
    }

    /// Whether the stream's set-up is at fault, so that the stream is held until somebody mends it.
    #[must_use]
    pub fn is_set_up(self) -> bool {
        matches!(
            self,
            Self::Auth | Self::Tls | Self::Acl | Self::UnknownTopic
        )
    }
}

/// The librdkafka code inside an error, where there is one.
#[must_use]
pub fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    error.rdkafka_error_code()
}

/// Writes a librdkafka log line to our log.
pub fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
            tracing::debug!(target: "librdkafka", facility, "{line}");
        }
        RDKafkaLogLevel::Debug => tracing::trace!(target: "librdkafka", facility, "{line}"),
    }
}
