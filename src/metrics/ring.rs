//! The metrics of one ring of keys.

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

/// What is shown of one ring.
pub struct RingMetrics {
    name: String,
    key_info: IntGaugeVec,
    /// The keys as they are shown: kid and state.
    shown: Vec<(String, &'static str)>,
    /// A key whose time has come was not seen in the public JWKS yet.
    pub awaited: IntGauge,
    /// The key that signs has passed its time.
    pub overdue: IntGauge,
    /// Reloads that failed; the old keys stay.
    pub reload_errors: IntCounter,
}

impl RingMetrics {
    pub(super) fn new(
        name: &str,
        key_info: IntGaugeVec,
        awaited: IntGauge,
        overdue: IntGauge,
        reload_errors: IntCounter,
    ) -> Self {
        Self {
            name: name.to_owned(),
            key_info,
            shown: Vec::new(),
            awaited,
            overdue,
            reload_errors,
        }
    }

    /// These are its keys now, `(kid, state)`. Those of other rings stay as they are.
    pub fn show_keys(&mut self, keys: Vec<(String, &'static str)>) {
        for (kid, state) in self.shown.iter().filter(|key| !keys.contains(key)) {
            // It was set, so it is there.
            let labels = [&self.name, kid.as_str(), state];
            let _ = self.key_info.remove_label_values(&labels);
        }
        for (kid, state) in &keys {
            let labels = [&self.name, kid.as_str(), state];
            self.key_info.with_label_values(&labels).set(1);
        }
        self.shown = keys;
    }
}
