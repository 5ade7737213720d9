//! What the receiver writes down, and what it answers.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use serde_json::{Map, Value};

use super::super::dice::Dice;
use super::super::load::{self, Fate};
use super::super::oracle::{Attempt, Said};
use super::super::plan::Trouble;
use super::{Book, Turn, UNSURE_MS, fingerprint, now_ms, response};

impl Book {
    /// From now on; `None`: well again.
    pub(crate) fn trouble(&self, trouble: Option<Trouble>) {
        self.trouble.send_replace(trouble);
        if matches!(trouble, Some(Trouble::Down | Trouble::Tls)) {
            let since = now_ms().saturating_sub(UNSURE_MS);
            let mut attempts = self.attempts.lock().expect("no panic");
            let last = attempts.iter_mut().rev().take(1000);
            last.filter(|attempt| attempt.at_ms >= since)
                .for_each(|attempt| attempt.seen = false);
        }
    }

    pub(crate) fn faults(&self) -> u64 {
        self.faults.load(Ordering::Relaxed)
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// All requests so far.
    pub(crate) fn attempts(&self) -> Vec<Attempt> {
        self.attempts.lock().expect("no panic").clone()
    }

    pub(crate) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().expect("no panic").clone()
    }

    /// The receiver takes this SET from now on.
    pub(crate) fn mend(&self, set: u32) {
        let mut mended = self.mended.lock().expect("no panic");
        mended.entry(set).or_insert_with(now_ms);
    }

    /// All that were mended, and since when.
    pub(crate) fn mended(&self) -> BTreeMap<u32, u64> {
        self.mended.lock().expect("no panic").clone()
    }

    pub(super) fn fate(&self, set: u32) -> Fate {
        // Not held while the fate is looked up, which takes another lock.
        let mended = self.mended.lock().expect("no panic").contains_key(&set);
        if mended {
            return Fate::Accepted;
        }
        (self.fates)(set)
    }

    fn throw<T>(&self, throw: impl FnOnce(&mut Dice) -> T) -> T {
        throw(&mut self.dice.lock().expect("no panic"))
    }

    pub(super) fn meets(&self, of: u16) -> bool {
        let meets = self.throw(|dice| dice.per_mille(u64::from(of)));
        self.faults.fetch_add(u64::from(meets), Ordering::Relaxed);
        meets
    }

    pub(super) fn turn(&self, trouble: Option<Trouble>) -> Turn {
        use Trouble as T;
        let Some(trouble) = trouble else {
            return Turn::Well;
        };
        let (T::RetryAfter(of)
        | T::RateLimit(of)
        | T::TooMany(of)
        | T::Error(of)
        | T::Unavailable(of)
        | T::Slow(of)
        | T::ResetRead(of)
        | T::TakenThenReset(of)
        | T::TakenThenSilence(of)) = trouble
        else {
            return Turn::Well;
        };
        if !self.meets(of) {
            return Turn::Well;
        }
        match trouble {
            T::RetryAfter(_) => Turn::Status(429, vec![("retry-after", "1".to_owned())]),
            T::RateLimit(_) => Turn::Status(429, rate_limit()),
            T::TooMany(_) => Turn::Status(429, Vec::new()),
            T::Error(_) => Turn::Status(500, Vec::new()),
            T::Unavailable(_) => Turn::Status(503, Vec::new()),
            T::ResetRead(_) => Turn::Reset,
            T::TakenThenReset(_) => Turn::TakeThenReset,
            T::TakenThenSilence(_) => Turn::TakeThenSilence,
            _ => {
                let (first, time) =
                    self.throw(|dice| (dice.per_mille(500), dice.between(50, 1500)));
                let time = Duration::from_millis(time);
                if first {
                    Turn::TakeThenWait(time)
                } else {
                    Turn::WaitThenTake(time)
                }
            }
        }
    }

    /// Judges a SET; nothing is taken yet.
    pub(super) async fn read(&self, raw: &[u8], process: Option<u16>) -> Attempt {
        let mut attempt = Attempt {
            at_ms: now_ms(),
            process: process.unwrap_or(u16::MAX),
            kid: 0,
            jti: 0,
            bytes: fingerprint(raw),
            claims: 0,
            said: None,
            accepted: false,
            seen: false,
        };
        let now = i64::try_from(attempt.at_ms / 1000).expect("seconds");
        let inspected = match self.inspector.inspect(raw, now).await {
            Ok(inspected) => inspected,
            Err(complaint) => {
                self.complain(complaint);
                return attempt;
            }
        };
        let mut claims = inspected.claims;
        // Truncated: two keys of one run do not meet in 16 bits but by great chance.
        attempt.kid = (fingerprint(inspected.kid.as_bytes()) & 0xffff) as u16;
        attempt.jti = fingerprint(claims["jti"].as_str().unwrap_or_default().as_bytes());
        attempt.said = said(&claims);
        if attempt.said.is_none() {
            self.complain(format!("not ours: {}", Value::Object(claims.clone())));
        }
        claims.remove("iat");
        let events = claims.get_mut("events").and_then(Value::as_object_mut);
        for event in events.into_iter().flat_map(Map::values_mut) {
            event
                .as_object_mut()
                .map(|event| event.remove("previous_level"));
        }
        let rest = serde_json::to_vec(&claims).expect("claims");
        attempt.claims = fingerprint(&rest);
        attempt
    }

    fn complain(&self, complaint: String) {
        let mut complaints = self.complaints.lock().expect("no panic");
        if complaints.len() < 8 {
            complaints.push(complaint);
        }
    }

    pub(super) fn note(&self, attempt: Attempt) -> usize {
        let mut attempts = self.attempts.lock().expect("no panic");
        attempts.push(attempt);
        attempts.len() - 1
    }

    pub(super) fn take(&self, attempt: Attempt) -> usize {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.note(Attempt {
            accepted: true,
            at_ms: now_ms(),
            ..attempt
        })
    }

    pub(super) fn accepts(&self, index: usize) -> Response<Body> {
        self.attempts.lock().expect("no panic")[index].seen = true;
        response(202, &[], "")
    }
}

/// In the manner of Okta: when the window is over, by the clock of the `Date` header.
fn rate_limit() -> Vec<(&'static str, String)> {
    let now = now_ms() / 1000;
    vec![
        ("x-rate-limit-limit", "600".to_owned()),
        ("x-rate-limit-remaining", "0".to_owned()),
        ("x-rate-limit-reset", (now + 1).to_string()),
    ]
}

fn said(claims: &Map<String, Value>) -> Option<Said> {
    let set = claims.get("txn")?.as_str()?.strip_prefix('s')?;
    let (_, event) = claims.get("events")?.as_object()?.iter().next()?;
    let subject = event.pointer("/subject/user/email")?.as_str()?;
    let (person, version) = load::whose(subject)?;
    let number = event.get("event_timestamp")?.as_i64()? - load::EPOCH;
    let level = |name: &str| {
        let text = event.get(name)?.as_str()?;
        let index = load::LEVELS.iter().position(|level| *level == text)?;
        u8::try_from(index).ok()
    };
    let moved = event.get("new-value").and_then(Value::as_str);
    if let Some(new) = moved
        && load::whose(new)? != (person, version + 1)
    {
        return None;
    }
    Some(Said {
        set: set.parse().ok()?,
        person,
        version,
        number: u32::try_from(number).ok()?,
        level: if moved.is_some() {
            None
        } else {
            Some(level("current_level")?)
        },
        previous: if moved.is_some() {
            0
        } else {
            level("previous_level")?
        },
    })
}
