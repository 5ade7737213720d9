//! What the simulator answers when told to misbehave: a queue of replies, and rules by claims.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

/// How one request ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// As Okta would: verified, taken, answered.
    Judge,
    /// This answer, without looking at the SET; it is not taken.
    Status {
        /// 200–999 are sent as they are.
        status: u16,
        /// Name and value; what is no header is left out.
        headers: Vec<(String, String)>,
        /// The body.
        body: Bytes,
    },
    /// Waits, then goes on.
    After(Duration, Box<Reply>),
    /// Resets the connection (RST) without reading the body.
    ResetUnread,
    /// Reads the whole request, then resets; the SET is not taken.
    ResetRead,
    /// Takes the SET as Okta would, then resets instead of answering: the 202 that is never sent.
    TakeThenReset,
    /// Reads the request and never answers.
    Never,
}

impl Reply {
    /// A bare status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// 429 with `Retry-After` in seconds.
    #[must_use]
    pub fn too_many_requests(retry_after: u64) -> Self {
        Self::status(429).with_header("Retry-After", &retry_after.to_string())
    }

    /// 429 with Okta's rate-limit headers; `reset` in epoch seconds (CONTRACTS §1.6, §2.1).
    #[must_use]
    pub fn rate_limited(limit: u64, remaining: u64, reset: i64) -> Self {
        let body = json!({
            "errorCode": "E0000047",
            "errorSummary": "API call exceeded rate limit due to too many requests.",
            "errorLink": "E0000047", "errorId": "simulated", "errorCauses": [],
        });
        let reply = Self::Status {
            status: 429,
            headers: Vec::new(),
            body: body.to_string().into(),
        };
        reply
            .with_header("Content-Type", "application/json")
            .with_header("X-Rate-Limit-Limit", &limit.to_string())
            .with_header("X-Rate-Limit-Remaining", &remaining.to_string())
            .with_header("X-Rate-Limit-Reset", &reset.to_string())
    }

    /// 400 with an RFC 8935 §2.3 body.
    #[must_use]
    pub fn refusal(err: &str, description: &str) -> Self {
        let body = json!({"err": err, "description": description}).to_string();
        let reply = Self::Status {
            status: 400,
            headers: Vec::new(),
            body: body.into(),
        };
        reply
            .with_header("Content-Type", "application/json")
            .with_header("Content-Language", "en")
    }

    /// The same, later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self::After(delay, Box::new(self))
    }

    /// One more header; only for [`Reply::Status`].
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Self::Status { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

/// Names a rule of [`super::Simulator::answer_when`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleId(u64);

type Predicate = Box<dyn Fn(&Value) -> bool + Send + Sync>;

struct Rule {
    id: RuleId,
    left: Option<usize>,
    when: Predicate,
    reply: Reply,
}

#[derive(Default)]
struct Plan {
    queue: VecDeque<Reply>,
    rules: Vec<Rule>,
    next_id: u64,
}

/// The present faults.
#[derive(Default)]
pub(super) struct Faults(Mutex<Plan>);

impl Faults {
    pub(super) fn queue(&self, times: usize, reply: Reply) {
        self.plan().queue.extend(std::iter::repeat_n(reply, times));
    }

    pub(super) fn rule(&self, times: Option<usize>, when: Predicate, reply: Reply) -> RuleId {
        let mut plan = self.plan();
        plan.next_id += 1;
        let id = RuleId(plan.next_id);
        plan.rules.push(Rule {
            id,
            left: times,
            when,
            reply,
        });
        id
    }

    pub(super) fn withdraw(&self, id: RuleId) {
        self.plan().rules.retain(|rule| rule.id != id);
    }

    pub(super) fn clear(&self) {
        let mut plan = self.plan();
        plan.queue.clear();
        plan.rules.clear();
    }

    /// True when the next reply can be chosen without reading the SET.
    pub(super) fn has_rules(&self) -> bool {
        !self.plan().rules.is_empty()
    }

    /// The reply for a request; `claims` when they were read and could be decoded.
    pub(super) fn choose(&self, claims: Option<&Value>) -> Reply {
        let mut plan = self.plan();
        if let Some(claims) = claims {
            let hit = plan
                .rules
                .iter_mut()
                .find(|rule| rule.left != Some(0) && (rule.when)(claims));
            if let Some(rule) = hit {
                rule.left = rule.left.map(|left| left - 1);
                let reply = rule.reply.clone();
                plan.rules.retain(|rule| rule.left != Some(0));
                return reply;
            }
        }
        plan.queue.pop_front().unwrap_or(Reply::Judge)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
