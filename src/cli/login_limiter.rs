//! Takes turns at logins, so that no sshd has more of them at the same time than it takes.
//!
//! `pace` decides when which login begins.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cli::pace::{Input, Pace, Refusal, Ticket};
use crate::wire::error::ConnectError;
use crate::{Context, Error};

/// A login that waits for its turn looks at the time at least this often.
const TICK: Duration = Duration::from_millis(500);
/// From this refusal on, ssh is asked to say what the server says before it closes the connection. It says much else
/// then.
const ASK_WHY: u32 = 1;

/// One try to log in.
#[derive(Debug)]
pub(crate) struct Try {
    /// The time for it.
    pub(crate) left: Duration,
    /// Whether ssh is to say why the server refuses it.
    pub(crate) asks_why: bool,
    /// To be cancelled when the server has let it in.
    pub(crate) logged_in: CancellationToken,
}

/// The turns of logins, by server. A server is any text that identifies it.
#[derive(Debug, Default)]
pub(crate) struct LoginLimiter {
    servers: RefCell<HashMap<String, Rc<Server>>>,
}

/// The logins to one server.
#[derive(Debug)]
struct Server {
    pace: RefCell<Pace>,
    /// Logins that wait for their turn.
    waiting: RefCell<HashMap<Ticket, oneshot::Sender<()>>>,
    next: Cell<Ticket>,
    since: Instant,
    /// The error of the last login, if the server has refused it as it refuses this address for a while.
    refusal: RefCell<Option<ConnectError>>,
}

impl LoginLimiter {
    /// Connects the context `name` when its turn comes, and again if the server has refused the login. The tries, the
    /// waits between them and the time of a ban take `limit` together. Waiting for a turn does not count. Without a
    /// `server` there are no turns. `tell` gets what the user has to know while it waits.
    pub(crate) async fn connect(
        &self,
        server: Option<&String>,
        (name, limit): (&str, Duration),
        tell: impl Fn(String),
        mut connect: impl AsyncFnMut(Try) -> Result<Context, Error>,
    ) -> Result<Context, Error> {
        let Some(server) = server else {
            return connect(Try { left: limit, asks_why: false, logged_in: CancellationToken::new() }).await;
        };
        let server = Rc::clone(self.servers.borrow_mut().entry(server.clone()).or_default());
        let mut login = Login::new(&server);
        let mut spent = Duration::ZERO;
        for refusals in 1.. {
            if !login.turn(limit - spent).await
                && let Some(refusal) = server.refusal.borrow().clone()
            {
                return Err(ConnectError { hop: name.to_owned(), ..refusal }.into());
            }
            let begun = Instant::now();
            let logged_in = CancellationToken::new();
            let asks_why = refusals > ASK_WHY || server.refusal.borrow().is_some();
            let this = Try { left: limit - spent, asks_why, logged_in: logged_in.clone() };
            let mut attempt = std::pin::pin!(connect(this));
            let result = tokio::select! {
                biased;
                result = &mut attempt => result,
                () = logged_in.cancelled() => {
                    login.end(true);
                    attempt.await
                }
            };
            let Some(refusal) = refusal(&result) else {
                login.end(result.is_ok());
                return result;
            };
            let wait = refusal.wait(refusals, chance());
            spent += begun.elapsed() + wait;
            // A wait that is longer than the rest of the time would only delay the answer.
            if spent >= limit {
                return result;
            }
            login.wait_again(refusal, wait);
            if let Err(Error::Connect(error)) = result
                && refusal == Refusal::Banned
                && server.refusal.replace(Some(*error)).is_none()
            {
                tell(format!("the server of {name} refuses this address for now (PerSourcePenalties); waiting for it"));
            }
        }
        Err(Error::Misuse("more tries than there are numbers".into()))
    }
}

/// Whether the server has refused a login without looking at it.
fn refusal(result: &Result<Context, Error>) -> Option<Refusal> {
    match result {
        Err(Error::Connect(error)) if error.is_banned() => Some(Refusal::Banned),
        Err(Error::Connect(error)) if error.was_turned_away() => Some(Refusal::Busy),
        _ => None,
    }
}

/// A random number between 0 and 1.
#[expect(clippy::cast_precision_loss, reason = "it is for chance")]
fn chance() -> f64 {
    RandomState::new().hash_one(()) as f64 / u64::MAX as f64
}

impl Default for Server {
    fn default() -> Self {
        Self {
            pace: RefCell::default(),
            waiting: RefCell::default(),
            next: Cell::default(),
            since: Instant::now(),
            refusal: RefCell::default(),
        }
    }
}

impl Server {
    fn step(&self, input: Input) {
        let begun = self.pace.borrow_mut().step(self.since.elapsed(), input);
        let mut waiting = self.waiting.borrow_mut();
        // One that does not wait any more says so itself.
        begun.iter().filter_map(|ticket| waiting.remove(ticket)).for_each(|turn| turn.send(()).unwrap_or_default());
    }
}

/// One login, from its wish to its end.
struct Login {
    server: Rc<Server>,
    ticket: Ticket,
    turn: Option<oneshot::Receiver<()>>,
    has_ended: bool,
    /// Before this it does not begin again.
    due: Instant,
}

impl Login {
    fn new(server: &Rc<Server>) -> Self {
        let ticket = server.next.get();
        server.next.set(ticket + 1);
        let mut login = Self { server: Rc::clone(server), ticket, turn: None, has_ended: false, due: Instant::now() };
        login.wait(Input::Ask(ticket));
        login
    }

    /// Stands in line.
    fn wait(&mut self, input: Input) {
        let (turn, comes) = oneshot::channel();
        self.server.waiting.borrow_mut().insert(self.ticket, turn);
        self.turn = Some(comes);
        self.server.step(input);
    }

    fn wait_again(&mut self, refusal: Refusal, wait: Duration) {
        self.wait(Input::Refused(self.ticket, refusal, wait));
        // Not before what the pace has computed, so that the first look is not too early.
        self.due = Instant::now() + wait;
    }

    /// Waits until it may begin. Returns `false` if the server refuses this address for longer than `left`. The time of
    /// other waits does not count.
    async fn turn(&mut self, mut left: Duration) -> bool {
        while let Some(turn) = &mut self.turn {
            let begun = Instant::now();
            let rest = self.due.duration_since(begun);
            let tick = if rest.is_zero() { TICK } else { rest.min(TICK) };
            match tokio::time::timeout(tick, turn).await {
                Ok(_) => self.turn = None,
                Err(_) => {
                    if self.server.refusal.borrow().is_some() {
                        left = left.saturating_sub(begun.elapsed());
                        if left.is_zero() {
                            return false;
                        }
                    }
                    self.server.step(Input::Tick);
                }
            }
        }
        true
    }

    fn end(&mut self, is_in: bool) {
        if is_in {
            self.server.refusal.take();
        }
        if !std::mem::replace(&mut self.has_ended, true) {
            self.server.step(if is_in { Input::In(self.ticket) } else { Input::Out(self.ticket) });
        }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        self.server.waiting.borrow_mut().remove(&self.ticket);
        self.end(false);
    }
}

#[cfg(test)]
mod tests {
    use crate::wire::error::{Closed, ConnectCause, ConnectErrorKind, Phase};

    use super::*;

    fn refused(cause: ConnectCause) -> Result<Context, Error> {
        let error = ConnectError::new(ConnectErrorKind::Eof, Phase::Login, "ssh.web1", "refused");
        Err(error.with_cause(cause).into())
    }

    fn other() -> Result<Context, Error> {
        Err(Error::Closed(Closed::Router))
    }

    /// Time passes only while everything waits, so that a busy machine changes nothing.
    fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap().block_on(future)
    }

    /// Connects once, and returns how often that was tried, how long it took, what was told, and the error.
    fn paced(
        limit: Duration,
        mut outcome: impl FnMut(u32, Try) -> Result<Context, Error>,
    ) -> (u32, Duration, Vec<String>, Error) {
        let (mut tries, told) = (0, RefCell::default());
        let (limiter, server) = (LoginLimiter::default(), "web".to_owned());
        let tell = |text| RefCell::<Vec<String>>::borrow_mut(&told).push(text);
        let (result, took) = on_one_thread(async {
            let start = Instant::now();
            let login = limiter.connect(Some(&server), ("ssh.web2", limit), tell, async |this| {
                tries += 1;
                outcome(tries, this)
            });
            (login.await, start.elapsed())
        });
        (tries, took, told.take(), result.unwrap_err())
    }

    #[test]
    fn a_login_that_is_turned_away_begins_again_and_others_do_not() {
        let limit = Duration::from_secs(30);
        assert_eq!(paced(limit, |_, _| other()).0, 1);
        let busy = |tries, _| if tries < 3 { refused(ConnectCause::TurnedAway) } else { other() };
        let (tries, _, told, error) = paced(limit, busy);
        assert!(tries == 3 && told.is_empty() && matches!(error, Error::Closed(_)), "{tries} {told:?} {error}");
    }

    #[test]
    fn no_login_begins_again_when_the_rest_of_the_time_is_shorter_than_its_wait() {
        let limit = Duration::from_millis(1500);
        let (tries, took, ..) = paced(limit, |_, this| {
            assert!(this.left <= limit);
            refused(ConnectCause::TurnedAway)
        });
        assert!((3..=7).contains(&tries) && took <= limit, "{tries} tries in {took:?}");
    }

    #[test]
    fn a_server_that_refuses_the_address_is_asked_why_and_the_user_is_told_once() {
        let asked = RefCell::new(Vec::new());
        let (_, _, told, error) = paced(Duration::from_secs(4), |_, this| {
            asked.borrow_mut().push(this.asks_why);
            refused(if this.asks_why { ConnectCause::Banned } else { ConnectCause::TurnedAway })
        });
        let asked = asked.take();
        assert!(asked.len() >= 2 && asked.iter().enumerate().all(|(nth, asked)| *asked == (nth > 0)), "{asked:?}");
        assert!(told.len() <= 1 && told.iter().all(|text| text.contains("PerSourcePenalties")), "{told:?}");
        assert!(matches!(error, Error::Connect(error) if error.is_banned()));
    }

    #[test]
    fn no_more_logins_are_in_flight_than_the_pace_allows_and_one_that_is_let_in_leaves_its_turn() {
        let (limiter, server) = (LoginLimiter::default(), "web".to_owned());
        let (now, most, all) = (Cell::new(0), Cell::new(0), Cell::new(0));
        let one = || {
            limiter.connect(
                Some(&server),
                ("ssh.web1", Duration::from_secs(9)),
                |_| (),
                async |this| {
                    now.update(|now| now + 1);
                    most.set(most.get().max(now.get()));
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    now.update(|now| now - 1);
                    all.update(|all| all + 1);
                    if all.get() > 4 {
                        return other();
                    }
                    // The upload takes longer than the login.
                    this.logged_in.cancel();
                    std::future::pending().await
                },
            )
        };
        let all_of_them = async {
            let mut each: Vec<_> = (0..40).map(|_| Box::pin(one())).collect();
            let mut over = 0;
            std::future::poll_fn(|context| {
                each.retain_mut(|login| {
                    let is_over = login.as_mut().poll(context).is_ready();
                    over += u32::from(is_over);
                    !is_over
                });
                if over == 36 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        };
        on_one_thread(async { tokio::time::timeout(Duration::from_secs(20), all_of_them).await }).unwrap();
        assert!((2..=9).contains(&most.get()) && all.get() == 40, "{most:?} {all:?}");
    }
}
