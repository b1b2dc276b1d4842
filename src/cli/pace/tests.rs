use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn asked(count: u64) -> (Pace, Vec<Ticket>) {
    let mut pace = Pace::default();
    let begun = (0..count).flat_map(|ticket| pace.step(ms(0), Input::Ask(ticket))).collect();
    (pace, begun)
}

#[test]
fn few_begin_and_each_that_succeeds_lets_another_begin() {
    let (mut pace, begun) = asked(100);
    assert_eq!(begun, (0..8).collect::<Vec<_>>());
    assert_eq!(pace.step(ms(1), Input::In(0)), [8]);
    assert_eq!(pace.step(ms(1), Input::Out(1)), [9]);
    assert_eq!(pace.step(ms(1), Input::Tick), [0; 0]);
}

#[test]
fn as_many_as_were_allowed_have_to_succeed_before_more_are() {
    let (mut pace, _) = asked(1000);
    let begun: Vec<usize> = (0..17).map(|ticket| pace.step(ms(1), Input::In(ticket)).len()).collect();
    assert_eq!(begun, [1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
}

#[test]
fn logins_that_are_refused_together_halve_the_number_once() {
    let (mut pace, _) = asked(100);
    for ticket in 0..3 {
        pace.step(ms(1), Input::Refused(ticket, Refusal::Busy, ms(100)));
    }
    assert_eq!((pace.window, pace.ceiling, pace.in_flight.len()), (4, 7, 5));
    // One that begins after that halves it again.
    assert_eq!([pace.step(ms(2), Input::In(3)), pace.step(ms(2), Input::In(4))].concat(), [8, 9, 10]);
    pace.step(ms(3), Input::Refused(8, Refusal::Busy, ms(100)));
    assert_eq!(pace.window, 3);
}

#[test]
fn a_refused_login_begins_again_after_its_wait_before_all_others() {
    let (mut pace, _) = asked(100);
    assert_eq!(pace.step(ms(1), Input::Refused(0, Refusal::Busy, ms(50))), [0; 0]);
    for ticket in 1..4 {
        assert_eq!(pace.step(ms(2), Input::Out(ticket)), [0; 0]);
    }
    assert_eq!(pace.step(ms(50), Input::Out(4)), [8]);
    assert_eq!(pace.step(ms(51), Input::Out(5)), [0]);
}

#[test]
fn while_this_address_is_refused_one_login_asks_from_time_to_time() {
    let (mut pace, _) = asked(100);
    for ticket in 0..8 {
        assert_eq!(pace.step(ms(1), Input::Refused(ticket, Refusal::Banned, ms(5000))), [0; 0]);
    }
    assert!(pace.is_banned());
    assert_eq!(pace.step(ms(2400), Input::Tick), [0; 0]);
    assert_eq!(pace.step(ms(2502), Input::Tick), [8], "one");
    assert_eq!(pace.step(ms(9000), Input::Tick), [0; 0], "and no other beside it");
    assert_eq!(pace.step(ms(9000), Input::In(8)), (0..8).collect::<Vec<_>>(), "until it is let in");
    assert!(!pace.is_banned());
}

#[test]
fn waits_grow_to_a_limit_and_are_spread() {
    assert_eq!(Refusal::Busy.wait(1, 0.0), ms(50));
    assert_eq!(Refusal::Busy.wait(1, 1.0), ms(150));
    assert_eq!(Refusal::Busy.wait(3, 0.5), ms(400));
    assert_eq!(Refusal::Busy.wait(u32::MAX, 0.5), MAX_WAIT);
    assert_eq!(Refusal::Banned.wait(1, 0.5), BAN_POLL);
}

/// An sshd that refuses by its MaxStartups, and bans for some time.
struct Server {
    begin: usize,
    full: usize,
    ban: std::ops::Range<Duration>,
}

/// A step after which no more are in flight than may be, if any have begun in it.
fn step(pace: &mut Pace, now: Duration, input: Input) -> Result<Vec<Ticket>, TestCaseError> {
    let begun = pace.step(now, input);
    prop_assert!(begun.is_empty() || pace.in_flight.len() <= pace.limit(now), "{} in flight", pace.in_flight.len());
    Ok(begun)
}

/// Runs all logins to their end against a server, and returns the most that were in flight and how long it took.
/// Each login takes some time, and some end without success or are given up while they wait.
fn run(server: &Server, logins: u64, mut chance: impl FnMut() -> f64) -> Result<(usize, Duration), TestCaseError> {
    let (mut pace, mut waiting) = (Pace::default(), (0..logins).collect::<HashSet<_>>());
    let (mut flying, mut times, mut most, mut now) =
        (Vec::<(Duration, Ticket, Input)>::new(), HashMap::new(), 0, ms(0));
    let mut begun = Vec::new();
    for ticket in 0..logins {
        begun.extend(step(&mut pace, now, Input::Ask(ticket))?);
    }
    while !waiting.is_empty() {
        for ticket in begun.drain(..) {
            prop_assert!(waiting.contains(&ticket), "{} begins after its end", ticket);
            prop_assert!(!flying.iter().any(|(_, other, _)| *other == ticket), "{} begins twice", ticket);
            let busy = flying.len();
            let share = (busy.saturating_sub(server.begin)) as f64 / (server.full - server.begin) as f64;
            let is_banned = server.ban.contains(&now);
            let is_refused = is_banned || busy >= server.full || busy >= server.begin && chance() < 0.3 + 0.7 * share;
            let (takes, ends) = if is_refused {
                let times = times.entry(ticket).and_modify(|times| *times += 1).or_insert(1);
                let refusal = if is_banned { Refusal::Banned } else { Refusal::Busy };
                (1, Input::Refused(ticket, refusal, refusal.wait(*times, chance())))
            } else if chance() < 0.1 {
                (20, Input::Out(ticket))
            } else {
                (20 + (chance() * 100.0) as u64, Input::In(ticket))
            };
            flying.push((now + ms(takes), ticket, ends));
            most = most.max(flying.len());
        }
        prop_assert_eq!(flying.len(), pace.in_flight.len());
        now += ms(1);
        prop_assert!(now < ms(600_000), "{} logins starve", waiting.len());
        let (over, rest) = std::mem::take(&mut flying).into_iter().partition(|(at, ..)| *at <= now);
        flying = rest;
        for (_, ticket, ends) in over {
            if !matches!(ends, Input::Refused(..)) {
                waiting.remove(&ticket);
            }
            begun.extend(step(&mut pace, now, ends)?);
        }
        begun.extend(step(&mut pace, now, Input::Tick)?);
    }
    Ok((most, now))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_login_ends_and_none_starves(
        begin in 1..40_usize,
        above in 1..100_usize,
        logins in 1..600_u64,
        ban in (0..3000_u64, 0..30_000_u64),
        seed in any::<u64>(),
    ) {
        let server = Server { begin, full: begin + above, ban: ms(ban.0)..ms(ban.0 + ban.1) };
        let mut state = seed | 1;
        let (most, _) = run(&server, logins, || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 53) as f64
        })?;
        prop_assert!(most <= FIRST.max(begin + above + 1), "{} in flight", most);
    }
}

#[test]
fn a_server_with_default_settings_is_hardly_slower_than_one_without_limits() {
    let run = |server: &Server| {
        let mut state = 1_u64;
        let chance = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        run(server, 512, chance).unwrap()
    };
    let (most, time) = run(&Server { begin: 10, full: 100, ban: ms(0)..ms(0) });
    assert!((9..=12).contains(&most), "{most}");
    let (most, unlimited) = run(&Server { begin: 9999, full: 10_000, ban: ms(0)..ms(0) });
    assert!(most > 20, "{most}");
    assert!(time < unlimited * 3, "{time:?} and {unlimited:?}, where only the server's time counts");
}
