//! What is done to whom: one track each, which knows nothing of the others.

use super::{Act, Bag, Deed, Dice, Flow, State, Step, Trouble};

/// How long a member that was ended for scaling in stays away, and one that crashed.
const AWAY_MS: (u64, u64) = (8_000, 14_000);
const CRASHED_MS: (u64, u64) = (500, 4_000);
/// Longer than the session of 6 s.
const PAUSE_MS: (u64, u64) = (7_500, 10_000);
/// Longer than `max.poll.interval.ms` of 10 s.
const DOWN_MS: (u64, u64) = (11_500, 13_500);
/// Shorter than the session.
const SHORT_MS: (u64, u64) = (1_000, 4_500);
/// Longer than what is on the wire may take.
const HELD_MS: (u64, u64) = (5_500, 8_000);

fn push(steps: &mut Vec<Step>, at_ms: u64, act: Act) {
    steps.push(Step { at_ms, act });
}

fn within(dice: &mut Dice, (low, high): (u64, u64)) -> u64 {
    dice.between(low, high)
}

pub(super) fn members(seed: u64, until_ms: u64, state: State, steps: &mut Vec<Step>) {
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

pub(super) fn brokers(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
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

pub(super) fn receiver(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
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

pub(super) fn redis(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
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

pub(super) fn keys(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
    let mut dice = Dice::new(seed, "keys");
    let gap = (until_ms / 5).clamp(15_000, 60_000);
    let mut at = dice.between(gap / 2, gap);
    while at < until_ms {
        push(steps, at, Act::Rotate);
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}

pub(super) fn leaders(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
    let mut dice = Dice::new(seed, "leaders");
    let mut bag = Bag::new(&[Act::Leaders(0), Act::Coordinator, Act::Leaders(1)]);
    let gap = (until_ms / 10).clamp(10_000, 30_000);
    let mut at = dice.between(gap / 3, gap);
    while at < until_ms {
        push(steps, at, bag.draw(&mut dice));
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}

pub(super) fn network(seed: u64, until_ms: u64, state: State, steps: &mut Vec<Step>) {
    use Flow::{Reset, Stalled};
    #[derive(Clone, Copy)]
    enum Way {
        Apart(Flow),
        Cut(Flow, (u64, u64)),
        Redis(Flow),
    }
    let mut ways = vec![
        Way::Apart(Stalled),
        Way::Apart(Reset),
        Way::Cut(Stalled, SHORT_MS),
        Way::Cut(Stalled, PAUSE_MS),
        Way::Cut(Reset, PAUSE_MS),
    ];
    if state == State::Redis {
        ways.extend([Way::Redis(Stalled), Way::Redis(Reset)]);
    }
    let mut dice = Dice::new(seed, "network");
    let mut bag = Bag::new(&ways);
    let gap = (until_ms / 10).clamp(9_000, 25_000);
    let mut at = dice.between(gap / 3, gap);
    while at < until_ms {
        let member = usize::try_from(dice.below(state.members() as u64)).expect("a member");
        let (way, for_ms): (fn(usize, Flow) -> Act, _) = match bag.draw(&mut dice) {
            Way::Apart(flow) => (Act::Apart, (flow, SHORT_MS)),
            Way::Cut(flow, for_ms) => (Act::Cut, (flow, for_ms)),
            Way::Redis(flow) => (Act::RedisCut, (flow, SHORT_MS)),
        };
        let (flow, for_ms) = for_ms;
        push(steps, at, way(member, flow));
        at += within(&mut dice, for_ms);
        push(steps, at, way(member, Flow::Open));
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}

pub(super) fn operators(seed: u64, until_ms: u64, steps: &mut Vec<Step>) {
    #[derive(Clone, Copy)]
    enum Kind {
        One(Deed),
        Hold,
        Rewind,
    }
    let mut dice = Dice::new(seed, "operators");
    let mut bag = Bag::new(&[
        Kind::One(Deed::Replay { forced: false }),
        Kind::One(Deed::SkipNamed),
        Kind::Rewind,
        Kind::One(Deed::Replay { forced: false }),
        Kind::One(Deed::SkipBlocking),
        Kind::One(Deed::Replay { forced: true }),
        Kind::Hold,
    ]);
    let gap = (until_ms / 20).clamp(3_000, 15_000);
    // There are dead letters by then.
    let mut at = gap * 2;
    while at < until_ms {
        let mut deed = |at, deed| push(steps, at, Act::Operator(deed));
        match bag.draw(&mut dice) {
            Kind::One(one) => deed(at, one),
            Kind::Hold => {
                deed(at, Deed::Hold);
                at += within(&mut dice, HELD_MS);
                deed(at, Deed::Resume);
            }
            Kind::Rewind => {
                deed(at, Deed::Hold);
                at += dice.between(500, 2_000);
                let records = u16::try_from(dice.between(20, 300)).expect("few");
                deed(at, Deed::Rewind(records));
                at += dice.between(500, 1_500);
                deed(at, Deed::Resume);
            }
        }
        at += dice.between(gap / 2, gap * 3 / 2);
    }
}
