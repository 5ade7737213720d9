//! What goes wrong, and when: a pure function of the seed, so that a run can be replayed.
//!
//! Each kind of fault has a bag: all kinds come once, in an order that the seed decides, before one comes again.

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
}

/// When, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Since the first record.
    pub(crate) at_ms: u64,
    pub(crate) act: Act,
}

/// How long a member that was ended for scaling in stays away, and one that crashed.
const AWAY_MS: (u64, u64) = (8_000, 14_000);
const CRASHED_MS: (u64, u64) = (500, 4_000);
/// Longer than the session of 6 s.
const PAUSE_MS: (u64, u64) = (7_500, 10_000);
/// Longer than `max.poll.interval.ms` of 10 s.
const DOWN_MS: (u64, u64) = (11_500, 13_500);

/// Faults from the first record until `until_ms`; then everybody who is away is started again.
pub(crate) fn schedule(seed: u64, until_ms: u64, state: State) -> Vec<Step> {
    let mut steps = Vec::new();
    members(seed, until_ms, state, &mut steps);
    brokers(seed, until_ms, &mut steps);
    receiver(seed, until_ms, &mut steps);
    if state == State::Redis {
        redis(seed, until_ms, &mut steps);
    }
    let mut dice = Dice::new(seed, "keys");
    let gap = (until_ms / 5).clamp(15_000, 60_000);
    let mut at = dice.between(gap / 2, gap);
    while at < until_ms {
        push(&mut steps, at, Act::Rotate);
        at += dice.between(gap / 2, gap * 3 / 2);
    }
    // Stable: what one track does at one moment stays in its order.
    steps.sort_by_key(|step| step.at_ms);
    steps
}

fn push(steps: &mut Vec<Step>, at_ms: u64, act: Act) {
    steps.push(Step { at_ms, act });
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

fn within(dice: &mut Dice, (low, high): (u64, u64)) -> u64 {
    dice.between(low, high)
}

fn members(seed: u64, until_ms: u64, state: State, steps: &mut Vec<Step>) {
    #[derive(Clone, Copy)]
    enum Kind {
        Crash,
        Restart,
        Pause,
        Leave,
    }
    let mut dice = Dice::new(seed, "members");
    let mut bag = Bag::new(&[
        Kind::Crash,
        Kind::Crash,
        Kind::Restart,
        Kind::Pause,
        Kind::Leave,
    ]);
    let gap = (until_ms / 40).clamp(5_000, 12_000);
    let mut free_at = vec![0; state.members()];
    let mut at = dice.between(gap / 2, gap);
    while at < until_ms {
        let first = usize::try_from(dice.below(free_at.len() as u64)).expect("a member");
        let rotation = (0..free_at.len()).map(|step| (first + step) % free_at.len());
        if let Some(member) = { rotation }.find(|member| free_at[*member] <= at) {
            let (act, back, away) = match bag.draw(&mut dice) {
                Kind::Crash => (Act::Kill(member), Act::Start(member), CRASHED_MS),
                Kind::Restart => (Act::Term(member), Act::Start(member), CRASHED_MS),
                Kind::Leave => (Act::Term(member), Act::Start(member), AWAY_MS),
                Kind::Pause => (Act::Pause(member), Act::Resume(member), PAUSE_MS),
            };
            let back_at = at + within(&mut dice, away);
            push(steps, at, act);
            push(steps, back_at, back);
            // It has joined and read something before the next blow.
            free_at[member] = back_at + 4_000;
        }
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}

fn brokers(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
    #[derive(Clone, Copy)]
    enum Kind {
        Crash,
        Stop,
    }
    let mut dice = Dice::new(seed, "brokers");
    let mut bag = Bag::new(&[Kind::Crash, Kind::Stop]);
    let mut who = Bag::new(&[0, 1, 2]);
    let gap = (until_ms / 10).clamp(14_000, 30_000);
    let mut at = dice.between(gap / 3, gap);
    while at < until_ms {
        let broker = who.draw(&mut dice);
        let down = match bag.draw(&mut dice) {
            Kind::Crash => Act::BrokerKill(broker),
            Kind::Stop => Act::BrokerStop(broker),
        };
        push(steps, at, down);
        at += dice.between(4_000, 9_000);
        push(steps, at, Act::BrokerStart(broker));
        // It takes some seconds to come back; two away at once stop the cluster, which is for the seed to choose.
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}

fn receiver(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
    let mut dice = Dice::new(seed, "receiver");
    let mut bag = Bag::new(&[
        Trouble::RetryAfter(300),
        Trouble::RateLimit(100),
        Trouble::TooMany(300),
        Trouble::Error(200),
        Trouble::Unavailable(400),
        Trouble::Unavailable(1000),
        Trouble::Slow(150),
        Trouble::ResetUnread(100),
        Trouble::ResetRead(100),
        Trouble::TakenThenReset(100),
        Trouble::TakenThenSilence(10),
        Trouble::Tls,
        Trouble::Down,
    ]);
    let gap = (until_ms / 40).clamp(2_500, 7_000);
    let mut at = dice.between(gap / 2, gap);
    while at < until_ms {
        let trouble = bag.draw(&mut dice);
        let for_ms = match trouble {
            Trouble::Down => within(&mut dice, DOWN_MS),
            _ => dice.between(1_500, 4_000),
        };
        push(steps, at, Act::Trouble(trouble));
        at += for_ms;
        push(steps, at, Act::Well);
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}

fn redis(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
    let mut dice = Dice::new(seed, "redis");
    let mut bag = Bag::new(&[Act::RedisKill, Act::RedisPause]);
    let gap = (until_ms / 10).clamp(12_000, 40_000);
    let mut at = dice.between(gap / 2, gap);
    while at < until_ms {
        push(steps, at, bag.draw(&mut dice));
        at += dice.between(500, 5_000);
        push(steps, at, Act::RedisStart);
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}
