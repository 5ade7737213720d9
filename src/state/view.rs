//! The state for somebody who only looks, as `setbridge explain` does while the bridge works.

use super::redis::RedisView;
use super::sqlite::SqliteView;
use super::window::Window;
use super::{Clock, Facts, Question, StateError, StateSettings, StateStore};

/// A state that can be looked at and not changed.
pub struct StateView {
    kind: Kind,
    clock: Clock,
}

enum Kind {
    Sqlite(SqliteView, Window),
    /// Jtis end there by themselves.
    Redis(Box<RedisView>),
}

impl StateStore {
    /// Opens the state to look at it. [`None`]: it is in the memory of the process that works with it, where nobody else
    /// sees it. Blocks for milliseconds.
    ///
    /// # Errors
    /// As for [`StateStore::open`], but for [`StateError::Locked`]: who works with it does not mind. A file that does not
    /// exist is [`StateError::Unreachable`], one of an older version [`StateError::Older`]. A Redis is not asked yet.
    pub fn open_read_only(
        settings: &StateSettings,
        clock: Clock,
    ) -> Result<Option<StateView>, StateError> {
        let kind = match settings {
            StateSettings::Memory { .. } => return Ok(None),
            StateSettings::Sqlite { path, window } => {
                Kind::Sqlite(SqliteView::open(path)?, Window::new(*window))
            }
            StateSettings::Redis(settings) => Kind::Redis(Box::new(RedisView::open(settings)?)),
        };
        Ok(Some(StateView { kind, clock }))
    }
}

impl StateView {
    /// What the stream of this name knows about each of these SETs, in their order. All calls come from one runtime, which
    /// drives the connection to a Redis.
    ///
    /// # Errors
    /// The state cannot be read.
    pub async fn look_up(
        &self,
        stream: &str,
        questions: &[Question],
    ) -> Result<Vec<Facts>, StateError> {
        match &self.kind {
            Kind::Sqlite(view, window) => view.look_up(stream, questions, *window, (self.clock)()),
            Kind::Redis(view) => view.look_up(stream, questions).await,
        }
    }
}

impl std::fmt::Debug for StateView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StateView")
    }
}

#[cfg(test)]
mod tests;
