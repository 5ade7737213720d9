//! One connection to the server, or to the nodes of a cluster. One call is one round trip; what
//! fails is told, never tried again here, so that whoever asks keeps the order.

use std::{fs, path::Path, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    IntoConnectionInfo as _, Pipeline, RedisConnectionInfo, RedisError, TlsCertificates, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::time::timeout;

use super::{
    scripts::{Loaded, Script},
    settings::{RedisAddress, RedisSettings, RedisTls},
    trouble,
};
use crate::state::StateError;

/// The version of the spelling of keys and values. 2: tenures name their owner.
const SCHEMA: i64 = 2;

/// Whether we read what is spelled in this version: of older ones all is read as it is.
pub(super) fn check_schema(found: i64, at: &Arc<str>) -> Result<(), StateError> {
    if found <= SCHEMA {
        return Ok(());
    }
    Err(StateError::RemoteNewer {
        at: Arc::clone(at),
        found,
        known: SCHEMA,
    })
}

/// A connection with its scripts loaded, if it is to write.
pub(super) struct Link {
    connection: Connection,
    loaded: Loaded,
    request_timeout: Duration,
    at: Arc<str>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// It calls scripts.
    Work,
    /// It only reads.
    Look,
}

enum Connection {
    Single(MultiplexedConnection),
    Cluster(Box<ClusterConnection>),
}

/// What the server that keeps a stream told about itself. Empty when we may not ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Server {
    /// Names this run of the server.
    pub(super) run_id: String,
    /// What happens when its memory is full.
    pub(super) maxmemory_policy: String,
    /// Whether it can be full.
    pub(super) maxmemory: u64,
    /// Whether writes go to an append-only file.
    pub(super) aof_enabled: bool,
}

impl Link {
    /// Connects, logs in and loads the scripts.
    pub(super) async fn open(settings: &RedisSettings, at: &Arc<str>) -> Result<Self, StateError> {
        Self::open_for(Purpose::Work, settings, at).await
    }

    /// Connects and logs in, for plain reads only.
    pub(super) async fn open_to_look(
        settings: &RedisSettings,
        at: &Arc<str>,
    ) -> Result<Self, StateError> {
        Self::open_for(Purpose::Look, settings, at).await
    }

    async fn open_for(
        purpose: Purpose,
        settings: &RedisSettings,
        at: &Arc<str>,
    ) -> Result<Self, StateError> {
        let mut last = None;
        for address in first_or_each(settings) {
            match Self::connect(purpose, settings, address, at).await {
                Ok(link) => return Ok(link),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(StateError::Stopped))
    }

    async fn connect(
        purpose: Purpose,
        settings: &RedisSettings,
        addresses: &[RedisAddress],
        at: &Arc<str>,
    ) -> Result<Self, StateError> {
        let nodes = nodes(settings, addresses).map_err(|error| trouble::of(error, at))?;
        let certificates = match &settings.tls {
            Some(tls) => Some(certificates(tls, at)?),
            None => None,
        };
        let connecting = async {
            let connection = if settings.cluster {
                cluster(settings, nodes, certificates).await?
            } else {
                single(settings, nodes, certificates).await?
            };
            let mut link = Self {
                connection,
                loaded: Loaded::default(),
                request_timeout: settings.request_timeout,
                at: Arc::clone(at),
            };
            if settings.addresses.len() > 1 && !settings.cluster {
                link.must_be_primary().await?;
            }
            if purpose == Purpose::Work {
                link.load_scripts().await?;
            }
            Ok::<_, RedisError>(link)
        };
        match timeout(settings.connect_timeout, connecting).await {
            Ok(Ok(link)) => Ok(link),
            Ok(Err(error)) => Err(trouble::of(error, at)),
            Err(_) => Err(trouble::silent(settings.connect_timeout, at)),
        }
    }

    /// Checks the version of what is there about a stream, and tells about the server that keeps it.
    pub(super) async fn open_stream(&mut self, stream_key: &str) -> Result<Server, StateError> {
        let mut call = self.loaded.call(Script::Open, &[stream_key]);
        call.arg(SCHEMA);
        let answers = self.send(&[call]).await?;
        let [Value::Array(found)] = answers.as_slice() else {
            return Err(trouble::strange(&self.at));
        };
        let texts: Vec<String> = found.iter().map(text_of).collect();
        let found: i64 = texts
            .first()
            .and_then(|version| version.parse().ok())
            .ok_or_else(|| trouble::strange(&self.at))?;
        check_schema(found, &self.at)?;
        let info = texts.get(1..).unwrap_or_default().concat();
        let said = |name: &str| {
            let mut lines = info.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.unwrap_or_default().trim().to_owned()
        };
        Ok(Server {
            run_id: said("run_id"),
            maxmemory_policy: said("maxmemory_policy"),
            maxmemory: said("maxmemory").parse().unwrap_or(0),
            aof_enabled: said("aof_enabled") == "1",
        })
    }

    /// A call of a script.
    pub(super) fn call(&self, script: Script, keys: &[&str]) -> Cmd {
        self.loaded.call(script, keys)
    }

    /// Sends the commands in order in one go and returns their answers, all good. When the server
    /// has forgotten the scripts it gets them again, and everything is sent once more.
    ///
    /// # Errors
    /// The first thing that went wrong; any of the commands may have been carried out all the same.
    pub(super) async fn send(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, StateError> {
        let at = Arc::clone(&self.at);
        let limit = self.request_timeout;
        let exchange = async {
            let answers = self.exchange(commands).await?;
            if !answers.iter().any(trouble::is_no_script) {
                return Ok(answers);
            }
            // A script's name is the hash of its source, so the commands stay as they are.
            self.load_scripts().await?;
            self.exchange(commands).await
        };
        let answers = match timeout(limit, exchange).await {
            Ok(answers) => answers.map_err(|error| trouble::of(error, &at))?,
            Err(_) => return Err(trouble::silent(limit, &at)),
        };
        if answers.len() != commands.len() {
            return Err(trouble::strange(&at));
        }
        answers
            .into_iter()
            .map(|answer| {
                answer
                    .extract_error()
                    .map_err(|error| trouble::of(error, &at))
            })
            .collect()
    }

    async fn exchange(&mut self, commands: &[Cmd]) -> Result<Vec<Value>, RedisError> {
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        match &mut self.connection {
            Connection::Single(c) => c.req_packed_commands(&pipeline, 0, commands.len()).await,
            Connection::Cluster(c) => c.req_packed_commands(&pipeline, 0, commands.len()).await,
        }
    }

    /// Of several servers only one takes writes.
    async fn must_be_primary(&mut self) -> Result<(), RedisError> {
        let mut ask = redis::cmd("INFO");
        ask.arg("replication");
        let told = self.exchange(&[ask]).await?;
        let told = told.first().map(text_of).unwrap_or_default();
        if told.lines().any(|line| line.trim() == "role:slave") {
            return Err(std::io::Error::other("it is a replica").into());
        }
        Ok(())
    }

    async fn load_scripts(&mut self) -> Result<(), RedisError> {
        for script in Script::ALL {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script.source());
            let sha: String = match &mut self.connection {
                Connection::Single(connection) => load.query_async(connection).await?,
                Connection::Cluster(connection) => load.query_async(&mut **connection).await?,
            };
            self.loaded.note(script, sha);
        }
        Ok(())
    }
}

/// A cluster's nodes are asked together, others one after the other.
fn first_or_each(settings: &RedisSettings) -> Vec<&[RedisAddress]> {
    if settings.cluster {
        vec![&settings.addresses]
    } else {
        settings.addresses.chunks(1).collect()
    }
}

fn nodes(
    settings: &RedisSettings,
    addresses: &[RedisAddress],
) -> Result<Vec<ConnectionInfo>, RedisError> {
    // Its name is nothing that we need to tell, and the ACL rule is shorter without.
    let mut log_in = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(username) = &settings.username {
        log_in = log_in.set_username(username);
    }
    if let Some(password) = &settings.password {
        // When the file is gone for a moment, the password that we know is as good as any.
        let password = password.read_again().unwrap_or_else(|_| password.clone());
        log_in = log_in.set_password(password.reveal());
    }
    let node = |address: &RedisAddress| {
        let (host, port) = (address.host.clone(), address.port);
        let address = match settings.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        Ok(address
            .into_connection_info()?
            .set_redis_settings(log_in.clone()))
    };
    addresses.iter().map(node).collect()
}

/// Whether the files for TLS can be used.
///
/// # Errors
/// What a connection would fail with.
pub(super) fn check_files(settings: &RedisSettings) -> Result<(), StateError> {
    let Some(tls) = &settings.tls else {
        return Ok(());
    };
    let at = settings.at().into();
    let certificates = certificates(tls, &at)?;
    let nodes = nodes(settings, &settings.addresses).map_err(|error| trouble::of(error, &at))?;
    for node in nodes {
        Client::build_with_tls(node, certificates.clone())
            .map_err(|error| trouble::of(error, &at))?;
    }
    Ok(())
}

fn certificates(tls: &RedisTls, at: &Arc<str>) -> Result<TlsCertificates, StateError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|source| StateError::RemoteFile {
            path: path.to_owned(),
            at: Arc::clone(at),
            source: Arc::new(source),
        })
    };
    let client_tls = match &tls.identity {
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read(certificate)?,
            client_key: read(key)?,
        }),
        None => None,
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert: tls.ca_file.as_deref().map(read).transpose()?,
    })
}

async fn single(
    settings: &RedisSettings,
    nodes: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
) -> Result<Connection, RedisError> {
    let Some(node) = nodes.into_iter().next() else {
        return Err(std::io::Error::other("no address").into());
    };
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(node, certificates)?,
        None => Client::open(node)?,
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.connect_timeout))
        .set_response_timeout(Some(settings.request_timeout));
    let connection = client
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    Ok(Connection::Single(connection))
}

async fn cluster(
    settings: &RedisSettings,
    nodes: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
) -> Result<Connection, RedisError> {
    let mut client = ClusterClient::builder(nodes)
        // What is tried again is tried by the one who keeps the order.
        .retries(0)
        .connection_timeout(settings.connect_timeout)
        .response_timeout(settings.request_timeout);
    if let Some(certificates) = certificates {
        client = client.certs(certificates);
    }
    let connection = client.build()?.get_async_connection().await?;
    Ok(Connection::Cluster(Box::new(connection)))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::VerbatimString { text, .. } => text.clone(),
        _ => String::new(),
    }
}

impl Server {
    /// Whether both are the same run of one server, so that nothing acknowledged can be lost.
    pub(super) fn is_same_run(&self, other: &Self) -> bool {
        !self.run_id.is_empty() && self.run_id == other.run_id
    }

    /// Says once what an operator should mend: nothing of it stops us.
    pub(super) fn warn(&self, at: &str) {
        let evicts = self.maxmemory > 0 && self.maxmemory_policy != "noeviction";
        if evicts {
            tracing::warn!(at, policy = %self.maxmemory_policy, "this Redis throws keys away when its memory is full, and jtis, levels and marks with them: set maxmemory-policy noeviction");
        }
        if !self.run_id.is_empty() && !self.aof_enabled {
            tracing::warn!(
                at,
                "this Redis has no append-only file: after a restart it has lost what was accepted since its last snapshot. Set appendonly yes"
            );
        }
    }
}
