//! What one stream's task looks for on a new connection, before anything else is asked or written there.

use super::super::{
    link::{Found, Link},
    steps::{OPERATOR_HOLD, Step},
};
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
        let Found { server, is_new } = link.open_stream(&self.keys.stream()).await?;
        self.may_lack_hold |= is_new;
        self.link = Some(link);
        match &self.server {
            None => server.warn(&self.common.at),
            Some(before) if before.is_same_run(&server) => {}
            Some(_) => {
                self.may_lack_hold = true;
                self.look_for_losses().await?;
            }
        }
        self.hold_again().await?;
        self.server = Some(server);
        Ok(())
    }

    /// A server that has lost something must not end an operator's hold by that. A hold that an operator ended
    /// meanwhile may come back so; that is the safe side.
    async fn hold_again(&mut self) -> Result<(), StateError> {
        if !self.may_lack_hold {
            return Ok(());
        }
        let Some(link) = &mut self.link else {
            return Err(StateError::Stopped);
        };
        if let Some(Some(reason)) = &self.operator_hold {
            let mut read = redis::cmd("HGET");
            read.arg(self.keys.stream()).arg(OPERATOR_HOLD);
            let found = link.send(&[read]).await?;
            if Step::text(found.first()).is_none() {
                let mut set = redis::cmd("HSET");
                set.arg(self.keys.stream()).arg(OPERATOR_HOLD).arg(reason);
                link.send(&[set]).await?;
                tracing::warn!(stream = %self.stream, at = %self.common.at, "the Redis has lost the operator's hold with its data: it is written again");
            }
        }
        self.may_lack_hold = false;
        Ok(())
    }
}
