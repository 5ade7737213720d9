//! What the poller tells the desk, and what operators want of it.

use super::super::valve::Wish;
use super::{Broken, Desk};
use crate::kafka::events::Notice;

impl Desk {
    pub(super) async fn notice(&mut self, notice: Notice) -> Result<(), Broken> {
        let metrics = &self.stream.parts.metrics;
        match notice {
            Notice::Assigned(seats) => self.assigned(seats),
            Notice::Revoking(seats) => self.revoking(&seats),
            Notice::Lost(seats) => self.lost(&seats).await?,
            Notice::Committed(list) => {
                for (seat, next) in list {
                    if let Some(place) = self.places.get_mut(&seat) {
                        self.stream.parts.room.acknowledged(place.committed(next));
                    }
                }
            }
            Notice::CommitFailed(error) => {
                metrics.commit_errors.inc();
                tracing::warn!(
                    stream = self.stream.id(),
                    error,
                    "a commit was refused; it is made again with the next one"
                );
            }
            Notice::RecordsLost {
                topic,
                partition,
                records,
            } => {
                metrics.records_lost.inc_by(records);
                tracing::error!(stream = self.stream.id(), %topic, partition, records, "records are gone: removed by retention before they were read, or with their topic or their log's end before they were settled");
            }
            Notice::Lag { seat, log_end } => {
                if let Some(place) = self.places.get_mut(&seat) {
                    // The latest word, not the highest: of a log that was made anew the old end may be told once more.
                    place.log_end = log_end;
                }
            }
            Notice::Rewound { seat, committed } => self.rewound(seat, committed),
            Notice::NotRewound { seat, why } => self.not_rewound(seat, why),
            Notice::Trouble(trouble, text) => self.trouble(trouble, &text),
            Notice::Recovered => self.stream.passage.show_no_longer(),
            Notice::Paused(partitions) => self.paused = partitions,
            Notice::Fatal { error, final_one } => {
                if final_one {
                    return Err(format!(
                        "the Kafka client failed twice within ten minutes: {error}"
                    ));
                }
                tracing::error!(
                    stream = self.stream.id(),
                    error,
                    "the Kafka client failed; it is made anew once"
                );
            }
        }
        Ok(())
    }

    /// An operator wants something.
    pub(super) fn obey(&mut self, wish: Wish) {
        match wish {
            Wish::Skip { jti, tell } => {
                // Who asked may have gone; it is skipped all the same.
                let _ = tell.send(self.skip(jti.as_deref()));
            }
            Wish::Stand(tell) => drop(tell.send(self.standings())),
            Wish::Rewind {
                seat,
                from,
                jtis,
                tell,
            } => self.rewind(seat, from, jtis, tell),
        }
    }
}
