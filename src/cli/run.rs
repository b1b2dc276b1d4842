//! `offshoot run` and `offshoot call`: a command, or a function, on many hosts at the same time.

use std::io::{self, IsTerminal};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use crate::api::exported::Exported;
use crate::builtin::process::run_process::CommandLine;
use crate::{Error, Router};
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;

use crate::cli::args::{CallArgs, Cli, ReachArgs, RunArgs};
use crate::cli::call;
use crate::cli::complaint::{complain, fail};
use crate::cli::config::Config;
use crate::cli::ending::{self, Readers, Signals, end};
use crate::cli::exit::Exit;
use crate::cli::hosts::expression;
use crate::cli::hosts::path::HostPath;
use crate::cli::hosts::sources::Reading;
use crate::cli::input::Input;
use crate::cli::inventory::{self, Inventories};
use crate::cli::last_run::LastRun;
use crate::cli::output::marks::{self, Marks};
use crate::cli::output::pipe::Pipes;
use crate::cli::output::progress::Progress;
use crate::cli::output::report::{Finished, Report, Shown, Style, Surroundings};
use crate::cli::output::summary::{End, Summary};
use crate::cli::rerun;
use crate::cli::secret::{Secrets, Unasked};
use crate::cli::tree::Tree;
use crate::cli::worker::{Ends, Job, Work, Workers, start_all};

/// Events that may wait for stdout. If stdout is slow, the hosts become slow, too.
const WAITING: usize = 256;

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

fn carry_out(cli: &Cli, mut job: Job) -> Exit {
    let (hosts, found) = match expand(&job.reach, &cli.config) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    job.reach.choosing.inventory.extend(found);
    // The tool asks before it starts another thread, which could write to the terminal.
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
    // Everything that still runs stops here.
    drop(local);
    let Some(Last { owed, readers }) = last else { return exit };
    runtime.block_on(end(&router, &mut signals, &pipes, owed, readers)).unwrap_or(exit)
}

/// Makes the router. On SIGUSR2 it prints what it waits for.
fn start(debug: bool) -> Result<Router, Error> {
    let router = Router::new()?;
    router.dump_on_sigusr2()?;
    if debug {
        match router.enable_debug() {
            Ok(Some(path)) => {
                complain(&format!("debug log: {}; each process on a host writes its own there", path.display()));
            }
            Ok(None) => {}
            Err(error) => complain(&format!("cannot write a debug log here: {error}")),
        }
    }
    Ok(router)
}

/// The hosts of the command line, and the inventories that were found and read for them. The error is how the
/// tool ends.
pub(crate) fn expand(reach: &ReachArgs, config: &Config) -> Result<(Vec<HostPath>, Vec<String>), Exit> {
    let mut sources = Reading::new(Inventories::new(&reach.choosing.inventory).with_config(config));
    let choice = reach.choosing.choice(&reach.hosts);
    let expansion = expression::expand(choice, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
    // An empty one takes back that of the configuration.
    let via = reach.via.as_ref().filter(|via| !via.is_empty()).map(|via| expression::single(via, &mut sources));
    let via = via.transpose().map_err(|error| fail(error.kind.into(), &error))?;
    let inventories = &mut sources.inventories;
    let becomes = reach.become_user.is_none();
    let resolved = expansion.hosts.into_iter().map(|host| inventories.resolve(host, becomes));
    let mut hosts = resolved.collect::<Result<Vec<_>, _>>().map_err(|why| fail(Exit::Usage, &why))?;
    let mut notes = expansion.notes;
    if let Some(via) = via {
        notes.extend(via.notes);
        let via = inventories.resolve(via.hosts, false).map_err(|why| fail(Exit::Usage, &why))?;
        hosts = hosts.into_iter().map(|host| host.behind(&via)).collect();
    }
    for note in notes.iter().chain(&inventories.take_notes()) {
        complain(&format!("note: {note}"));
    }
    if let Some(user) = &reach.become_user {
        hosts = hosts.into_iter().map(|host| host.then(reach.become_method, user)).collect();
    }
    Ok((hosts, inventories.found()))
}

/// Output that has to be written at the end of a run.
struct Last {
    /// How many jobs of stderr are awaited without a time limit.
    owed: u64,
    readers: Readers,
}

/// Starts the hosts, shows their output, and prints the summary. Returns how the tool ends, and the output that
/// is still awaited; `None` if no output is awaited.
async fn report(
    cli: &Cli,
    job: Job,
    hosts: Vec<HostPath>,
    (tree, input): (Rc<Tree>, Option<Input>),
    router: &Router,
    pipes: &Pipes,
    signals: &mut Signals,
) -> (Exit, Option<Last>) {
    let (output, inventories) = (job.output, job.reach.choosing.inventory.clone());
    let around = surroundings();
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
        let event = tokio::select! {
            biased;
            signal = signals.next() => {
                if interrupted.replace(signal).is_some() {
                    return (signal, None);
                }
                stop.cancel();
                starting.abort();
                // This comes before the output that has arrived is formatted, which can take seconds.
                ending::begin(router).await;
                continue;
            }
            () = pipes.stdout.closed() => break true,
            event = async {
                // If the hosts have to stop, all events that have arrived are taken.
                if !stop.is_cancelled() && !is_unread {
                    pipes.room().await;
                }
                incoming.recv().await
            } => event,
            () = &mut unread, if !is_unread => {
                // From now on events are taken without waiting for room, so that hosts can report their end.
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
        show_instead(&mut progress, pipes, shown);
        host.into_iter().for_each(|host| marks.set(host, pipes));
    };
    starting.abort();
    progress.clear(&pipes.stderr);
    let is_over_time = interrupted.is_some() || ends.timed_out.get();
    let mut readers = if is_over_time { Readers::MustRead } else { Readers::AreAwaited };
    if is_over_time {
        match end_in_order(router, pipes, signals, is_unread).await {
            Err(signal) => return (signal, None),
            Ok(()) => marks.unwritten(pipes).for_each(|host| report.cut(host, marks::CUT)),
        }
        if pipes.stdout.waits() || pipes.stderr.waits() {
            readers = Readers::DoNotRead;
            pipes.stderr.write(format!("offshoot: {}\n", marks::CUT).into_bytes());
        }
    }
    let end = match interrupted {
        Some(_) => End::Interrupted,
        None => why_stopped(reader_has_gone, is_unread)
            .filter(|_| !report.is_complete())
            .map_or(End::Complete, End::Stopped),
    };
    let owed = pipes.stderr.queued();
    let summary = conclude(cli, report, end, started, &inventories, pipes);
    keep(&summary, &inventories, pipes);
    (interrupted.unwrap_or_else(|| summary.exit(output.remote_code)), Some(Last { owed, readers }))
}

/// Queues the last output: the summary, or the document.
fn conclude(cli: &Cli, report: Report, end: End, started: Instant, inventories: &[String], pipes: &Pipes) -> Summary {
    let rerun = |hosts: &str, caution: Option<&str>| rerun::line(&cli.argv, hosts, inventories, caution);
    let finished = report.finish(SystemTime::now(), end, started.elapsed().as_secs_f64(), &rerun);
    let Finished { summary, shown, document } = finished;
    show(pipes, shown);
    document.into_iter().for_each(|document| pipes.stdout.write_document(document));
    summary
}

/// Keeps the hosts that did not succeed for `@failed`.
fn keep(summary: &Summary, inventories: &[String], pipes: &Pipes) {
    let inventories = inventories.iter().map(|path| inventory::find::named(path).text()).collect();
    if let Err(why) = LastRun::new(summary.not_ok(), inventories).keep() {
        pipes.stderr.write(format!("note: {why}\n").into_bytes());
    }
}

/// Why a run has stopped, if its hosts are not all done.
fn why_stopped(reader_has_gone: bool, is_unread: bool) -> Option<String> {
    match (reader_has_gone, is_unread) {
        (true, _) => Some("stdout cannot be written any more".into()),
        (false, true) => Some("nobody reads the output".into()),
        (false, false) => None,
    }
}

fn surroundings() -> Surroundings {
    Surroundings {
        stdout_is_terminal: io::stdout().is_terminal(),
        stderr_is_terminal: io::stderr().is_terminal(),
        no_color: std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()),
    }
}

/// Ends the contexts while the output is written. If the output is not read, it does not wait for it.
///
/// # Errors
///
/// The second signal, which ends everything at once.
async fn end_in_order(router: &Router, pipes: &Pipes, signals: &mut Signals, is_unread: bool) -> Result<(), Exit> {
    let drained = async {
        // A reader that has taken nothing for so long gets no more time.
        if !is_unread {
            pipes.drained().await;
        }
    };
    tokio::select! {
        biased;
        signal = signals.next() => Err(signal),
        _ = async { tokio::join!(router.shutdown(), drained) } => Ok(()),
    }
}

/// Whether the progress line may be shown on stderr: it needs a terminal that can erase it, and no other
/// program may write to the terminal.
fn has_progress(around: Surroundings, verbose: u8) -> bool {
    let can_erase = std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
    around.stderr_is_terminal && can_erase && verbose == 0
}

/// Queues output, and removes the progress line if there is any output.
fn show_instead(progress: &mut Progress, pipes: &Pipes, shown: Shown) {
    if !shown.is_empty() {
        progress.clear(&pipes.stderr);
    }
    show(pipes, shown);
}

/// Queues output.
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
