//! What goes wrong, and when: a pure function of the seed, so that a run can be replayed.
//!
//! Each kind of fault has a bag: all kinds come once, in an order that the seed decides, before one comes again.

mod tracks;

use super::dice::Dice;

/// Where the members remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// One member with a file.
    SqliteAlone,
    /// Three members with a file each.
    SqliteEach,
    /// Three members that share a Redis.
    Redis,
}

impl State {
    pub(crate) const ALL: [State; 3] = [State::SqliteAlone, State::SqliteEach, State::Redis];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            State::SqliteAlone => "sqlite-alone",
            State::SqliteEach => "sqlite-each",
            State::Redis => "redis",
        }
    }

    /// How many members there are at most.
    pub(crate) fn members(self) -> usize {
        match self {
            State::SqliteAlone => 1,
            _ => 3,
        }
    }

    /// What one member delivered every other one knows: levels and jtis are never lost.
    pub(crate) fn is_whole(self) -> bool {
        self != State::SqliteEach
    }
}

/// How the receiver misbehaves for a while. The numbers say to how many of a thousand requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// 429 with `Retry-After`
    RetryAfter(u16),
    /// 429 with `X-Rate-Limit-Reset` and a `Date`
    RateLimit(u16),
    /// 429 without a word
    TooMany(u16),
    /// 500
    Error(u16),
    /// 503
    Unavailable(u16),
    /// An answer after up to 1.5 s; half of them were taken at once, half just before the answer
    Slow(u16),
    /// The connection is reset before the body is read
    ResetUnread(u16),
    /// … after it was read; nothing was taken
    ResetRead(u16),
    /// … after the SET was taken
    TakenThenReset(u16),
    /// The SET was taken, the 202 is never sent
    TakenThenSilence(u16),
    /// Handshakes get a certificate of a stranger; connections that are up are closed
    Tls,
    /// The port is closed
    Down,
}

/// One thing that is done to somebody. Members and brokers are numbered from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// SIGKILL
    Kill(usize),
    /// SIGTERM
    Term(usize),
    /// SIGSTOP
    Pause(usize),
    /// SIGCONT
    Resume(usize),
    /// A new process of this member
    Start(usize),
    /// SIGKILL to a broker
    BrokerKill(usize),
    /// SIGTERM to a broker: its leaders move in order
    BrokerStop(usize),
    /// The broker is back; once it is in sync its leaders move back
    BrokerStart(usize),
    /// The receiver begins to misbehave
    Trouble(Trouble),
    /// … and ends it
    Well,
    /// SIGKILL to Redis
    RedisKill,
    /// SIGSTOP to Redis
    RedisPause,
    /// Redis is back
    RedisStart,
    /// All members sign with the next key
    Rotate,
    /// One broker has this network, for all members
    Apart(usize, Flow),
    /// One member has this network to all brokers; it reaches the receiver as before
    Cut(usize, Flow),
    /// One member has this network to Redis
    RedisCut(usize, Flow),
    /// Another replica leads each third partition, and no broker stops; which third, by this number
    Leaders(usize),
    /// The group has another coordinator, and no broker stops
    Coordinator,
    /// What an operator does
    Operator(Deed),
}

/// What packets do on a way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Open,
    /// Nothing comes through, and no connection ends
    Stalled,
    /// Connections are reset, new ones at once
    Reset,
}

/// What an operator does. Whatever is between a hold and its end happens to a held stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    Hold,
    Resume,
    /// `skip` of what blocks a member
    SkipBlocking,
    /// `skip --jti` of SETs that were produced just now
    SkipNamed,
    /// `dlq replay` of some dead letters, after what is wrong was mended
    Replay {
        forced: bool,
    },
    /// `rewind` of one partition by so many records at most
    Rewind(u16),
}

/// When, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Since the first record.
    pub(crate) at_ms: u64,
    pub(crate) act: Act,
}

/// Faults from the first record until `until_ms`; then everybody who is away is started again.
pub(crate) fn schedule(seed: u64, until_ms: u64, state: State) -> Vec<Step> {
    let mut steps = Vec::new();
    tracks::members(seed, until_ms, state, &mut steps);
    tracks::brokers(seed, until_ms, &mut steps);
    tracks::leaders(seed, until_ms, &mut steps);
    tracks::network(seed, until_ms, state, &mut steps);
    tracks::receiver(seed, until_ms, &mut steps);
    if state == State::Redis {
        tracks::redis(seed, until_ms, &mut steps);
    }
    tracks::operators(seed, until_ms, &mut steps);
    tracks::keys(seed, until_ms, &mut steps);
    // Stable: what one track does at one moment stays in its order.
    steps.sort_by_key(|step| step.at_ms);
    steps
}

/// All of `kinds` in some order, again and again.
struct Bag<T> {
    kinds: Vec<T>,
    left: Vec<T>,
}

impl<T: Copy> Bag<T> {
    fn new(kinds: &[T]) -> Bag<T> {
        Bag {
            kinds: kinds.to_vec(),
            left: Vec::new(),
        }
    }

    fn draw(&mut self, dice: &mut Dice) -> T {
        if self.left.is_empty() {
            self.left = self.kinds.clone();
            dice.shuffle(&mut self.left);
        }
        self.left.pop().expect("a bag with something in it")
    }
}
