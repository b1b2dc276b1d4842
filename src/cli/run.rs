//! `offshoot run` and `offshoot call`: a command, or a function, on many hosts
//! at once.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::api::exported::{EncodedArgs, Exported};
use crate::builtin::process as command;
use crate::builtin::process::run_process::{self, CommandLine};
use crate::wire::error::Phase;
use crate::{Blob, Call, Context, Error, Receiver, Router, Sender};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::cli::args::{CallArgs, Cli, OutputArgs, ReachArgs, RunArgs};
use crate::cli::call;
use crate::cli::complaint::{complain, fail};
use crate::cli::doctor;
use crate::cli::ending::{self, Readers, Signals, end};
use crate::cli::exit::Exit;
use crate::cli::hosts::expression;
use crate::cli::hosts::path::HostPath;
use crate::cli::hosts::sources::Reading;
use crate::cli::input::Input;
use crate::cli::output::marks::{self, Marks};
use crate::cli::output::pipe::Pipes;
use crate::cli::output::progress::Progress;
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
    /// Whether stdin goes to the hosts.
    takes_stdin: bool,
}

/// Runs the command on all hosts and reports.
pub(crate) fn run(cli: &Cli, args: &RunArgs) -> Exit {
    let work = Work::Command(command(args));
    let takes_stdin = !args.no_stdin;
    carry_out(cli, Job { work, reach: args.reach.clone(), output: args.output, timeout: args.timeout, takes_stdin })
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
    let takes_stdin = false;
    carry_out(cli, Job { work, reach: args.reach.clone(), output: args.output, timeout: args.timeout, takes_stdin })
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
    let input = match if job.takes_stdin { Input::of_stdin(hosts.len()) } else { Ok(None) } {
        Ok(input) => input,
        Err(error) => return fail(Exit::Internal, &error),
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
    let (exit, last) = local.block_on(&runtime, report(cli, job, hosts, (tree, input), &router, &pipes, &mut signals));
    // Whatever still runs stops here.
    drop(local);
    let Some(Last { owed, readers }) = last else { return exit };
    runtime.block_on(end(&router, &mut signals, &pipes, owed, readers)).unwrap_or(exit)
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

/// What is left to be written at the end of a run.
struct Last {
    /// How many jobs of stderr are awaited as long as it takes.
    owed: u64,
    readers: Readers,
}

/// Starts the hosts, shows what they say, and sums up. Returns how to end, and
/// what is to be awaited; `None` if nothing is.
async fn report(
    cli: &Cli,
    job: Job,
    hosts: Vec<HostPath>,
    (tree, input): (Rc<Tree>, Option<Input>),
    router: &Router,
    pipes: &Pipes,
    signals: &mut Signals,
) -> (Exit, Option<Last>) {
    let output = job.output;
    let around = Surroundings {
        stdout_is_terminal: io::stdout().is_terminal(),
        stderr_is_terminal: io::stderr().is_terminal(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    };
    let style = Style::new(output, cli.color, around);
    let mut marks = Marks::new(hosts.len());
    let names = hosts.iter().map(|host| host.text.clone()).collect();
    let mut report = Report::new(style, names);
    let mut progress = Progress::new(has_progress(around, cli.verbose));
    let started = Instant::now();
    let (events, mut incoming) = mpsc::channel(WAITING);
    let stop = CancellationToken::new();
    let ends = Rc::new(Ends::default());
    let input = input.map(Rc::new);
    let workers = Workers { tree, events, stop: stop.clone(), ends: Rc::clone(&ends), input };
    let starting = tokio::task::spawn_local(start_all(job, hosts, workers));
    let mut interrupted = None;
    let mut is_unread = false;
    let unread = pipes.unread(|| ends.is_over_time());
    tokio::pin!(unread);
    let reader_has_gone = loop {
        let event = async {
            // Of hosts that are to stop, all is taken that has arrived.
            if !stop.is_cancelled() && !is_unread {
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
                // Before all that has arrived is made ready to be shown, which can take seconds.
                ending::begin(router).await;
                continue;
            }
            () = pipes.stdout.closed() => break true,
            event = event => event,
            () = &mut unread, if !is_unread => {
                // Hosts that are done wait in vain to say so.
                is_unread = true;
                starting.abort();
                continue;
            }
            () = progress.due() => {
                progress.show(report.progress(), &pipes.stderr);
                continue;
            }
        };
        let Some(event) = event else { break false };
        let host = Marks::owner(&event);
        let shown = report.handle(SystemTime::now(), event);
        if !shown.is_empty() {
            progress.clear(&pipes.stderr);
        }
        show(pipes, shown);
        host.into_iter().for_each(|host| marks.set(host, pipes));
    };
    starting.abort();
    progress.clear(&pipes.stderr);
    let is_over_time = interrupted.is_some() || ends.timed_out.get();
    let mut readers = if is_over_time { Readers::MustRead } else { Readers::AreAwaited };
    if is_over_time {
        let drained = async {
            // Those that have taken nothing for so long get no more time.
            if !is_unread {
                pipes.drained().await;
            }
        };
        let in_order = async { tokio::join!(router.shutdown(), drained) };
        tokio::select! {
            biased;
            signal = signals.next() => return (signal, None),
            _ = in_order => {}
        }
        marks.unwritten(pipes).for_each(|host| report.cut(host, marks::CUT));
        if pipes.stdout.waits() || pipes.stderr.waits() {
            readers = Readers::DoNotRead;
            pipes.stderr.write(format!("offshoot: {}\n", marks::CUT).into_bytes());
        }
    }
    let end = match interrupted {
        Some(_) => End::Interrupted,
        None if reader_has_gone && !report.is_complete() => End::Stopped("stdout cannot be written any more".into()),
        None if is_unread && !report.is_complete() => End::Stopped("nobody reads the output".into()),
        None => End::Complete,
    };
    let owed = pipes.stderr.queued();
    let argv: Vec<OsString> = std::env::args_os().collect();
    let rerun = |hosts: &str, caution: Option<&str>| rerun::line(&argv, hosts, caution);
    let finished = report.finish(SystemTime::now(), end, started.elapsed().as_secs_f64(), &rerun);
    let Finished { summary, shown, document } = finished;
    show(pipes, shown);
    document.into_iter().for_each(|document| pipes.stdout.write_document(document));
    (interrupted.unwrap_or_else(|| summary.exit(output.remote_code)), Some(Last { owed, readers }))
}

/// Whether a line may come and go on stderr: on a terminal that can erase it, and to which nothing else writes.
fn has_progress(around: Surroundings, verbose: u8) -> bool {
    let can_erase = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    around.stderr_is_terminal && can_erase && verbose == 0
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
    ends: Rc<Ends>,
    input: Option<Rc<Input>>,
}

/// How far the hosts have come, whether or not there was room to show it.
#[derive(Debug, Default)]
struct Ends {
    /// Hosts that are worked on.
    running: Cell<usize>,
    timed_out: Cell<bool>,
}

impl Ends {
    /// Whether time has run out, and only readers are waited for.
    fn is_over_time(&self) -> bool {
        self.timed_out.get() && self.running.get() == 0
    }
}

/// Works on as many hosts at once as the fan-out allows, in their order.
async fn start_all(job: Job, hosts: Vec<HostPath>, workers: Workers) {
    let places = Arc::new(Semaphore::new(job.reach.fanout as usize));
    let (job, alone) = (Rc::new(job), hosts.len() == 1);
    for (index, host) in hosts.into_iter().enumerate() {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (job, workers) = (Rc::clone(&job), workers.clone());
        tokio::task::spawn_local(async move {
            let Workers { tree, events, stop, ends, input } = workers;
            let host_index = HostIndex(index);
            let worker = Worker { host: host_index, alone, events, stop, input, rest: RefCell::default() };
            ends.running.update(|running| running + 1);
            let started = Instant::now();
            let ended = tokio::select! {
                // First, since a run that is stopped ends the contexts at once, which is not to look like a lost
                // connection.
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
            // An error means that nobody listens any more.
            let _ = worker.events.send(HostEvent::Exit { host: worker.host, exit: HostExit { seconds, ..exit } }).await;
            drop(worker);
            if is_cancelled {
                // Its context ends with all others.
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
    /// Whether there is no other host.
    alone: bool,
    events: mpsc::Sender<HostEvent>,
    stop: CancellationToken,
    input: Option<Rc<Input>>,
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
        let mut command = command.clone();
        if self.input.is_some() {
            command.stdin = run_process::Input::Stream;
        }
        let command::Running { events, mut exit } = command::Running::start(context, None, command);
        let (stdin, started) = oneshot::channel();
        let mut taking = Taking::new(self, events, stdin);
        let refused = self.feed(started);
        tokio::pin!(refused);
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
                why = &mut refused => {
                taking.leave_rest();
                return Ok(failed(Status::Failed, "stdin", "command", context.name(), why));
            }
            () = late => {}
            }
            // A daemon that is silent is no reason to be late.
            let more = taking.ended.map(|(ended, ..)| ended + command::SILENCE + LAST_WORD);
            if more <= deadline {
                break None;
            }
            deadline = more;
        };
        // What has arrived is still shown.
        taking.leave_rest();
        let Some(exit) = exit else {
            // It is others that still hold its output.
            if let Some((_, code, signal)) = taking.ended {
                let status = if code == Some(0) { Status::Ok } else { Status::Failed };
                return Ok(HostExit { status, code, signal, open: true, ..HostExit::cancelled() });
            }
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

    /// Sends stdin to the command once it runs. Ends only if it cannot have all, and says why.
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
    /// When the command was said to have ended, while its output had not, and with which code or signal.
    ended: Option<(Instant, Option<i32>, Option<i32>)>,
    /// Whom to tell where the input of the command goes.
    stdin: Option<oneshot::Sender<Sender<Blob>>>,
}

impl<'a> Taking<'a> {
    fn new(worker: &'a Worker, events: Receiver<command::Event>, stdin: oneshot::Sender<Sender<Blob>>) -> Self {
        Self { worker, events, pending: None, received: [0; 2], ended: None, stdin: Some(stdin) }
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
            command::Event::Started { stdin: Some(stdin), .. } => {
                // An error means that the command is to be stopped.
                let _ = self.stdin.take().map(|wanted| wanted.send(stdin.clone()));
            }
            command::Event::Stdout(Blob(bytes)) => self.received[0] += bytes.len() as u64,
            command::Event::Stderr(Blob(bytes)) => self.received[1] += bytes.len() as u64,
            command::Event::Ended { code, signal } => self.ended = Some((Instant::now(), *code, *signal)),
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
