//! `offshoot run`: a command on many hosts at once.

use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use offshoot::command::{self, Command};
use offshoot::{Blob, Error, Router};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::LocalSet;

use super::args::{Cli, RunArgs};
use super::exit::Exit;
use super::expr;
use super::host::HostPath;
use super::report::{ErrorInfo, Event, Flow, HostExit, HostIndex, Report, Stream, Style, Surroundings};
use super::sources::Reading;
use super::summary::{End, Status};
use super::tree::Tree;

/// Events that wait for stdout. When it is slow, so become the hosts.
const WAITING: usize = 256;

/// Runs the command on all hosts and reports.
pub(crate) fn run(cli: &Cli, args: &RunArgs) -> Exit {
    let hosts = match expand(args) {
        Ok(hosts) => hosts,
        Err(exit) => return exit,
    };
    let router = match Router::new() {
        Ok(router) => router,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error),
    };
    let tree = match Tree::new(&router, &args.reach, &hosts) {
        Ok(tree) => tree.with_logins(),
        Err(error) => return fail(Exit::Usage, &error),
    };
    let local = LocalSet::new();
    let exit = local.block_on(&runtime, report(cli, args, hosts, tree, &router));
    // Whatever still runs stops here.
    drop(local);
    runtime.block_on(end(&router));
    exit
}

/// The hosts of the command line, or how to end.
fn expand(args: &RunArgs) -> Result<Vec<HostPath>, Exit> {
    let mut sources = Reading::new(|_: &str| Ok(None));
    let expansion = expr::expand(&args.reach.hosts, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
    for note in &expansion.notes {
        complain(&format!("note: {note}"));
    }
    let Some(via) = &args.reach.via else {
        return Ok(expansion.hosts);
    };
    let via = expr::single(via, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
    Ok(expansion.hosts.into_iter().map(|host| host.behind(&via)).collect())
}

/// Starts the hosts, shows what they say, and sums up.
async fn report(cli: &Cli, args: &RunArgs, hosts: Vec<HostPath>, tree: Rc<Tree>, router: &Router) -> Exit {
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let around = Surroundings {
        stdout_is_terminal: out.is_terminal(),
        stderr_is_terminal: err.is_terminal(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    };
    let style = Style::new(args.output, cli.color, around);
    let names = hosts.iter().map(|host| host.text.clone()).collect();
    let mut report = Report::new(style, names, &mut out, &mut err);
    let started = Instant::now();
    let (events, mut incoming) = mpsc::channel(WAITING);
    let starting =
        tokio::task::spawn_local(start_all(command(args), args.clone(), hosts, tree, router.clone(), events));
    let (Ok(mut int), Ok(mut term)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return fail(Exit::Internal, &"signals cannot be handled");
    };
    let end = loop {
        let event = tokio::select! {
            biased;
            _ = int.recv() => break End::Interrupted,
            _ = term.recv() => break End::Interrupted,
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
        Ok(summary) => summary.exit(args.output.remote_code),
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
async fn start_all(
    command: Command,
    args: RunArgs,
    hosts: Vec<HostPath>,
    tree: Rc<Tree>,
    router: Router,
    events: mpsc::Sender<Event>,
) {
    let places = Arc::new(Semaphore::new(args.reach.fanout as usize));
    for (index, host) in hosts.into_iter().enumerate() {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (command, tree, router, events) = (command.clone(), Rc::clone(&tree), router.clone(), events.clone());
        let limit = args.timeout;
        tokio::task::spawn_local(async move {
            let worker = Worker { host: HostIndex(index), router, events };
            let started = Instant::now();
            let mut exit = worker.work(&tree, &host, command, limit).await;
            exit.seconds = started.elapsed().as_secs_f64();
            // An error means that nobody listens any more.
            let _ = worker.events.send(Event::Exit { host: worker.host, exit }).await;
            tree.leave(&host.hops).await;
            drop(place);
        });
    }
}

/// The work on one host.
struct Worker {
    host: HostIndex,
    router: Router,
    events: mpsc::Sender<Event>,
}

impl Worker {
    async fn work(
        &self,
        tree: &Rc<Tree>,
        host: &HostPath,
        command: Command,
        limit: Option<std::time::Duration>,
    ) -> HostExit {
        let context = match tree.context(&host.hops).await {
            Ok(context) => context,
            Err(error) => return unreachable(&error),
        };
        let running = command.spawn(&self.router, &context);
        let done = self.follow(running);
        let result = match limit {
            Some(limit) => match tokio::time::timeout(limit, done).await {
                Ok(result) => result,
                Err(_) => return timed_out(limit),
            },
            None => done.await,
        };
        match result {
            Ok(exit) => HostExit {
                status: if exit.success() { Status::Ok } else { Status::Failed },
                code: exit.code,
                signal: exit.signal,
                seconds: 0.0,
                error: None,
            },
            Err(Error::Call(error)) => failed(Status::Failed, "call", "command", &error.context, error.message.clone()),
            Err(error @ (Error::Channel { .. } | Error::Closed(_))) => {
                failed(Status::Unreachable, "disconnect", "command", context.name(), error.to_string())
            }
            Err(error) => failed(Status::Failed, "internal", "command", context.name(), error.to_string()),
        }
    }

    /// Passes on what the command says, and returns how it ended.
    async fn follow(&self, running: command::Running) -> Result<command::Exit, Error> {
        let command::Running { events, mut exit } = running;
        let exit = loop {
            tokio::select! {
                biased;
                event = events.recv() => self.show(event?).await,
                exit = &mut exit => break exit?,
            }
        };
        // What was said before the end has arrived before it.
        while let Some(event) = events.try_recv()? {
            self.show(event).await;
        }
        Ok(exit)
    }

    async fn show(&self, event: command::Event) {
        let (stream, bytes) = match event {
            command::Event::Stdout(Blob(bytes)) => (Stream::Stdout, bytes),
            command::Event::Stderr(Blob(bytes)) => (Stream::Stderr, bytes),
            _ => return,
        };
        // An error means that nobody listens any more.
        let _ = self.events.send(Event::Output { host: self.host, stream, bytes }).await;
    }
}

fn failed(status: Status, kind: &str, phase: &str, hop: &str, text: String) -> HostExit {
    let error = ErrorInfo { kind: kind.into(), phase: phase.into(), hop: hop.into(), text };
    HostExit { status, error: Some(error), ..HostExit::cancelled() }
}

fn timed_out(limit: std::time::Duration) -> HostExit {
    let text = format!("the command did not end within {limit:?} and was stopped");
    failed(Status::Timeout, "timeout", "command", "", text)
}

fn unreachable(error: &Error) -> HostExit {
    match error {
        Error::Stream(error) => {
            let text = std::iter::once(&error.text).chain(&error.tail).cloned().collect::<Vec<_>>().join("\n");
            failed(Status::Unreachable, error.kind.as_str(), &error.phase.to_string(), &error.hop, text)
        }
        error => failed(Status::Unreachable, "disconnect", "start", "", error.to_string()),
    }
}

/// Ends everything in order; a further signal does it at once.
async fn end(router: &Router) {
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
