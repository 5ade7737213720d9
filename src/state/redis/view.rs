//! The Redis for somebody who only looks, also beside the members that work with it: plain reads, no scripts, so a user
//! that may only read will do, and the first look at a stream leaves nothing behind.
//!
//! What `scripts/look_up.lua` makes of a subject's hash is made here (pure); the model test compares both. Reads are not
//! of one moment: a partition that is taken over in between may look as if nothing were known of it.

use std::{collections::HashMap, sync::Arc};

use redis::{FromRedisValue, Value};
use tokio::sync::Mutex;

use super::{
    RedisSettings,
    link::{self, Link},
    text::{self, Keys},
    trouble,
};
use crate::state::{Facts, Question, StateError, tenure::Tenure};

/// So many SETs are asked about in one round trip.
const AT_ONCE: usize = 500;

/// Fields and values of a hash.
type Hash = HashMap<String, String>;

/// A Redis that is looked at, with a connection once it was asked.
pub(in crate::state) struct RedisView {
    settings: RedisSettings,
    at: Arc<str>,
    link: Mutex<Option<Link>>,
}

impl RedisView {
    /// Nothing is asked yet. The files for TLS are looked at.
    ///
    /// # Errors
    /// [`StateError::RemoteFile`], or what else is wrong with them.
    pub(in crate::state) fn open(settings: &RedisSettings) -> Result<Self, StateError> {
        link::check_files(settings)?;
        Ok(Self {
            settings: settings.clone(),
            at: settings.at().into(),
            link: Mutex::default(),
        })
    }

    /// The answers to all of these, in their order. The connection lives as long as the runtime of the first call, so all
    /// calls come from one.
    pub(in crate::state) async fn look_up(
        &self,
        stream: &str,
        questions: &[Question],
    ) -> Result<Vec<Facts>, StateError> {
        let mut kept = self.link.lock().await;
        let mut link = match kept.take() {
            Some(link) => link,
            None => Link::open_to_look(&self.settings, &self.at).await?,
        };
        let keys = Keys::new(&self.settings.key_prefix, stream);
        let tenures = self.tenures(&mut link, &keys).await?;
        let mut facts = Vec::with_capacity(questions.len());
        for some in questions.chunks(AT_ONCE) {
            facts.extend(self.facts(&mut link, &keys, &tenures, some).await?);
        }
        *kept = Some(link);
        Ok(facts)
    }

    /// The tenures of the stream's partitions, by place, if they are spelled as we know.
    async fn tenures(
        &self,
        link: &mut Link,
        keys: &Keys,
    ) -> Result<HashMap<String, Tenure>, StateError> {
        let mut version = redis::cmd("HGET");
        version.arg(keys.stream()).arg(text::SCHEMA_FIELD);
        let mut all = redis::cmd("HGETALL");
        all.arg(keys.tenures());
        let answers = link.send(&[version, all]).await?;
        let [version, all] = <[Value; 2]>::try_from(answers).map_err(|_| self.strange())?;
        // None: nobody has worked with the stream here yet. Of older ones all is read as it is.
        if let Some(version) = self.read::<Option<i64>>(version)? {
            link::check_schema(version, &self.at)?;
        }
        let all = self.read::<Hash>(all)?.into_iter();
        let tenures = all.filter_map(|(place, spelled)| {
            let (tenure, _) = text::read_tenure(&spelled)?;
            Some((place, tenure))
        });
        Ok(tenures.collect())
    }

    async fn facts(
        &self,
        link: &mut Link,
        keys: &Keys,
        tenures: &HashMap<String, Tenure>,
        questions: &[Question],
    ) -> Result<Vec<Facts>, StateError> {
        let mut commands = Vec::with_capacity(2 * questions.len());
        for question in questions {
            let mut noted = redis::cmd("GET");
            noted.arg(keys.jti(question.jti));
            let mut subject = redis::cmd("HGETALL");
            subject.arg(keys.subject(question.subject));
            commands.extend([noted, subject]);
        }
        let mut answers = link.send(&commands).await?.into_iter();
        let mut facts = Vec::with_capacity(questions.len());
        for question in questions {
            let (noted, subject) = answers
                .next()
                .zip(answers.next())
                .ok_or_else(|| self.strange())?;
            let noted: Option<String> = self.read(noted)?;
            let subject: Hash = self.read(subject)?;
            facts.push(facts_of(question, noted.as_deref(), &subject, tenures));
        }
        Ok(facts)
    }

    fn read<T: FromRedisValue>(&self, value: Value) -> Result<T, StateError> {
        redis::from_redis_value(value).map_err(|_| self.strange())
    }

    fn strange(&self) -> StateError {
        trouble::strange(&self.at)
    }
}

/// As `scripts/look_up.lua` finds them. `noted`: what stands at the jti.
fn facts_of(
    question: &Question,
    noted: Option<&str>,
    subject: &Hash,
    tenures: &HashMap<String, Tenure>,
) -> Facts {
    let here = text::place(&question.topic, question.partition);
    let mut facts = Facts {
        delivered: noted.is_some(),
        delivered_late: noted.is_some_and(|noted| !noted.is_empty()),
        ..Facts::default()
    };
    for (field, value) in subject {
        let Some(place) = field.strip_prefix("m:") else {
            continue;
        };
        let in_force = |(epoch, _): &(i64, &str)| {
            let tenure = tenures.get(place);
            tenure.is_some_and(|tenure| tenure.marks_epoch == *epoch)
        };
        if let Some((_, position)) = text::read_mark(value).filter(in_force) {
            if place == here {
                facts.mark = text::read_position(position);
            } else {
                facts.other_partition = true;
            }
        }
    }
    let level = subject.get(&format!("l:{}", question.event.as_str()));
    if let Some((epoch, from, accepted)) = level.and_then(|level| text::read_level(level))
        && tenures
            .get(from)
            .is_some_and(|tenure| tenure.levels_epoch == epoch)
        && let Some((event_time, level, at)) = text::read_accepted(accepted)
    {
        facts.level = level;
        facts.level_event_time = Some(event_time);
        facts.accepted_at = at.filter(|_| from == here);
    }
    facts
}
