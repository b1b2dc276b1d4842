//! `offshoot run` and `offshoot call`: a command, or a function, on many hosts
//! at once.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::__private::HangUp;
use crate::builtin::process as command;
use crate::builtin::process::run_process::CommandLine;
use crate::{Blob, Call, Context, EncodedArgs, Error, Exported, Phase, Receiver, Router};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::cli::args::{CallArgs, Cli, OutputArgs, ReachArgs, RunArgs};
use crate::cli::call;
use crate::cli::complaint::{complain, fail};
use crate::cli::doctor;
use crate::cli::exit::Exit;
use crate::cli::hosts::expression;
use crate::cli::hosts::path::HostPath;
use crate::cli::hosts::sources::Reading;
use crate::cli::output::pipe::{Closed, Pipes};
use crate::cli::output::report::{
    ErrorInfo, Finished, HostEvent, HostExit, HostIndex, Report, Shown, Stream, Style, Surroundings,
};
use crate::cli::output::summary::{End, Status};
use crate::cli::rerun;
use crate::cli::secret::{Secrets, Unasked};
use crate::cli::tree::Tree;

/// Events that wait for stdout. When it is slow, so become the hosts.
const WAITING: usize = 256;
/// A host that has waited in vain for the output of processes that its command
/// has left has this long to say so.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What is to be done on each host.
#[derive(Clone)]
enum Work {
    Command(CommandLine),
    Call(Exported, EncodedArgs),
}

/// What is to be done, where, for how long, and how to show it.
#[derive(Clone)]
struct Job {
    work: Work,
    reach: ReachArgs,
    output: OutputArgs,
    timeout: Option<Duration>,
}

/// Runs the command on all hosts and reports.
pub(crate) fn run(cli: &Cli, args: &RunArgs) -> Exit {
    let work = Work::Command(command(args));
    carry_out(cli, Job { work, reach: args.reach.clone(), output: args.output, timeout: args.timeout })
}

/// Calls the function on all hosts and reports.
pub(crate) fn call(cli: &Cli, args: &CallArgs) -> Exit {
    let all = Exported::all();
    let found = call::find(&all, &args.function)
        .and_then(|function| Ok((*function, function.encode(&args.arguments)?)))
        .map_err(|why| fail(Exit::Usage, &why));
    let (function, arguments) = match found {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let work = Work::Call(function, arguments);
    carry_out(cli, Job { work, reach: args.reach.clone(), output: args.output, timeout: args.timeout })
}

fn carry_out(cli: &Cli, job: Job) -> Exit {
    let hosts = match expand(&job.reach) {
        Ok(hosts) => hosts,
        Err(exit) => return exit,
    };
    // Before there is any other thread that could write to the terminal.
    let secrets = match Secrets::ask(&job.reach) {
        Ok(secrets) => secrets,
        Err(Unasked::Interrupted) => return Exit::Interrupted,
        Err(Unasked::Failed(why)) => return fail(Exit::Usage, &why),
    };
    let router = match start(cli.debug) {
        Ok(router) => router,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let tree = match Tree::new(&router, &job.reach, &hosts, secrets) {
        Ok(tree) => tree.with_logins(),
        Err(error) => return fail(Exit::Usage, &error),
    };
    let pipes = match Pipes::start() {
        Ok(pipes) => pipes,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let guard = runtime.enter();
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(Exit::Internal, &error),
    };
    drop(guard);
    let local = LocalSet::new();
    let (exit, owed) = local.block_on(&runtime, report(cli, job, hosts, tree, &pipes, &mut signals));
    // Whatever still runs stops here.
    drop(local);
    let Some(owed) = owed else { return exit };
    runtime.block_on(end(&router, &mut signals, &pipes, owed)).unwrap_or(exit)
}

/// The router, which tells on SIGUSR2 what it waits for.
fn start(debug: bool) -> Result<Router, Error> {
    let router = Router::new()?;
    router.dump_on_sigusr2()?;
    if debug {
        match router.enable_debug() {
            Ok(Some(path)) => complain(&format!("debug log: {}; those on the hosts are there", path.display())),
            Ok(None) => {}
            Err(error) => complain(&format!("no debug log here: {error}")),
        }
    }
    Ok(router)
}

/// The hosts of the command line, or how to end.
fn expand(reach: &ReachArgs) -> Result<Vec<HostPath>, Exit> {
    let mut sources = Reading::new(|_: &str| Ok(None));
    let expansion = expression::expand(&reach.hosts, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
    for note in &expansion.notes {
        complain(&format!("note: {note}"));
    }
    let mut hosts = expansion.hosts;
    if let Some(via) = &reach.via {
        let via = expression::single(via, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
        hosts = hosts.into_iter().map(|host| host.behind(&via)).collect();
    }
    if let Some(user) = &reach.become_user {
        hosts = hosts.into_iter().map(|host| host.then(reach.become_method, user)).collect();
    }
    Ok(hosts)
}

/// Starts the hosts, shows what they say, and sums up. Returns how to end, and
/// how much of stderr is to be awaited; `None` if nothing is.
async fn report(
    cli: &Cli,
    job: Job,
    hosts: Vec<HostPath>,
    tree: Rc<Tree>,
    pipes: &Pipes,
    signals: &mut Signals,
) -> (Exit, Option<u64>) {
    let output = job.output;
    let around = Surroundings {
        stdout_is_terminal: io::stdout().is_terminal(),
        stderr_is_terminal: io::stderr().is_terminal(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    };
    let style = Style::new(output, cli.color, around);
    let names = hosts.iter().map(|host| host.text.clone()).collect();
    let mut report = Report::new(style, names);
    let started = Instant::now();
    let (events, mut incoming) = mpsc::channel(WAITING);
    let stop = CancellationToken::new();
    let workers = Workers { tree, events, stop: stop.clone() };
    let starting = tokio::task::spawn_local(start_all(job, hosts, workers));
    let mut interrupted = None;
    let reader_has_gone = loop {
        let event = async {
            // Of hosts that are to stop, all is taken that has arrived.
            if !stop.is_cancelled() {
                pipes.room().await;
            }
            incoming.recv().await
        };
        let event = tokio::select! {
            biased;
            signal = signals.next() => {
                if interrupted.replace(signal).is_some() {
                    return (signal, None);
                }
                stop.cancel();
                starting.abort();
                continue;
            }
            () = pipes.stdout.closed() => break true,
            event = event => event,
        };
        let Some(event) = event else { break false };
        show(pipes, report.handle(SystemTime::now(), event));
    };
    starting.abort();
    let end = match interrupted {
        Some(_) => End::Interrupted,
        None if reader_has_gone && !report.is_complete() => End::Stopped("stdout cannot be written any more".into()),
        None => End::Complete,
    };
    // Nobody who has interrupted the run waits for a reader of stderr.
    let owed = if interrupted.is_some() { 0 } else { pipes.stderr.queued() };
    let argv: Vec<OsString> = std::env::args_os().collect();
    let rerun = |hosts: &str| rerun::line(&argv, hosts);
    let finished = report.finish(SystemTime::now(), end, started.elapsed().as_secs_f64(), &rerun);
    let Finished { summary, shown, document } = finished;
    show(pipes, shown);
    document.into_iter().for_each(|document| pipes.stdout.write_document(document));
    (interrupted.unwrap_or_else(|| summary.exit(output.remote_code)), Some(owed))
}

/// Queues what is to be shown.
fn show(pipes: &Pipes, shown: Shown) {
    pipes.stdout.write(shown.stdout);
    pipes.stderr.write(shown.stderr);
}

fn command(args: &RunArgs) -> CommandLine {
    let command = match (&args.shell, args.argv.as_slice()) {
        (Some(line), _) => CommandLine::shell(line),
        (None, []) => CommandLine::shell(""),
        (None, argv) => CommandLine { argv: argv.to_vec(), ..CommandLine::default() },
    };
    let env = args.env.iter().map(|variable| ((&variable.name).into(), Some(variable.value.clone())));
    CommandLine { cwd: args.chdir.clone(), env: env.collect(), ..command }
}

/// What the work on all hosts shares.
#[derive(Clone)]
struct Workers {
    tree: Rc<Tree>,
    events: mpsc::Sender<HostEvent>,
    /// Set when the run is interrupted.
    stop: CancellationToken,
}

/// Works on as many hosts at once as the fan-out allows, in their order.
async fn start_all(job: Job, hosts: Vec<HostPath>, workers: Workers) {
    let places = Arc::new(Semaphore::new(job.reach.fanout as usize));
    let (job, alone) = (Rc::new(job), hosts.len() == 1);
    for (index, host) in hosts.into_iter().enumerate() {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (job, workers) = (Rc::clone(&job), workers.clone());
        tokio::task::spawn_local(async move {
            let Workers { tree, events, stop } = workers;
            let worker = Worker { host: HostIndex(index), alone, events, stop, rest: RefCell::default() };
            let started = Instant::now();
            let ended = worker.stop.run_until_cancelled(worker.work(&tree, &host, &job)).await;
            let seconds = started.elapsed().as_secs_f64();
            for event in worker.rest.take() {
                worker.show(event).await;
            }
            // An interrupted host has no end of its own, and its context ends with all others.
            let Some(exit) = ended else { return };
            // An error means that nobody listens any more.
            let _ = worker.events.send(HostEvent::Exit { host: worker.host, exit: HostExit { seconds, ..exit } }).await;
            drop(worker);
            tree.leave(&host.hops).await;
            drop(place);
        });
    }
}

/// The work on one host.
struct Worker {
    host: HostIndex,
    /// Whether there is no other host.
    alone: bool,
    events: mpsc::Sender<HostEvent>,
    stop: CancellationToken,
    /// What had arrived and was not shown when the command ended or was stopped.
    rest: RefCell<Vec<command::Event>>,
}

impl Worker {
    async fn work(&self, tree: &Rc<Tree>, host: &HostPath, job: &Job) -> HostExit {
        let context = match tree.context(&host.hops).await {
            Ok(context) => context,
            Err(error) => return self.unreachable(&error, host),
        };
        let (what, done) = match &job.work {
            Work::Command(command) => ("command", self.command(&context, command, job.timeout).await),
            Work::Call(function, args) => ("call", self.call(&context, *function, args, job.timeout).await),
        };
        let fail = |status, kind, text| failed(status, kind, what, context.name(), text);
        let done = match done {
            Err(Error::Channel(_)) => {
                let mut text = format!("the connection was lost while the {what} ran, which may have been carried out");
                for line in tree.last_words(&host.hops).await {
                    text.push_str(&format!("\n{line}"));
                }
                return fail(Status::Unreachable, "disconnect", text);
            }
            done => done,
        };
        done.unwrap_or_else(|error| match error {
            Error::Call(error) if matches!(job.work, Work::Command(_)) => fail(Status::Failed, "call", error.message),
            Error::Call(error) => fail(Status::Failed, "call", error.to_string()),
            Error::Timeout { after, .. } => {
                let text = format!("the {what} did not end within {after:?} and was stopped");
                failed(Status::Timeout, "timeout", what, "", text)
            }
            Error::Closed(_) => fail(Status::Unreachable, "disconnect", error.to_string()),
            Error::Io(_) => fail(Status::Failed, "io", error.to_string()),
            Error::Payload(_) | Error::TooLarge { .. } => fail(Status::Failed, "payload", error.to_string()),
            error => fail(Status::Failed, "internal", error.to_string()),
        })
    }

    fn unreachable(&self, error: &Error, host: &HostPath) -> HostExit {
        let Error::Connect(error) = error else {
            return failed(Status::Unreachable, "disconnect", "start", "", error.to_string());
        };
        let text = std::iter::once(&error.text).chain(&error.tail).cloned().collect::<Vec<_>>().join("\n");
        let mut exit = failed(Status::Unreachable, error.kind.as_str(), &error.phase.to_string(), &error.hop, text);
        if let Some(info) = &mut exit.error {
            info.advice.clone_from(&error.advice);
            info.steps = match error.phase {
                // The text says all there is.
                Phase::Start => String::new(),
                _ if self.alone => doctor::in_full(&error.steps()),
                Phase::Login => String::new(),
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
        let command::Running { events, mut exit } = command::Running::start(context, command.clone());
        let mut taking = Taking::new(self, events);
        let mut deadline = limit.map(|limit| Instant::now() + limit);
        let exit = loop {
            let late = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                exit = taking.follow(&mut exit) => break Some(exit?),
                () = late => {}
            }
            // A daemon that is silent is no reason to be late.
            let more = taking.ended.map(|ended| ended + command::SILENCE + LAST_WORD);
            if more <= deadline {
                break None;
            }
            deadline = more;
        };
        // What has arrived is still shown.
        taking.leave_rest();
        let Some(exit) = exit else {
            return Err(Error::Timeout { after: limit.unwrap_or_default(), what: "command".into() });
        };
        let missing = exit.missing(taking.received);
        if missing > 0 {
            let text = format!("{missing} bytes of the output of the command were lost on the way");
            let cut = failed(Status::Failed, "output_cut", "command", context.name(), text);
            return Ok(HostExit { code: exit.code, signal: exit.signal, open: exit.open, ..cut });
        }
        let status = if exit.success() { Status::Ok } else { Status::Failed };
        Ok(HostExit { status, code: exit.code, signal: exit.signal, open: exit.open, ..HostExit::cancelled() })
    }

    async fn call(
        &self,
        context: &Context,
        function: Exported,
        args: &EncodedArgs,
        limit: Option<Duration>,
    ) -> Result<HostExit, Error> {
        let json = function.call(context, args, limit).await?;
        // An error means that nobody listens any more.
        let _ = self.events.send(HostEvent::Result { host: self.host, json }).await;
        Ok(HostExit { status: Status::Ok, ..HostExit::cancelled() })
    }

    async fn show(&self, event: command::Event) {
        if let Some(event) = self.output(event) {
            // An error means that nobody listens any more.
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

/// What a command says, on its way to the report. What has arrived when the command has ended or was given up is left
/// to the worker.
struct Taking<'a> {
    worker: &'a Worker,
    events: Receiver<command::Event>,
    /// The report has no room for it yet.
    pending: Option<command::Event>,
    /// Bytes of stdout and stderr that have arrived.
    received: [u64; 2],
    /// When the command was said to have ended, while its output had not.
    ended: Option<Instant>,
}

impl<'a> Taking<'a> {
    fn new(worker: &'a Worker, events: Receiver<command::Event>) -> Self {
        Self { worker, events, pending: None, received: [0; 2], ended: None }
    }

    /// Passes on what the command says until it has ended, and returns how. Cancel safe: it can be called again.
    /// A report that has no room does not hide the end.
    async fn follow(&mut self, exit: &mut Call<command::Exit>) -> Result<command::Exit, Error> {
        loop {
            tokio::select! {
                biased;
                passed = self.pass_on() => passed?,
                exit = &mut *exit => return exit,
            }
        }
    }

    /// Passes on one event. Cancel safe.
    async fn pass_on(&mut self) -> Result<(), Error> {
        if self.pending.is_none() {
            let event = self.events.recv().await?;
            self.take(event);
        }
        // An error means that nobody listens any more.
        let place = self.worker.events.reserve().await;
        let event = self.pending.take().and_then(|event| self.worker.output(event));
        if let (Ok(place), Some(event)) = (place, event) {
            place.send(event);
        }
        Ok(())
    }

    fn take(&mut self, event: command::Event) {
        match &event {
            command::Event::Stdout(Blob(bytes)) => self.received[0] += bytes.len() as u64,
            command::Event::Stderr(Blob(bytes)) => self.received[1] += bytes.len() as u64,
            command::Event::Ended => self.ended = Some(Instant::now()),
            _ => {}
        }
        self.pending = Some(event);
    }

    /// Leaves to the worker what has arrived and was not passed on. What was said before the end has arrived before it.
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

fn failed(status: Status, kind: &str, phase: &str, hop: &str, text: String) -> HostExit {
    let error = ErrorInfo { kind: kind.into(), phase: phase.into(), hop: hop.into(), text, ..ErrorInfo::default() };
    HostExit { status, error: Some(error), ..HostExit::cancelled() }
}

/// The signals that end a run.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: HangUp,
}

impl Signals {
    /// To be called inside a runtime, which must be running when they are to be heard.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(super) fn new() -> io::Result<Self> {
        let (interrupt, terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, hang_up: HangUp::heed() })
    }

    /// Waits for the next one, and returns how it ends the tool. Cancel safe.
    async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
            () = self.hang_up.recv() => Exit::HungUp,
        }
    }
}

/// Ends everything in order, and waits until the output has been taken: see
/// [`Pipes::flushed`]. Returns how to end, if that is not as it was: a signal
/// ends it at once, and output that cannot be written is a failure.
pub(super) async fn end(router: &Router, signals: &mut Signals, pipes: &Pipes, owed: u64) -> Option<Exit> {
    let in_order = async {
        tokio::join!(router.shutdown(), pipes.flushed(owed));
        let Some(Closed::Failed(why)) = pipes.stdout.end() else { return None };
        pipes.stderr.write(format!("offshoot: cannot write the output: {why}\n").into_bytes());
        pipes.flushed(0).await;
        Some(Exit::Internal)
    };
    // The end of its links ends whatever is left on the other side of them.
    tokio::select! {
        biased;
        exit = signals.next() => Some(exit),
        exit = in_order => exit,
    }
}
