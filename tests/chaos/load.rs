//! The records of a run: what is produced, and what each of them ought to become. A pure function of the seed.
//!
//! A *person* is what a record is keyed by: all SETs about a person are in one partition, in order. Some persons change
//! their address on the way (`identifier-changed`), so their SETs are about several subjects.

use serde_json::{Value, json};

use super::dice::Dice;

/// `event_timestamp` of a person's SET number 0; number n is n seconds later.
pub(crate) const EPOCH: i64 = 1_760_000_000;
/// By [`Expected::level`].
pub(crate) const LEVELS: [&str; 4] = ["none", "low", "medium", "high"];
/// Partitions of the topic that is keyed by person.
pub(crate) const KEYED: i32 = 12;
/// Partitions of the topic without keys.
pub(crate) const LOOSE: i32 = 4;
/// Persons of the topic without keys have numbers from here on.
pub(crate) const STRANGERS: u32 = 10_000_000;
/// SETs of one record at most.
pub(crate) const MOST_SETS: u64 = 4;

/// What the receiver says about a SET whenever it is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Taken.
    Accepted,
    /// 400 `invalid_request`, for ever.
    Refused,
    /// 500, for ever.
    Poison,
}

/// A SET that a record ought to become. Its number is its place in [`Load::sets`] and its `txn`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) person: u32,
    /// Which address the person has: the SET's subject.
    pub(crate) version: u16,
    /// Among the SETs about the person, from 0.
    pub(crate) number: u32,
    /// Index in [`LEVELS`]; `None`: the person moves to the next address.
    pub(crate) level: Option<u8>,
    pub(crate) fate: Fate,
}

/// One of the things that a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// A SET, by its number.
    Set(u32),
    /// What a rule filters.
    Filtered,
    /// What cannot become a SET: the element of this number, or the record as a whole.
    Bad(Option<u32>),
}

/// A record to produce.
#[derive(Debug, Clone)]
pub(crate) struct Produced {
    /// In the topic that is keyed by person?
    pub(crate) keyed: bool,
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) value: String,
    pub(crate) units: Vec<Unit>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Person {
    version: u16,
    next: u32,
}

/// Makes the records one after the other.
pub(crate) struct Load {
    dice: Dice,
    records: u64,
    made: u64,
    persons: Vec<Person>,
    strangers: Vec<Person>,
    /// The last ones with a key; one may be produced again.
    recent: Vec<Produced>,
    /// Every SET that a record made so far ought to become.
    pub(crate) sets: Vec<Expected>,
}

impl Load {
    pub(crate) fn new(seed: u64, records: u64) -> Load {
        let persons = usize::try_from(records / 25 + 40).expect("a small number");
        Load {
            dice: Dice::new(seed, "load"),
            records,
            made: 0,
            persons: vec![Person::default(); persons],
            strangers: vec![Person::default(); persons / 10],
            recent: Vec::new(),
            sets: Vec::new(),
        }
    }

    fn make(&mut self) -> Produced {
        if self.dice.per_mille(100) {
            return self.loose();
        }
        if self.dice.per_mille(10) && !self.recent.is_empty() {
            let which = self.dice.below(self.recent.len() as u64);
            return self.recent[usize::try_from(which).expect("an index")].clone();
        }
        // Squared: a few persons have very many SETs, most have few.
        let share = self.dice.share() * self.dice.share();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let who = (share * self.persons.len() as f64) as u32;
        let (value, units) = self.value(who);
        let made = Produced {
            keyed: true,
            partition: i32::try_from(spread(who) % KEYED as u64).expect("a partition"),
            key: Some(format!("person-{who}")),
            value,
            units,
        };
        if self.recent.len() == 64 {
            self.recent.remove(0);
        }
        self.recent.push(made.clone());
        made
    }

    fn loose(&mut self) -> Produced {
        let who = self.dice.below(self.strangers.len() as u64);
        let who = STRANGERS + u32::try_from(who).expect("a person");
        let (detection, set) = self.risk(who);
        Produced {
            keyed: false,
            partition: i32::try_from(self.dice.below(LOOSE as u64)).expect("a partition"),
            key: None,
            value: detection.to_string(),
            units: vec![Unit::Set(set)],
        }
    }

    fn value(&mut self, who: u32) -> (String, Vec<Unit>) {
        let moves = who % 32 == 7 && self.dice.per_mille(50);
        if moves {
            let (detection, set) = self.moved(who);
            return (detection.to_string(), vec![Unit::Set(set)]);
        }
        match self.dice.below(1000) {
            0..15 => (noise(who).to_string(), vec![Unit::Filtered]),
            15..20 => ("{\"kind\": ".to_owned(), vec![Unit::Bad(None)]),
            20..25 => (nobody().to_string(), vec![Unit::Bad(None)]),
            25..55 => self.elements(who),
            55..85 => self.each(who),
            _ => {
                let (detection, set) = self.risk(who);
                (detection.to_string(), vec![Unit::Set(set)])
            }
        }
    }

    /// An array of detections, which are judged one by one.
    fn elements(&mut self, who: u32) -> (String, Vec<Unit>) {
        let mut elements = Vec::new();
        let mut units = Vec::new();
        for element in 0..u32::try_from(self.dice.between(2, MOST_SETS)).expect("few") {
            match self.dice.below(10) {
                0 => {
                    elements.push(noise(who));
                    units.push(Unit::Filtered);
                }
                1 => {
                    elements.push(nobody());
                    units.push(Unit::Bad(Some(element)));
                }
                _ => {
                    let (detection, set) = self.risk(who);
                    elements.push(detection);
                    units.push(Unit::Set(set));
                }
            }
        }
        (Value::Array(elements).to_string(), units)
    }

    /// One detection of which a rule with `each` makes several SETs.
    fn each(&mut self, who: u32) -> (String, Vec<Unit>) {
        let mut changes = Vec::new();
        let mut units = Vec::new();
        for _ in 0..self.dice.between(2, MOST_SETS) {
            let (detection, set) = self.risk(who);
            changes.push(detection);
            units.push(Unit::Set(set));
        }
        let user = changes[0]["user"].clone();
        let detection = json!({"kind": "batch", "user": user, "changes": changes});
        (detection.to_string(), units)
    }

    fn risk(&mut self, who: u32) -> (Value, u32) {
        let level = u8::try_from(self.dice.between(1, 3)).expect("a level");
        let set = self.expect(who, Some(level));
        let made = &self.sets[set as usize];
        let detection = json!({
            "kind": "risk",
            "id": format!("d{set}"),
            "txn": format!("s{set}"),
            "user": address(who, made.version),
            "level": LEVELS[usize::from(level)],
            "time": EPOCH + i64::from(made.number),
        });
        (detection, set)
    }

    fn moved(&mut self, who: u32) -> (Value, u32) {
        let set = self.expect(who, None);
        let made = self.sets[set as usize];
        self.person(who).version += 1;
        let detection = json!({
            "kind": "moved",
            "id": format!("d{set}"),
            "txn": format!("s{set}"),
            "user": address(who, made.version),
            "new": address(who, made.version + 1),
            "time": EPOCH + i64::from(made.number),
        });
        (detection, set)
    }

    fn expect(&mut self, who: u32, level: Option<u8>) -> u32 {
        let set = u32::try_from(self.sets.len()).expect("a number");
        // A move that fails would leave the levels behind: the effect could not be told from the SETs alone.
        let fate = match level {
            None => Fate::Accepted,
            // Early, because a poison is known by what is accepted after it.
            Some(_)
                if [1, 3, 5]
                    .map(|of| self.records * of / 10)
                    .contains(&set.into()) =>
            {
                Fate::Poison
            }
            Some(_) if self.dice.per_mille(1) => Fate::Refused,
            Some(_) => Fate::Accepted,
        };
        let person = self.person(who);
        let (version, number) = (person.version, person.next);
        person.next += 1;
        self.sets.push(Expected {
            person: who,
            version,
            number,
            level,
            fate,
        });
        set
    }

    fn person(&mut self, who: u32) -> &mut Person {
        match who.checked_sub(STRANGERS) {
            None => &mut self.persons[who as usize],
            Some(stranger) => &mut self.strangers[stranger as usize],
        }
    }
}

impl Iterator for Load {
    type Item = Produced;

    fn next(&mut self) -> Option<Produced> {
        (self.made < self.records).then(|| {
            self.made += 1;
            self.make()
        })
    }
}

fn noise(who: u32) -> Value {
    json!({"kind": "noise", "user": address(who, 0)})
}

/// Cannot be mapped: this is no address.
fn nobody() -> Value {
    json!({"kind": "risk", "id": "bad", "txn": "bad", "user": "nobody at all", "level": "low", "time": EPOCH})
}

fn spread(who: u32) -> u64 {
    Dice::new(u64::from(who), "").next()
}

/// A person's address.
pub(crate) fn address(who: u32, version: u16) -> String {
    format!("user-{who}.{version}@example.com")
}

/// The reverse of [`address`].
pub(crate) fn whose(address: &str) -> Option<(u32, u16)> {
    let name = address
        .strip_prefix("user-")?
        .strip_suffix("@example.com")?;
    let (who, version) = name.split_once('.')?;
    Some((who.parse().ok()?, version.parse().ok()?))
}

/// The rules for these records.
pub(crate) fn mapping() -> Value {
    json!({
        "on_no_rule": "dead_letter",
        "rules": [
            {"name": "noise", "when": "detection.kind == 'noise'", "drop": true},
            {
                "name": "risk", "when": "detection.kind == 'risk'", "event": "user-risk-change",
                "subject": {"email": "$.user"}, "id": ["$.id"], "time": "$.time", "txn": "$.txn",
                "claims": {"current_level": "$.level", "reason_admin": {"const": "chaos"}},
            },
            {
                "name": "batch", "when": "detection.kind == 'batch'", "event": "user-risk-change",
                "each": "$.changes[*]",
                "subject": {"email": "@.user"}, "id": ["@.id"], "time": "@.time", "txn": "@.txn",
                "claims": {"current_level": "@.level", "reason_admin": {"const": "chaos"}},
            },
            {
                "name": "moved", "when": "detection.kind == 'moved'", "event": "identifier-changed",
                "subject": {"email": "$.user"}, "id": ["$.id"], "time": "$.time", "txn": "$.txn",
                "claims": {"new-value": "$.new"},
            },
        ],
    })
}
