//! How many logins happen at the same time.
//!
//! An sshd may refuse connections while 10 or more have not logged in yet (MaxStartups). So logins to the same
//! sshd take turns. The tool cannot know that two aliases belong to one sshd. So a login that was refused is
//! tried again after some time, with few others at the same time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::{Context, Error};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Most logins to one sshd at the same time. From 10 on, sshd may refuse them.
const LOGINS: usize = 8;
/// Most logins at the same time that are tried again.
const AGAIN: usize = 4;
/// How often a refused login is tried again.
const TRIES: u32 = 6;
/// The first wait. Each further wait is twice as long.
const WAIT: Duration = Duration::from_millis(100);

/// The turns of logins.
#[derive(Debug)]
pub(crate) struct LoginLimiter {
    servers: HashMap<String, Semaphore>,
    turned_away: Semaphore,
}

impl LoginLimiter {
    /// Makes turns for logins to these servers. A server is any text that identifies it.
    pub(crate) fn new(servers: impl IntoIterator<Item = String>) -> Self {
        let servers = servers.into_iter().map(|server| (server, Semaphore::new(LOGINS))).collect();
        Self { servers, turned_away: Semaphore::new(AGAIN) }
    }

    /// Connects when its turn comes, and again if the server was too busy. All of this happens within `limit`
    /// from the first try on. `connect` gets the remaining time. Without a `server` it does not wait for a
    /// turn.
    pub(crate) async fn connect(
        &self,
        server: Option<&String>,
        limit: Duration,
        mut connect: impl AsyncFnMut(Duration) -> Result<Context, Error>,
    ) -> Result<Context, Error> {
        let turn = self.turn(server.and_then(|server| self.servers.get(server))).await;
        let start = Instant::now();
        let mut result = connect(limit).await;
        drop(turn);
        for tried in 0..TRIES {
            if !matches!(&result, Err(Error::Connect(error)) if error.was_turned_away()) {
                break;
            }
            let left = || limit.saturating_sub(start.elapsed());
            let wait = spread(WAIT * 2u32.pow(tried));
            // A wait that is longer than the rest of the time would only delay the answer.
            if wait >= left() {
                break;
            }
            tokio::time::sleep(wait).await;
            let turn = self.turn(Some(&self.turned_away));
            let Ok(_turn) = tokio::time::timeout(left(), turn).await else { break };
            let left = left();
            if left.is_zero() {
                break;
            }
            result = connect(left).await;
        }
        result
    }

    async fn turn<'a>(&self, of: Option<&'a Semaphore>) -> Option<SemaphorePermit<'a>> {
        match of {
            Some(turns) => turns.acquire().await.ok(),
            None => None,
        }
    }
}

/// A random time between half and one and a half of `wait`, so that logins that were refused together are not
/// tried again together.
fn spread(wait: Duration) -> Duration {
    #[expect(clippy::cast_precision_loss, reason = "it is for chance")]
    let chance = RandomState::new().hash_one(()) as f64 / u64::MAX as f64;
    wait.mul_f64(0.5 + chance)
}

#[cfg(test)]
mod tests {
    use crate::wire::error::ConnectCause;
    use crate::wire::error::{Closed, ConnectError, ConnectErrorKind, Phase};

    use super::*;

    fn turned_away() -> Result<Context, Error> {
        let error = ConnectError::new(ConnectErrorKind::Eof, Phase::Login, "ssh.web1", "busy");
        Err(error.with_cause(ConnectCause::TurnedAway).into())
    }

    fn paced(limit: Duration, mut error: impl FnMut(u32) -> Result<Context, Error>) -> (u32, Duration) {
        let mut tries = 0;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let start = Instant::now();
        let result = runtime.block_on(LoginLimiter::new([]).connect(None, limit, async |_| {
            tries += 1;
            error(tries)
        }));
        assert!(result.is_err());
        (tries, start.elapsed())
    }

    #[test]
    fn who_is_turned_away_comes_again_and_others_do_not() {
        let other = || Err(Error::Closed(Closed::Router));
        assert_eq!(paced(Duration::from_secs(30), |_| other()).0, 1);
        assert_eq!(paced(Duration::from_secs(30), |tries| if tries < 3 { turned_away() } else { other() }).0, 3);
    }

    #[test]
    fn nobody_comes_again_when_the_time_is_up() {
        let (tries, took) = paced(Duration::from_millis(200), |_| turned_away());
        assert!((2..=4).contains(&tries), "{tries}");
        assert!(took < Duration::from_secs(2), "{took:?}");
    }

    #[test]
    fn the_last_wait_is_not_begun_if_it_would_take_longer_than_the_time_that_is_left() {
        // The waits add up to 6.3 s, and the last one alone has 1.6 s at least.
        let limit = Duration::from_millis(1500);
        let (tries, took) = paced(limit, |_| turned_away());
        assert!((3..=6).contains(&tries) && took < limit, "{tries} tries in {took:?}");
    }

    #[test]
    fn waits_are_spread_about_what_they_are_to_be() {
        let waits: Vec<Duration> = (0..100).map(|_| spread(WAIT)).collect();
        assert!(waits.iter().all(|wait| (WAIT / 2..=WAIT * 3 / 2).contains(wait)));
        assert!(waits.iter().any(|wait| *wait != waits[0]));
    }
}
