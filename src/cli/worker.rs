//! The work on each host: the worker connects, runs the command or function, and reports the result.

mod failure;
mod shell_words;
mod transfer;

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::failure::failed;
use crate::api::exported::{EncodedArgs, Exported};
use crate::builtin::process as command;
use crate::builtin::process::run_process::{self, CommandLine};
use crate::cli::args::running::RunningArgs;
use crate::cli::args::{OutputArgs, ReachArgs};
use crate::cli::doctor;
use crate::cli::hosts::path::HostPath;
use crate::cli::input::Input;
use crate::cli::output::report::{HostEvent, HostExit, HostIndex, Open, Stream};
use crate::cli::output::summary::Status;
use crate::cli::retry::{self, Retries};
use crate::cli::rollout::{Next, Rollout};
use crate::cli::substitution::{self, Values};
use crate::cli::transfer::Transfer;
use crate::cli::transfer::meter::Meters;
use crate::cli::tree::Tree;
use crate::connect::host_path::own_methods::OwnMethod;
use crate::wire::error::{ConnectErrorKind, Phase};
use crate::{Blob, Call, Context, Error, Receiver, Sender};

/// If processes that a command has left hold its output open and are silent, the host has this long to report
/// that.
const LAST_WORD: Duration = Duration::from_millis(500);

/// The work on each host.
#[derive(Clone)]
pub(super) enum Work {
    Command(CommandLine),
    Call(Exported, EncodedArgs),
    Transfer(Rc<Transfer>),
}

impl Work {
    /// What `--allow` has to name for it.
    fn needs(&self) -> &'static str {
        match self {
            Self::Command(_) => "commands",
            Self::Call(function, _) => function.name(),
            Self::Transfer(_) => "files",
        }
    }
}

/// What stdin is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    /// Each host gets a copy of it.
    ForCommands,
    /// The script, which has been read.
    Script,
    Unread,
}

/// The work, the hosts, the time limit, and how to show the output.
#[derive(Clone)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) reach: ReachArgs,
    pub(super) running: RunningArgs,
    pub(super) output: OutputArgs,
    pub(super) timeout: Option<Duration>,
    /// Whether the words of the command have values that differ from host to host.
    pub(super) substitutes: bool,
    /// Whether a shell of the host reads the command.
    pub(super) is_shell: bool,
    pub(super) stdin: Stdin,
    /// The words that a dry run shows in place of those of the command. Some of these get their value on the host.
    pub(super) shown: Option<Vec<OsString>>,
}

impl Job {
    /// How far its copies are, if it is a copy.
    pub(super) fn meters(&self) -> Option<Arc<Meters>> {
        if let Work::Transfer(transfer) = &self.work { Some(Arc::clone(&transfer.meters)) } else { None }
    }
}

/// State that the workers of all hosts share.
#[derive(Clone)]
pub(super) struct Workers {
    pub(super) tree: Rc<Tree>,
    pub(super) events: mpsc::Sender<HostEvent>,
    /// Set when the run is interrupted.
    pub(super) stop: CancellationToken,
    pub(super) ends: Rc<Ends>,
    pub(super) input: Option<Rc<Input>>,
}

/// The state of the workers, even if their results could not be shown yet.
#[derive(Debug)]
pub(super) struct Ends {
    /// Number of hosts with a running worker.
    running: Cell<usize>,
    pub(super) timed_out: Cell<bool>,
    rollout: RefCell<Rollout>,
    /// Wakes the start of further hosts when a host has ended.
    ended: Notify,
    /// Why hosts were not started, if the run has decided so itself.
    stopped: RefCell<Option<String>>,
}

impl Ends {
    pub(super) fn new(rollout: Rollout) -> Self {
        let (running, timed_out) = (Cell::default(), Cell::default());
        Self { running, timed_out, rollout: rollout.into(), ended: Notify::new(), stopped: RefCell::default() }
    }

    /// The next host to start, when its batch has begun; `None` if no more hosts are started.
    async fn next(&self) -> Option<usize> {
        loop {
            let next = self.rollout.borrow_mut().next();
            match next {
                Next::Start(index) => return Some(index),
                Next::Wait => self.ended.notified().await,
                Next::Done => return None,
                Next::Stop(why) => {
                    self.stop(why);
                    return None;
                }
            }
        }
    }

    /// Notes that a host has ended.
    fn end(&self, is_ok: bool) {
        self.rollout.borrow_mut().ended(is_ok);
        self.ended.notify_one();
    }

    /// Notes why the run is stopped early.
    pub(super) fn stop(&self, why: String) {
        self.stopped.borrow_mut().get_or_insert(why);
    }

    /// Why the run was stopped early, if it was.
    pub(super) fn why_stopped(&self) -> Option<String> {
        self.stopped.borrow().clone()
    }

    /// How many hosts have been started: those before this index.
    pub(super) fn started(&self) -> usize {
        self.rollout.borrow().started()
    }

    /// Whether a time limit has passed and all workers have finished, so that only readers are waited for.
    pub(super) fn is_over_time(&self) -> bool {
        self.timed_out.get() && self.running.get() == 0
    }
}

/// Starts the workers in the order of the hosts. The fan-out limits how many run at the same time, and the
/// rollout decides when and whether the next one starts.
pub(super) async fn start_all(job: Job, hosts: Vec<HostPath>, workers: Workers) {
    let places = Arc::new(Semaphore::new(job.reach.fanout as usize));
    let (job, alone) = (Rc::new(job), hosts.len() == 1);
    for host in hosts {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some(index) = workers.ends.next().await else { return };
        let (job, workers) = (Rc::clone(&job), workers.clone());
        tokio::task::spawn_local(async move {
            let Workers { tree, events, stop, ends, input } = workers;
            let host_index = HostIndex(index);
            let worker = Worker { host: host_index, alone, events, stop, input, rest: RefCell::default() };
            ends.running.update(|running| running + 1);
            let started = Instant::now();
            let ended = tokio::select! {
                // This branch comes first: a run that is stopped ends the contexts at once, and that must not
                // look like a lost connection.
                biased;
                () = worker.stop.cancelled() => None,
                exit = worker.work(&tree, &host, &job) => Some(exit),
            };
            ends.running.update(|running| running - 1);
            worker.input.iter().for_each(|input| input.leave(index));
            if ended.as_ref().is_some_and(|exit| exit.status == Status::Timeout) {
                ends.timed_out.set(true);
            }
            let seconds = started.elapsed().as_secs_f64();
            for event in worker.rest.take() {
                worker.show(event).await;
            }
            let is_cancelled = ended.is_none();
            let exit = ended.unwrap_or_else(HostExit::cancelled);
            let is_ok = exit.status == Status::Ok;
            // An error means that the report is gone.
            let _ = worker.events.send(HostEvent::Exit { host: worker.host, exit: HostExit { seconds, ..exit } }).await;
            drop(worker);
            ends.end(is_ok);
            if is_cancelled {
                // Its context ends together with all others.
                return;
            }
            tree.leave(&host.hops).await;
            drop(place);
        });
    }
}

/// The work on one host.
struct Worker {
    host: HostIndex,
    /// Whether this is the only host.
    alone: bool,
    events: mpsc::Sender<HostEvent>,
    stop: CancellationToken,
    input: Option<Rc<Input>>,
    /// Events that had arrived but were not shown when the command ended or was stopped.
    rest: RefCell<Vec<command::Event>>,
}

impl Worker {
    /// Works on the host until an attempt is the last one, and returns how that ended.
    async fn work(&self, tree: &Rc<Tree>, host: &HostPath, job: &Job) -> HostExit {
        let retries = Retries::new(&job.running);
        for attempts in 1.. {
            let began = Instant::now();
            let exit = HostExit { attempts, ..Box::pin(self.attempt(tree, host, job)).await };
            let Some(wait) = retries.wait(attempts, &exit, retry::chance()) else { return exit };
            for event in self.rest.take() {
                self.show(event).await;
            }
            let exit = HostExit { seconds: began.elapsed().as_secs_f64(), ..exit };
            // An error means that the report is gone.
            let _ = self.events.send(HostEvent::Retry { host: self.host, exit, wait }).await;
            tokio::time::sleep(wait).await;
            tree.renew(&host.hops, retries.most).await;
        }
        HostExit::cancelled()
    }

    async fn attempt(&self, tree: &Rc<Tree>, host: &HostPath, job: &Job) -> HostExit {
        let context = match tree.context(&host.hops).await {
            Ok(context) => context,
            Err(error) => return self.unreachable(&error, host),
        };
        let (what, done) = match &job.work {
            Work::Command(command) => {
                let command = self.substituted(command, host, job);
                ("command", self.command(&context, &command, job.timeout).await)
            }
            Work::Call(function, args) => ("call", self.call(&context, *function, args, job.timeout).await),
            Work::Transfer(transfer) => {
                let copied = Box::pin(self.transfer(&context, transfer, host));
                let copied = match job.timeout {
                    None => copied.await,
                    Some(after) => match tokio::time::timeout(after, copied).await {
                        Ok(copied) => copied,
                        Err(_) => Err(Error::Timeout { after, what: "copy".into() }),
                    },
                };
                ("copy", copied)
            }
        };
        match done {
            Ok(exit) => exit,
            Err(error) => {
                let is_lost = matches!(error, Error::Channel(_)) && error.is_disconnected();
                let mut exit = failure::of_work(error, what, context.name());
                let Some(info) = &mut exit.error else { return exit };
                match &job.work {
                    _ if is_lost => {
                        for line in tree.last_words(&host.hops).await {
                            info.text.push_str(&format!("\n{line}"));
                        }
                    }
                    _ if info.kind == "refused" && !job.reach.least.allow.is_empty() => {
                        info.advice = format!("{what} needs --allow {}", job.work.needs());
                    }
                    Work::Command(command) if info.kind == "call" => {
                        info.advice = shell_words::advice(&command.argv).unwrap_or_default();
                    }
                    _ => {}
                }
                exit
            }
        }
    }

    /// The command for this host.
    fn substituted(&self, command: &CommandLine, host: &HostPath, job: &Job) -> CommandLine {
        let mut command = command.clone();
        if job.substitutes {
            let values = Values { host: &host.text, number: self.host.0 };
            for word in &mut command.argv {
                // The tool has checked the words before the run.
                *word = substitution::apply(word, values).unwrap_or_default();
            }
        }
        command
    }

    fn unreachable(&self, error: &Error, host: &HostPath) -> HostExit {
        let Error::Connect(error) = error else {
            let before = if host.hops.len() > 1 { "a hop on the way to it was lost: " } else { "" };
            return failed(Status::Unreachable, "disconnect", "start", "", format!("{before}{error}"));
        };
        let text = std::iter::once(&error.text).chain(&error.tail).cloned().collect::<Vec<_>>().join("\n");
        let mut exit = failed(Status::Unreachable, error.kind.as_str(), &error.phase.to_string(), &error.hop, text);
        if let Some(info) = &mut exit.error {
            info.advice.clone_from(&error.advice);
            if error.kind == ConnectErrorKind::Start && error.phase == Phase::Start {
                let own = host.hops.iter().filter_map(|hop| hop.method.own());
                let is_it = |method: &&OwnMethod| format!(".{}", error.hop).contains(&format!(".{}.", method.name));
                if let Some(OwnMethod { name, argv, .. }) = own.into_iter().find(is_it) {
                    let program = argv.first().map_or("", String::as_str);
                    info.advice = format!(
                        "`{program}` is the program of the method {name}, as the configuration says: {}",
                        error.advice
                    );
                }
            }
            if error.is_unexplained() {
                // The doctor asks ssh again, without silence.
                info.advice.push_str(&format!(", or run `offshoot doctor {}`", host.text));
            }
            info.steps = match error.phase {
                // The text already has everything.
                Phase::Start | Phase::Login => String::new(),
                _ if self.alone => doctor::in_full(&error.steps()),
                _ => doctor::in_short(&error.steps(), &host.text),
            };
        }
        exit
    }

    async fn command(
        &self,
        context: &Context,
        command: &CommandLine,
        limit: Option<Duration>,
    ) -> Result<HostExit, Error> {
        let mut command = command.clone();
        if self.input.is_some() {
            command.stdin = run_process::Input::Stream;
        }
        let command::Running { events, mut exit } = command::Running::start(context, None, command);
        let (stdin, started) = oneshot::channel();
        let mut taking = Taking::new(self, events, stdin);
        let refused = self.feed(started);
        tokio::pin!(refused);
        let late = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let exit = tokio::select! {
            exit = taking.follow(&mut exit) => Some(exit?),
            why = &mut refused => {
                taking.leave_rest();
                return Ok(failed(Status::Failed, "stdin", "command", context.name(), why));
            }
            () = late => taking.follow_silence(&mut exit).await?,
        };
        // Events that have arrived are still shown.
        taking.leave_rest();
        let Some(exit) = exit else {
            let limit = limit.unwrap_or_default();
            if let Some((_, code, signal)) = taking.ended {
                let status = if code == Some(0) { Status::Ok } else { Status::Failed };
                return Ok(HostExit { status, code, signal, open: Open::OverTime(limit), ..HostExit::cancelled() });
            }
            return Err(Error::Timeout { after: limit, what: "command".into() });
        };
        let missing = exit.missing(taking.received);
        if missing > 0 {
            let text = format!("{missing} bytes of the output of the command were lost on the way");
            let cut = failed(Status::Failed, "output_cut", "command", context.name(), text);
            return Ok(HostExit { code: exit.code, signal: exit.signal, open: exit.open.into(), ..cut });
        }
        let status = if exit.success() { Status::Ok } else { Status::Failed };
        Ok(HostExit { status, code: exit.code, signal: exit.signal, open: exit.open.into(), ..HostExit::cancelled() })
    }

    /// Sends stdin to the command when it runs. Returns only if the command cannot get all of it, with the
    /// reason.
    async fn feed(&self, started: oneshot::Receiver<Sender<Blob>>) -> String {
        if let (Some(input), Ok(stdin)) = (&self.input, started.await)
            && let Err(why) = input.feed(self.host.0, &stdin).await
        {
            return why;
        }
        std::future::pending().await
    }

    async fn call(
        &self,
        context: &Context,
        function: Exported,
        args: &EncodedArgs,
        limit: Option<Duration>,
    ) -> Result<HostExit, Error> {
        let json = function.call(context, args, limit).await?;
        // An error means that the report is gone.
        let _ = self.events.send(HostEvent::Result { host: self.host, json }).await;
        Ok(HostExit { status: Status::Ok, ..HostExit::cancelled() })
    }

    async fn show(&self, event: command::Event) {
        if let Some(event) = self.output(event) {
            // An error means that the report is gone.
            let _ = self.events.send(event).await;
        }
    }

    fn output(&self, event: command::Event) -> Option<HostEvent> {
        let (stream, bytes) = match event {
            command::Event::Stdout(Blob(bytes)) => (Stream::Stdout, bytes),
            command::Event::Stderr(Blob(bytes)) => (Stream::Stderr, bytes),
            _ => return None,
        };
        Some(HostEvent::Output { host: self.host, stream, bytes })
    }
}

/// The events of a command, on their way to the report. Events that have arrived when the command ends or is
/// given up are left to the worker.
struct Taking<'a> {
    worker: &'a Worker,
    events: Receiver<command::Event>,
    /// An event for which the report has no room yet.
    pending: Option<command::Event>,
    /// Bytes of stdout and stderr that have arrived.
    received: [u64; 2],
    /// When the end of the command was reported while its output was still open, and its exit code or signal.
    ended: Option<(Instant, Option<i32>, Option<i32>)>,
    /// Receives the sender for the command's input.
    stdin: Option<oneshot::Sender<Sender<Blob>>>,
}

impl<'a> Taking<'a> {
    fn new(worker: &'a Worker, events: Receiver<command::Event>, stdin: oneshot::Sender<Sender<Blob>>) -> Self {
        Self { worker, events, pending: None, received: [0; 2], ended: None, stdin: Some(stdin) }
    }

    /// Passes on events until the command has ended, and returns how it ended. Cancel safe: it can be called
    /// again. It notices the end even if the report has no room, and even if the connection was lost after it.
    async fn follow(&mut self, exit: &mut Call<command::Exit>) -> Result<command::Exit, Error> {
        loop {
            tokio::select! {
                biased;
                passed = self.pass_on() => match passed {
                    // The end may have arrived before the connection was lost.
                    Err(error) if error.is_disconnected() => return exit.await,
                    passed => passed?,
                },
                exit = &mut *exit => return exit,
            }
        }
    }

    /// Goes on when the time limit is over, for a command that has ended in time. If other processes hold its
    /// output open and are silent, the host is not late: it reports that after the silence. `None` if the command
    /// has not ended, or if more output comes.
    async fn follow_silence(&mut self, exit: &mut Call<command::Exit>) -> Result<Option<command::Exit>, Error> {
        let Some((ended, ..)) = self.ended else { return Ok(None) };
        if self.pending.is_some() {
            return Ok(None);
        }
        tokio::select! {
            biased;
            exit = exit => exit.map(Some),
            event = self.events.recv() => {
                self.take(event?);
                Ok(None)
            }
            () = tokio::time::sleep_until((ended + command::SILENCE + LAST_WORD).into()) => Ok(None),
        }
    }

    /// Passes on one event. Cancel safe.
    async fn pass_on(&mut self) -> Result<(), Error> {
        if self.pending.is_none() {
            let event = self.events.recv().await?;
            self.take(event);
        }
        // An error means that the report is gone.
        let place = self.worker.events.reserve().await;
        let event = self.pending.take().and_then(|event| self.worker.output(event));
        if let (Ok(place), Some(event)) = (place, event) {
            place.send(event);
        }
        Ok(())
    }

    fn take(&mut self, event: command::Event) {
        match &event {
            command::Event::Started { stdin: Some(stdin), .. } => {
                // An error means that the command has to stop.
                let _ = self.stdin.take().map(|wanted| wanted.send(stdin.clone()));
            }
            command::Event::Stdout(Blob(bytes)) => self.received[0] += bytes.len() as u64,
            command::Event::Stderr(Blob(bytes)) => self.received[1] += bytes.len() as u64,
            command::Event::Ended { code, signal } => self.ended = Some((Instant::now(), *code, *signal)),
            _ => {}
        }
        self.pending = Some(event);
    }

    /// Leaves to the worker the events that have arrived and were not passed on. Events that were sent before
    /// the end have arrived before it.
    fn leave_rest(&mut self) {
        loop {
            self.worker.rest.borrow_mut().extend(self.pending.take());
            let Ok(Some(event)) = self.events.try_recv() else { return };
            self.take(event);
        }
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.leave_rest();
    }
}
