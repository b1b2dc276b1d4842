//! `offshoot run` and `offshoot call`: a command, or a function, on many hosts
//! at once.

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use offshoot::command::{self, Command};
use offshoot::{Blob, Call, Context, EncodedArgs, Error, Exported, Phase, Receiver, Router};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::args::{BecomeMethod, CallArgs, Cli, OutputArgs, ReachArgs, RunArgs};
use super::exit::Exit;
use super::expr;
use super::host::{HostPath, Method};
use super::report::{ErrorInfo, Event, Flow, HostExit, HostIndex, Report, Stream, Style, Surroundings};
use super::secret::{Secrets, Unasked};
use super::sources::Reading;
use super::summary::{End, Status};
use super::tree::Tree;
use super::{call, doctor};

/// Events that wait for stdout. When it is slow, so become the hosts.
const WAITING: usize = 256;
/// A host that has waited in vain for the output of processes that its command
/// has left has this long to say so.
const LAST_WORD: Duration = Duration::from_millis(500);

/// What is to be done on each host.
#[derive(Clone)]
enum Work {
    Command(Command),
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
    let local = LocalSet::new();
    let exit = local.block_on(&runtime, report(cli, job, hosts, tree, &router));
    // Whatever still runs stops here.
    drop(local);
    runtime.block_on(end(&router));
    exit
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
    let expansion = expr::expand(&reach.hosts, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
    for note in &expansion.notes {
        complain(&format!("note: {note}"));
    }
    let mut hosts = expansion.hosts;
    if let Some(via) = &reach.via {
        let via = expr::single(via, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
        hosts = hosts.into_iter().map(|host| host.behind(&via)).collect();
    }
    if let Some(user) = &reach.become_user {
        let method = match reach.become_method {
            BecomeMethod::Sudo => Method::Sudo,
            BecomeMethod::Su => Method::Su,
            BecomeMethod::Doas => Method::Doas,
        };
        hosts = hosts.into_iter().map(|host| host.then(method, user)).collect();
    }
    Ok(hosts)
}

/// Starts the hosts, shows what they say, and sums up.
async fn report(cli: &Cli, job: Job, hosts: Vec<HostPath>, tree: Rc<Tree>, router: &Router) -> Exit {
    let output = job.output;
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let around = Surroundings {
        stdout_is_terminal: out.is_terminal(),
        stderr_is_terminal: err.is_terminal(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    };
    let style = Style::new(output, cli.color, around);
    let names = hosts.iter().map(|host| host.text.clone()).collect();
    let mut report = Report::new(style, names, &mut out, &mut err);
    let started = Instant::now();
    let (events, mut incoming) = mpsc::channel(WAITING);
    let starting = tokio::task::spawn_local(start_all(job, hosts, tree, router.clone(), events));
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return fail(Exit::Internal, &"signals cannot be handled");
    };
    let mut hang_up = offshoot::__private::HangUp::heed();
    let end = loop {
        let event = tokio::select! {
            biased;
            _ = int.recv() => break End::Interrupted,
            _ = term.recv() => break End::Interrupted,
            () = hang_up.recv() => break End::Interrupted,
            event = incoming.recv() => event,
        };
        let Some(event) = event else { break End::Complete };
        match report.handle(SystemTime::now(), event) {
            Ok(Flow::Continue) => {}
            Ok(Flow::ReaderGone) => break End::Complete,
            Err(error) => return fail(Exit::Internal, &format!("cannot write the output: {error}")),
        }
    };
    starting.abort();
    // What has arrived is still shown.
    while let Ok(event) = incoming.try_recv() {
        if !matches!(report.handle(SystemTime::now(), event), Ok(Flow::Continue)) {
            break;
        }
    }
    let program = std::env::args_os().next().unwrap_or_else(|| "offshoot".into());
    let rerun = |hosts: &str| cli.rerun(&program, hosts);
    match report.finish(SystemTime::now(), end, started.elapsed().as_secs_f64(), &rerun) {
        Ok(summary) => summary.exit(output.remote_code),
        Err(error) => fail(Exit::Internal, &format!("cannot write the output: {error}")),
    }
}

fn command(args: &RunArgs) -> Command {
    let command = match (&args.shell, args.argv.split_first()) {
        (Some(line), _) => Command::shell(line.clone()),
        (None, Some((program, rest))) => Command::new(program.clone()).args(rest.iter().cloned()),
        (None, None) => Command::shell(""),
    };
    let command = match &args.chdir {
        Some(directory) => command.cwd(directory.clone()),
        None => command,
    };
    args.env.iter().fold(command, |command, variable| command.env(&variable.name, variable.value.clone()))
}

/// Works on as many hosts at once as the fan-out allows, in their order.
async fn start_all(job: Job, hosts: Vec<HostPath>, tree: Rc<Tree>, router: Router, events: mpsc::Sender<Event>) {
    let places = Arc::new(Semaphore::new(job.reach.fanout as usize));
    let (job, alone) = (Rc::new(job), hosts.len() == 1);
    for (index, host) in hosts.into_iter().enumerate() {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (job, tree, router, events) = (Rc::clone(&job), Rc::clone(&tree), router.clone(), events.clone());
        tokio::task::spawn_local(async move {
            let worker = Worker { host: HostIndex(index), alone, router, events };
            let started = Instant::now();
            let mut exit = worker.work(&tree, &host, &job).await;
            exit.seconds = started.elapsed().as_secs_f64();
            // An error means that nobody listens any more.
            let _ = worker.events.send(Event::Exit { host: worker.host, exit }).await;
            tree.leave(&host.hops).await;
            drop(place);
        });
    }
}

/// What a command has said so far.
#[derive(Default)]
struct Said {
    /// Bytes of stdout and stderr.
    bytes: [Cell<u64>; 2],
    /// What is being passed on.
    next: RefCell<Option<Event>>,
    /// When it was told that it has ended, and its output has not.
    ended: Cell<Option<Instant>>,
}

/// The work on one host.
struct Worker {
    host: HostIndex,
    /// Whether there is no other host.
    alone: bool,
    router: Router,
    events: mpsc::Sender<Event>,
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
        done.unwrap_or_else(|error| match error {
            Error::Call(error) if what == "command" => fail(Status::Failed, "call", error.message),
            Error::Call(error) => fail(Status::Failed, "call", error.to_string()),
            Error::Timeout { after, .. } => {
                let text = format!("the {what} did not end within {after:?} and was stopped");
                failed(Status::Timeout, "timeout", what, "", text)
            }
            Error::Channel { .. } | Error::Closed(_) => fail(Status::Unreachable, "disconnect", error.to_string()),
            Error::Payload(_) | Error::TooLarge { .. } => fail(Status::Failed, "payload", error.to_string()),
            error => fail(Status::Failed, "internal", error.to_string()),
        })
    }

    fn unreachable(&self, error: &Error, host: &HostPath) -> HostExit {
        let Error::Stream(error) = error else {
            return failed(Status::Unreachable, "disconnect", "start", "", error.to_string());
        };
        let text = std::iter::once(&error.text).chain(&error.tail).cloned().collect::<Vec<_>>().join("\n");
        let mut exit = failed(Status::Unreachable, error.kind.as_str(), &error.phase.to_string(), &error.hop, text);
        if let Some(info) = &mut exit.error {
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

    async fn command(&self, context: &Context, command: &Command, limit: Option<Duration>) -> Result<HostExit, Error> {
        let command::Running { events, exit } = command.clone().spawn(&self.router, context);
        let said = Said::default();
        let exit = {
            let mut follow = std::pin::pin!(self.follow(&events, exit, &said));
            let mut deadline = limit.map(|limit| Instant::now() + limit);
            loop {
                let late = async {
                    match deadline {
                        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    exit = &mut follow => break Some(exit?),
                    () = late => {}
                }
                // A daemon that is silent is no reason to be late.
                let more = said.ended.get().map(|ended| ended + command::SILENCE + LAST_WORD);
                if more <= deadline {
                    break None;
                }
                deadline = more;
            }
        };
        let Some(exit) = exit else {
            // What has arrived is still shown.
            self.show_rest(&events, &said).await?;
            return Err(Error::Timeout { after: limit.unwrap_or_default(), what: "command".into() });
        };
        let missing = exit.missing(said.bytes.map(Cell::into_inner));
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
        let _ = self.events.send(Event::Result { host: self.host, json }).await;
        Ok(HostExit { status: Status::Ok, ..HostExit::cancelled() })
    }

    /// Passes on what the command says, counts it, and returns how the command
    /// ended.
    async fn follow(
        &self,
        events: &Receiver<command::Event>,
        mut exit: Call<command::Exit>,
        said: &Said,
    ) -> Result<command::Exit, Error> {
        let exit = loop {
            tokio::select! {
                biased;
                event = events.recv() => self.show(event?, said).await,
                exit = &mut exit => break exit?,
            }
        };
        // What was said before the end has arrived before it.
        self.show_rest(events, said).await?;
        Ok(exit)
    }

    /// Passes on what has arrived and was not passed on yet.
    async fn show_rest(&self, events: &Receiver<command::Event>, said: &Said) -> Result<(), Error> {
        self.pass_on(said).await;
        while let Some(event) = events.try_recv()? {
            self.show(event, said).await;
        }
        Ok(())
    }

    async fn show(&self, event: command::Event, said: &Said) {
        let [stdout, stderr] = &said.bytes;
        let (stream, bytes, received) = match event {
            command::Event::Stdout(Blob(bytes)) => (Stream::Stdout, bytes, stdout),
            command::Event::Stderr(Blob(bytes)) => (Stream::Stderr, bytes, stderr),
            command::Event::Ended => return said.ended.set(Some(Instant::now())),
            _ => return,
        };
        received.update(|received| received + bytes.len() as u64);
        said.next.replace(Some(Event::Output { host: self.host, stream, bytes }));
        self.pass_on(said).await;
    }

    /// Cancel safe: what could not be passed on stays where it is.
    async fn pass_on(&self, said: &Said) {
        // An error means that nobody listens any more.
        if said.next.borrow().is_some()
            && let Ok(place) = self.events.reserve().await
            && let Some(event) = said.next.take()
        {
            place.send(event);
        }
    }
}

fn failed(status: Status, kind: &str, phase: &str, hop: &str, text: String) -> HostExit {
    let error = ErrorInfo { kind: kind.into(), phase: phase.into(), hop: hop.into(), text, steps: String::new() };
    HostExit { status, error: Some(error), ..HostExit::cancelled() }
}

/// Ends everything in order; a further signal does it at once.
pub(super) async fn end(router: &Router) {
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return router.shutdown().await;
    };
    // The end of its links ends whatever is left on the other side of them.
    tokio::select! {
        () = router.shutdown() => {}
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
}

pub(super) fn complain(text: &str) {
    // If stderr is gone, nobody is left to tell.
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub(super) fn fail(exit: Exit, error: &dyn std::fmt::Display) -> Exit {
    complain(&format!("offshoot: {error}"));
    exit
}
