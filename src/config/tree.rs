//! The configuration on its way: JSON, and where each part of it was written.

use std::collections::HashMap;

use serde_json::Value;

use super::mistake::Place;
use super::pointer;

/// A configuration as JSON, and where each part of it was written.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    pub(super) value: Value,
    pub(super) places: Places,
}

/// JSON pointer → where its key and its value were written.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) keys: HashMap<String, Place>,
    pub(super) values: HashMap<String, Place>,
}

impl Places {
    /// Where the value was written, or the nearest part around it that was.
    pub(super) fn value(&self, pointer: &str) -> Place {
        self.nearest(&self.values, pointer)
    }

    /// Where the key was written, or the nearest part around it that was.
    pub(super) fn key(&self, pointer: &str) -> Place {
        match self.keys.get(pointer) {
            Some(place) => place.clone(),
            None => self.value(pointer),
        }
    }

    fn nearest(&self, places: &HashMap<String, Place>, pointer: &str) -> Place {
        let mut at = Some(pointer);
        while let Some(pointer) = at {
            if let Some(place) = places.get(pointer) {
                return place.clone();
            }
            at = pointer::parent(pointer);
        }
        Place::File {
            file: String::new(),
            line: 1,
            column: 1,
        }
    }
}
