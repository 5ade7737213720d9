//! Where the state of the streams is.

use crate::config::{self, Mode, RedisConfig, StateConfig, StreamConfig};
use crate::state::{OnUnavailable, RedisAddress, RedisSettings, RedisTls, StateSettings};

/// Where the state is.
pub(crate) fn state_settings(config: &StateConfig) -> StateSettings {
    match config {
        StateConfig::Sqlite { path, window } => StateSettings::Sqlite {
            path: path.clone(),
            window: *window,
        },
        StateConfig::Memory {
            window,
            max_entries,
        } => StateSettings::Memory {
            max_entries: max_entries.get(),
            window: *window,
        },
        StateConfig::Redis(redis) => StateSettings::Redis(Box::new(redis_settings(redis))),
    }
}

fn redis_settings(config: &RedisConfig) -> RedisSettings {
    let address = |(host, port): &(String, u16)| RedisAddress {
        host: host.clone(),
        port: *port,
    };
    RedisSettings {
        addresses: config.nodes.iter().map(address).collect(),
        cluster: config.cluster,
        tls: config.tls.as_ref().map(|tls| RedisTls {
            ca_file: tls.ca_file.clone(),
            identity: tls
                .client
                .as_ref()
                .map(|client| (client.certificate_file.clone(), client.key_file.clone())),
        }),
        username: config.username.clone(),
        password: config.password.clone(),
        key_prefix: config.key_prefix.clone(),
        connect_timeout: config.connect_timeout,
        request_timeout: config.request_timeout,
        on_unavailable: match config.on_unavailable {
            config::OnUnavailable::Hold => OnUnavailable::Hold,
            config::OnUnavailable::Continue => OnUnavailable::Continue,
        },
        window: config.window,
    }
}

/// Live and shadow runs of one stream know nothing of each other.
pub(crate) fn state_name(stream: &StreamConfig) -> String {
    match stream.mode {
        Mode::Live => stream.id.to_string(),
        Mode::Shadow => format!("{}.shadow", stream.id),
    }
}
