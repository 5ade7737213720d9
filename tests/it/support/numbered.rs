//! Detections that carry their number, so that a test sees at the receiver what was lost and what came too late.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use setbridge::okta::simulator::{JwksSource, Log, Received, Simulator};
use tokio::time::timeout;

use super::bridge::SOON;
use super::configuration::{Configuration, ISSUER, record, user};
use super::wire::Message;

/// Number 0 happened at this second.
const EPOCH: i64 = 1_760_000_000;

/// The detection of this number about a user. Its number is its time in seconds, so it shows in the SET.
pub(crate) fn numbered(user: &str, number: usize) -> Value {
    let time = EPOCH + i64::try_from(number).expect("a small number");
    json!({
        "id": format!("{user}#{number}"),
        "kind": "user-risk-change",
        "user": user,
        "level": level_of(number),
        "time": time,
    })
}

/// For each of the first `users` users the detections of these numbers, in order, keyed by the user.
pub(crate) fn wave(users: usize, numbers: std::ops::Range<usize>) -> Vec<Message> {
    let each = |number| (0..users).map(move |of| record(&numbered(&user(of), number)));
    numbers.flat_map(each).collect()
}

/// Whom a SET is about, and its number.
pub(crate) fn number_of(received: &Received) -> (String, usize) {
    let subject = received.subject().expect("a subject");
    let email = subject.pointer("/user/email").or(subject.get("email"));
    let (_, event) = received.event().expect("one event");
    let time = event["event_timestamp"].as_i64().expect("whole seconds");
    let email = email.and_then(Value::as_str).expect("an e-mail address");
    let number = usize::try_from(time - EPOCH).expect("a number of ours");
    (email.to_owned(), number)
}

/// The numbers of the SETs that took effect, by user, in the order in which they did.
pub(crate) fn taken(log: &Log) -> BTreeMap<String, Vec<usize>> {
    let mut of: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for received in log.taken() {
        let (user, number) = number_of(received);
        of.entry(user).or_default().push(number);
    }
    of
}

/// Waits until so many SETs took effect.
///
/// # Panics
/// When they did not soon; `log` says what the bridges did.
pub(crate) async fn all_taken(org: &Simulator, count: usize, log: impl Fn() -> String) {
    let all = org.wait_for(|log| log.tally.taken >= count as u64);
    if timeout(SOON, all).await.is_err() {
        panic!("{:?} of {count} SETs\n{}", org.tally(), log());
    }
}

/// Every user's SETs 0.. took effect, each once and in order: what the receiver believes is what the records say.
pub(crate) fn assert_whole_and_in_order(org: &Simulator, users: usize, each: usize) {
    let taken = org.log(taken);
    assert_eq!(taken.len(), users, "users");
    let wanted: Vec<usize> = (0..each).collect();
    for (user, numbers) in taken {
        assert_eq!(numbers, wanted, "{user}");
    }
}

/// The configuration of one member of a group: a state file and a key id of its own, so that its SETs can be told.
pub(crate) fn member(common: &Configuration, kid: &str) -> Configuration {
    let state = common.folder().join(format!("{kid}.sqlite"));
    let state = json!({"backend": "sqlite", "path": state.display().to_string()});
    sharing(&common.clone().set("state", state), kid)
}

/// The configuration of one member of a group that shares its state: a key id of its own.
pub(crate) fn sharing(common: &Configuration, kid: &str) -> Configuration {
    common.clone().set("signing.keys.0.kid", kid)
}

/// Every SET names the level of the one before about the same user, as [`numbered`] has them.
pub(crate) fn assert_levels_follow(org: &Simulator) {
    org.log(|log| {
        for received in log.taken() {
            let (user, number) = number_of(received);
            let before = number.checked_sub(1).map_or("none", level_of);
            let (_, event) = received.event().expect("one event");
            assert_eq!(event["previous_level"], before, "{user} {number}");
        }
    });
}

/// The level of the detection of this number.
pub(crate) fn level_of(number: usize) -> &'static str {
    ["low", "high", "medium"][number % 3]
}

/// Registers the bridge at the org under each of these key ids.
pub(crate) fn register(org: &Simulator, common: &Configuration, kids: &[&str]) {
    let JwksSource::Given(mut set) = common.jwks() else {
        unreachable!("the configuration gives its keys");
    };
    let key = set.keys.pop().expect("one key");
    set.keys.extend(kids.iter().map(|kid| {
        let mut key = key.clone();
        key.common.key_id = Some((*kid).to_owned());
        key
    }));
    let audience = format!("http://{}", org.address());
    org.register(ISSUER, &audience, JwksSource::Given(set));
}
