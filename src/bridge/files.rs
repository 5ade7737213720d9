//! What `setbridge check` can tell about the files that a configuration names: they are read as a start would read
//! them, and nothing is started. No network: librdkafka is given no broker.

use std::io::ErrorKind;
use std::path::Path;

use super::assembly;
use crate::config::{
    AuthConfig, Config, KeysConfig, Mistake, MultiBufferUse, ReceiverConfig, RingConfig,
    StateConfig,
};
use crate::delivery::Receiver;
use crate::delivery::receiver::ReceiverError;
use crate::kafka::producer::AckedProducer;
use crate::kafka::token;
use crate::signing::{KeyError, MultiBuffer, Vault};
use crate::telemetry::chain;
use crate::transmitter::Identity;

/// Every file of `config` that a start would refuse, at the key that names it. Blocking.
#[must_use]
pub fn mistakes(config: &Config) -> Vec<Mistake> {
    let mut found = Vec::from_iter(kafka(config));
    found.extend(token(config));
    found.extend(signing(config));
    found.extend(vault(config));
    found.extend(tls(config));
    found.extend(multi_buffer(config));
    found.extend(state(config));
    for (index, stream) in config.streams.iter().enumerate() {
        let Err((key, message, mend)) = receiver(stream) else {
            continue;
        };
        let at = format!("/streams/{index}/receiver{key}");
        found.push(config.mistake(&at, message, mend));
    }
    found
}

/// librdkafka reads CA, certificate and key files when a client is made, and looks only then at what properties mean
/// together. So both kinds of clients are made as a start makes them.
fn kafka(config: &Config) -> Option<Mistake> {
    let client = assembly::client(config);
    let consumer = config.streams.first().map_or(Ok(()), |stream| {
        assembly::consumer(stream, config, client.clone()).try_out()
    });
    let producer = || AckedProducer::new(client).try_out();
    let message = consumer.and_then(|()| producer()).err()?.to_string();
    let named = config.kafka.properties.keys();
    let named = named.filter(|name| message.contains(name.as_str()));
    // The longest: `ssl.key` is part of `ssl.key.location`.
    let at = named.max_by_key(|name| name.len()).map_or_else(
        || "/kafka/properties".to_owned(),
        |name| format!("/kafka/properties/{name}"),
    );
    let mend = "mend or remove the property that librdkafka names; if it is a file, see that this user may read it";
    Some(config.mistake(&at, message, mend))
}

/// The OAUTHBEARER token: the one file of Kafka's that librdkafka does not read itself.
fn token(config: &Config) -> Option<Mistake> {
    let file = config.kafka.oauthbearer_token_file.as_deref();
    let properties = &config.kafka.properties;
    let (at, mend) = match file {
        Some(_) => (
            "/kafka/oauthbearer_token_file",
            "give a file with a JWT that has the claims sub and exp, which this user may read",
        ),
        None if ["sasl.mechanism", "sasl.mechanisms"]
            .iter()
            .filter_map(|name| properties.get(*name))
            .any(|mechanism| mechanism.reveal() == "OAUTHBEARER") =>
        {
            ("/kafka/properties", "set kafka.oauthbearer_token_file")
        }
        None => return None,
    };
    let error = token::read(file).err()?;
    Some(config.mistake(at, chain(&error), mend))
}

fn signing(config: &Config) -> Vec<Mistake> {
    let Err(errors) = assembly::signing::rings(config) else {
        return Vec::new();
    };
    let mistake = |(ring, error): &(usize, KeyError)| {
        let text = error.to_string();
        // Every message of `KeyError` is what is wrong, a semicolon, and the mend.
        let (message, mend) = text
            .split_once("; ")
            .unwrap_or((&text, "give a private key as PEM or JWK"));
        let at = key_at(&config.rings[*ring], error);
        config.mistake(&at, message, mend)
    };
    errors.iter().map(mistake).collect()
}

/// The key that names what is wrong with the ring.
fn key_at(ring: &RingConfig, error: &KeyError) -> String {
    let at = &ring.at;
    match &ring.keys {
        KeysConfig::Ring(_) => format!("{at}/ring"),
        KeysConfig::Vault(_) => format!("{at}/vault"),
        KeysConfig::Files(keys) => {
            let mut files = keys.iter().map(|key| Some(key.file.as_path()));
            let place = files.position(|file| file == error.path());
            place.map_or(format!("{at}/keys"), |index| {
                format!("{at}/keys/{index}/file")
            })
        }
    }
}

/// The CA files for Vault. Vault itself is not asked, and its tokens may come later.
fn vault(config: &Config) -> Vec<Mistake> {
    let mistake = |ring: &RingConfig| {
        let KeysConfig::Vault(vault) = &ring.keys else {
            return None;
        };
        let error = Vault::new(vault.settings.clone(), Box::new(|_| {})).err()?;
        let at = match vault.settings.ca_file {
            Some(_) => format!("{}/vault/ca_file", ring.at),
            None => format!("{}/vault", ring.at),
        };
        let mend = "give the certificates of Vault's authorities as PEM, which this user may read";
        Some(config.mistake(&at, chain(&error), mend))
    };
    config.rings.iter().filter_map(mistake).collect()
}

/// Certificate and key of the public listener.
fn tls(config: &Config) -> Option<Mistake> {
    let tls = config.transmitter.tls.as_ref()?;
    let error = Identity::open(&tls.certificate_file, &tls.key_file).err()?;
    let at = if error.path() == tls.key_file {
        "/transmitter/tls/key_file"
    } else {
        "/transmitter/tls/certificate_file"
    };
    let mend = "give the certificate, the leaf first, and its key, both as PEM and not encrypted, which this user may read";
    Some(config.mistake(at, chain(&error), mend))
}

/// Whether a library that is required is there. With `auto` none is: the log of `run` says what was found.
fn multi_buffer(config: &Config) -> Option<Mistake> {
    if config.signing.multi_buffer != MultiBufferUse::Required {
        return None;
    }
    let library = config.signing.multi_buffer_library.as_deref();
    let error = MultiBuffer::load(library).err()?;
    let at = match library {
        Some(_) => "/signing/multi_buffer_library",
        None => "/signing/multi_buffer",
    };
    let mend = "make the library with scripts/crypto_mb.sh, or set signing.multi_buffer to auto";
    Some(config.mistake(at, error.to_string(), mend))
}

fn state(config: &Config) -> Option<Mistake> {
    let StateConfig::Sqlite { path, .. } = &config.state else {
        return None;
    };
    let folder = path.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        let message = format!("the folder {} does not exist", folder.display());
        return Some(config.mistake("/state/path", message, "make it, or choose another path"));
    }
    // Opened, never read or written: a bridge may be at work with it.
    let opened = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path);
    let error = opened
        .err()
        .filter(|error| error.kind() != ErrorKind::NotFound)?;
    let message = format!("{} cannot be opened: {error}", path.display());
    let mend = "see that it is a file which this user may read and write, or choose another path";
    Some(config.mistake("/state/path", message, mend))
}

/// The key below the receiver, what is wrong with it, and the mend.
type Fault = (&'static str, String, &'static str);

fn receiver(stream: &crate::config::StreamConfig) -> Result<(), Fault> {
    let config = &stream.receiver;
    let settings = assembly::receiver::settings(config, &stream.retry).map_err(|message| {
        let key = match config.auth {
            AuthConfig::OAuth2 { .. } => "/auth/oauth2/private_key_file",
            _ => "/auth",
        };
        let mend = "give an RSA private key of 2048 bits or more as PEM, which this user may read";
        (key, message, mend)
    })?;
    let error = match Receiver::new(settings) {
        Ok(_) => return Ok(()),
        Err(error) => error,
    };
    let (key, mend) = match &error {
        ReceiverError::File { path, .. } => (
            key_of(config, path),
            "mend the path, and see that this user may read it",
        ),
        ReceiverError::CaFile { .. } => ("/tls/ca_file", "give certificates as PEM"),
        ReceiverError::ClientCertificate { .. } => (
            "/tls/certificate_file",
            "give the certificate, the leaf first, and its key, both as PEM and not encrypted",
        ),
        ReceiverError::Proxy => ("/proxy", "write http://host:port"),
        ReceiverError::Auth(_) => ("/auth", "mend the file or its content"),
        ReceiverError::Client(_) => (
            "/tls",
            "install the system's certificates (ca-certificates), or set ca_file",
        ),
    };
    Err((key, chain(&error), mend))
}

/// The key that names this file.
fn key_of(config: &ReceiverConfig, path: &Path) -> &'static str {
    let client = config.tls.client.as_ref();
    if config.tls.ca_file.as_deref() == Some(path) {
        "/tls/ca_file"
    } else if client.is_some_and(|client| client.key_file == path) {
        "/tls/key_file"
    } else {
        "/tls/certificate_file"
    }
}
