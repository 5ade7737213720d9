//! What one stream's task looks for on a new connection, before anything else is asked or written there.

use super::super::{hold::Word, link::Link, scripts::Script, steps::Step};
use super::Writer;
use crate::state::StateError;

impl Writer {
    /// Makes sure that there is a connection, and that what was acknowledged on the last one is
    /// still there if this one leads to another server, or to one that was restarted.
    pub(super) async fn connect(&mut self) -> Result<(), StateError> {
        if self.link.is_some() {
            return Ok(());
        }
        let mut link = match self.fresh.take() {
            Some(link) => link,
            None => Link::open(&self.common.settings, &self.common.at).await?,
        };
        let server = link.open_stream(&self.keys.stream()).await?;
        self.link = Some(link);
        match &self.server {
            None => server.warn(&self.common.at),
            Some(before) if before.is_same_run(&server) => {}
            Some(_) => self.look_for_losses().await?,
        }
        self.tell_hold().await?;
        self.server = Some(server);
        Ok(())
    }

    /// A server that has lost its data must not end an operator's hold by that. Whoever knows the newest word tells it;
    /// where it is known, or a newer one is, nothing changes.
    pub(super) async fn tell_hold(&mut self) -> Result<(), StateError> {
        let Some(ours) = self.operator.clone().filter(|word| word.version > 0) else {
            return Ok(());
        };
        let Some(link) = &mut self.link else {
            return Err(StateError::Stopped);
        };
        let mut call = link.call(Script::Hold, &[&self.keys.stream()]);
        call.arg(ours.spelled());
        let stands = link.send(&[call]).await?;
        let stands = Word::read(&Step::text(stands.first()).unwrap_or_default());
        if stands.reason.is_some() != ours.reason.is_some() {
            let is_held = stands.reason.is_some();
            tracing::warn!(stream = %self.stream, is_held, at = %self.common.at, "while the Redis could not be reached from here, an operator said otherwise there; the later word counts");
        }
        self.heard(stands);
        Ok(())
    }
}
