//! `offshoot run` and `offshoot call`: a command, or a function, on many hosts at the same time.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use crate::api::exported::Exported;
use crate::builtin::process::run_process::CommandLine;
use crate::{Error, Router};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, LocalSet};
use tokio_util::sync::CancellationToken;

use crate::cli::args::running::RetryOn;
use crate::cli::args::{BecomeArgs, CallArgs, Cli, ReachArgs, RunArgs};
use crate::cli::call;
use crate::cli::complaint::{complain, fail};
use crate::cli::config::Config;
use crate::cli::display::Display;
use crate::cli::dry_run;
use crate::cli::ending::{self, Readers, Signals, end};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::hosts::expression;
use crate::cli::hosts::fold::fold;
use crate::cli::hosts::path::{HostPath, Method};
use crate::cli::hosts::sources::Reading;
use crate::cli::input::Input;
use crate::cli::inventory::{self, Inventories};
use crate::cli::last_run::LastRun;
use crate::cli::output::files::Files;
use crate::cli::output::marks;
use crate::cli::output::pipe::Pipes;
use crate::cli::output::report::{Finished, HostEvent, Report};
use crate::cli::output::summary::{End, Status, Summary};
use crate::cli::output::visible::word as visible;
use crate::cli::question;
use crate::cli::rerun;
use crate::cli::rollout::Rollout;
use crate::cli::secret::{self, Kind};
use crate::cli::session::Session;
use crate::cli::tree::Tree;
use crate::cli::worker::{Ends, Job, Stdin, Work, Workers, start_all};

/// Events that may wait for stdout. If stdout is slow, the hosts become slow, too.
const WAITING: usize = 256;

/// The time that a host has to end in order. A host whose connection has stalled is left after it and half a second more,
/// so that the run ends within three seconds after the time of its command.
const GRACE: Duration = Duration::from_secs(2);

/// Why commands that are tried again get no input.
const NO_INPUT_AGAIN: &str = "--retry-on all starts a command more than once, and stdin can be sent only once; write -n to \
                              send none";

/// What the user has to know of a line that runs again what had stdin.
const SAME_STDIN: &str = "give it the same stdin again";

/// Runs the command on all hosts and reports.
pub(crate) fn run(cli: &Cli, args: &RunArgs) -> Exit {
    carry_out(cli, job(args))
}

pub(super) fn job(args: &RunArgs) -> Job {
    Job {
        work: Work::Command(command(args)),
        reach: args.reach.clone(),
        running: args.running.clone(),
        output: args.output,
        timeout: args.timeout,
        substitutes: args.subst,
        is_shell: args.shell.is_some(),
        stdin: if args.no_stdin { Stdin::Unread } else { Stdin::ForCommands },
        shown: None,
    }
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
    let (reach, running) = (args.reach.clone(), args.running.clone());
    let (output, timeout) = (args.output, args.timeout);
    let job = Job {
        work,
        reach,
        running,
        output,
        timeout,
        substitutes: false,
        is_shell: false,
        stdin: Stdin::Unread,
        shown: None,
    };
    carry_out(cli, job)
}

/// Does the work on all hosts and reports.
pub(super) fn carry_out(cli: &Cli, mut job: Job) -> Exit {
    let (hosts, found) = match expand(&job.reach, &cli.config) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    job.reach.choosing.inventory.extend(found);
    if let Err(why) = dry_run::check(&job, &hosts) {
        return fail(Exit::Usage, &why);
    }
    if job.running.dry_run {
        return dry_run::print(&job, &hosts);
    }
    if !job.running.yes && !question::agreed(&hosts, job.running.ask_above) {
        return fail(Exit::Done(Outcome { stopped: true, ..Outcome::default() }), &"nothing was run");
    }
    let files = match files(&job, &hosts) {
        Ok(files) => files,
        Err(why) => return fail(Exit::Usage, &why),
    };
    let session = Session::begin(&job.reach, &hosts, || {
        let router = start(cli.debug)?;
        router.broker().set_shutdown_timeout(GRACE);
        Ok(router)
    });
    let Session { router, runtime, tree } = match session.map(|session| session.with_kept(&job.reach)) {
        Ok(session) => session,
        Err(exit) => return exit,
    };
    let input = match job.stdin {
        Stdin::ForCommands => Input::of_stdin(hosts.len()),
        Stdin::Script | Stdin::Unread => Ok(None),
    };
    let input = match input {
        Ok(Some(_)) if job.running.retries > 0 && job.running.retry_on == RetryOn::All => {
            return fail(Exit::Usage, &NO_INPUT_AGAIN);
        }
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
    let (local, kept) = (LocalSet::new(), tree.kept_router());
    let (exit, last) =
        local.block_on(&runtime, report(cli, job, hosts, (tree, input, files), &router, &pipes, &mut signals));
    // Everything that still runs stops here.
    drop(local);
    if let Some(kept) = kept {
        // The calls that were cut off are cancelled on their hosts, whose contexts stay.
        runtime.block_on(kept.shutdown());
    }
    let Some(Last { owed, readers }) = last else { return exit };
    runtime.block_on(end(&router, &mut signals, &pipes, owed, readers)).unwrap_or(exit)
}

/// The files of `--outdir`.
fn files(job: &Job, hosts: &[HostPath]) -> Result<Option<Files>, String> {
    let Some(outdir) = &job.running.outdir else { return Ok(None) };
    let names: Vec<String> = hosts.iter().map(|host| host.text.clone()).collect();
    Files::new(outdir, job.running.overwrite, &names).map(Some)
}

/// Makes the router.
pub(super) fn start(debug: bool) -> Result<Router, Error> {
    let router = Router::builder().build_with_words()?;
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

fn unused_password(option: &str) -> String {
    format!(
        "{option} is for the password of sudo, su or doas, and no host is reached by one of these; write -b to become root, \
         -b=USER for another user, or leave out {option}"
    )
}

/// The hosts of the command line, and the inventories that were found and read for them. The error is how the
/// tool ends.
pub(crate) fn expand(reach: &ReachArgs, config: &Config) -> Result<(Vec<HostPath>, Vec<String>), Exit> {
    reach.passwords.keep_descriptors();
    let mut sources = Reading::new(Inventories::new(&reach.choosing.inventory).with_config(config));
    reach.choosing.check(&mut sources.inventories).map_err(|why| fail(Exit::NoHosts, &why))?;
    let choice = reach.choosing.choice(&reach.hosts);
    let expansion = expression::expand(choice, &mut sources).map_err(|error| fail(error.kind.into(), &error))?;
    // An empty one takes back that of the configuration.
    let via = reach.via.as_ref().filter(|via| !via.is_empty()).map(|via| expression::single(via, &mut sources));
    let via = via.transpose().map_err(|error| fail(error.kind.into(), &error))?;
    let inventories = &mut sources.inventories;
    let becomes = reach.becoming.become_user.is_none();
    let resolved = expansion.hosts.into_iter().map(|host| inventories.resolve(host, becomes));
    let mut hosts = resolved.collect::<Result<Vec<_>, _>>().map_err(|why| fail(Exit::Usage, &why))?;
    let mut notes = expansion.notes;
    if let Some(via) = via {
        notes.extend(via.notes);
        let via = inventories.resolve(via.hosts, false).map_err(|why| fail(Exit::Usage, &why))?;
        hosts = hosts.into_iter().map(|host| host.behind(&via)).collect();
    }
    if let Some(login) = reach.ssh.login.as_ref().filter(|login| !config.has_default("login", login)) {
        let login = login.to_string_lossy();
        notes.extend(unused_login(&login, &hosts).map_err(|why| fail(Exit::Usage, &why))?);
        if login.contains('/') {
            let login = visible(&login);
            notes.push(format!(
                "-l is the user that ssh logs in as, and {login} is no name of a user; a command of several words stands \
                 behind `--`, or in quotes behind -s"
            ));
        } else if inventories.knows(&login) || hosts.iter().any(|host| host.text == login) {
            let login = visible(&login);
            notes.push(format!(
                "-l is the user that ssh logs in as, and {login} is known as a host or group; to choose hosts, write -w, and \
                 -x to leave some out"
            ));
        }
    }
    let found = inventories.take_notes();
    notes.iter().chain(&found).for_each(|note| complain(&format!("note: {note}")));
    if let Some(user) = &reach.becoming.become_user {
        hosts = hosts.into_iter().map(|host| host.then(reach.becoming.become_method, user)).collect();
    }
    if let Some(option) = reach.passwords.asks_to_become(config)
        && !secret::is_wanted(Kind::Become, &hosts)
    {
        return Err(fail(Exit::Usage, &unused_password(option)));
    }
    Ok((hosts, inventories.found()))
}

/// A note if `-l` says nothing about some of the hosts.
///
/// # Errors
///
/// If it says nothing about any: the command would run as another user.
fn unused_login(login: &str, hosts: &[HostPath]) -> Result<Option<String>, String> {
    let has_ssh = |host: &&HostPath| host.hops.iter().any(|hop| hop.method == Method::Ssh);
    let without: Vec<&str> = hosts.iter().filter(|host| !has_ssh(host)).map(|host| host.text.as_str()).collect();
    let Some(first) = without.first() else { return Ok(None) };
    let (login, first) = (visible(login), visible(first));
    let advice = format!("to become {login} there, write {first}/sudo:{login}, or -b={login}");
    let says =
        format!("-l is the user that ssh logs in as, and no hop to {} is by ssh; {advice}", visible(&fold(&without)));
    if without.len() == hosts.len() { Err(says) } else { Ok(Some(says)) }
}

/// The host that an expression names, with what the inventories say of it. Prints their notes. `becomes`: whether to become
/// the user that an inventory names for it.
pub(crate) fn resolved(text: &str, becomes: bool, sources: &mut Reading) -> Result<HostPath, Exit> {
    let found = expression::single(text, sources).map_err(|error| fail(error.kind.into(), &error))?;
    let inventories = &mut sources.inventories;
    let host = inventories.resolve(found.hosts, becomes).map_err(|why| fail(Exit::Usage, &why))?;
    found.notes.iter().chain(&inventories.take_notes()).for_each(|note| complain(&format!("note: {note}")));
    Ok(host)
}

/// A host behind the path of `--via`, and as the user of `--become`. An empty path takes back that of the configuration.
pub(crate) fn led(
    mut host: HostPath,
    via: Option<&str>,
    becoming: &BecomeArgs,
    sources: &mut Reading,
) -> Result<HostPath, Exit> {
    if let Some(via) = via.filter(|via| !via.is_empty()) {
        host = host.behind(&resolved(via, false, sources)?);
    }
    Ok(match &becoming.become_user {
        Some(user) => host.then(becoming.become_method, user),
        None => host,
    })
}

/// The host of a command that takes only one. `why` says of the command what it takes.
pub(crate) fn expand_one(reach: &ReachArgs, config: &Config, why: &str) -> Result<HostPath, Exit> {
    let (hosts, _) = expand(reach, config)?;
    let only = <[HostPath; 1]>::try_from(hosts).map(|[host]| host);
    only.map_err(|hosts| {
        let names = visible(&reach.hosts.join(","));
        fail(Exit::Usage, &format!("{names} names {} hosts, and {why}", hosts.len()))
    })
}

/// Output that has to be written at the end of a run.
struct Last {
    /// How many jobs of stderr are awaited without a time limit.
    owed: u64,
    readers: Readers,
}

/// What can end a run before its hosts are done.
struct Control<'a> {
    router: &'a Router,
    /// Stops the workers.
    stop: CancellationToken,
    ends: Rc<Ends>,
    starting: AbortHandle,
    deadline: Option<Duration>,
    started: Instant,
}

/// How a run went.
#[derive(Default)]
struct Course {
    interrupted: Option<Exit>,
    reader_has_gone: bool,
    is_unread: bool,
    is_overdue: bool,
}

impl Course {
    /// Why the run has stopped, if its hosts are not all done.
    fn why_stopped(&self) -> Option<String> {
        match (self.reader_has_gone, self.is_unread) {
            (true, _) => Some("stdout cannot be written any more".into()),
            (false, true) => Some("nobody reads the output".into()),
            (false, false) => None,
        }
    }
}

impl Control<'_> {
    /// Stops all workers, and starts no others.
    async fn stop(&self) {
        self.stop.cancel();
        self.starting.abort();
        // This comes before the output that has arrived is formatted, which can take seconds.
        ending::begin(self.router).await;
    }

    /// Waits until the deadline of the run.
    async fn overdue(&self) {
        match self.deadline {
            Some(limit) => tokio::time::sleep_until((self.started + limit).into()).await,
            None => std::future::pending().await,
        }
    }

    /// Shows events until all workers have ended or the reader has gone.
    ///
    /// # Errors
    ///
    /// The second signal, which ends everything at once.
    async fn follow(
        &self,
        display: &mut Display<'_>,
        mut incoming: mpsc::Receiver<HostEvent>,
        signals: &mut Signals,
    ) -> Result<Course, Exit> {
        let mut course = Course::default();
        let pipes = display.pipes;
        let mut stillness = pipes.stillness();
        let overdue = self.overdue();
        tokio::pin!(overdue);
        // What has arrived since the hosts have to stop. It is shown as the readers take it: in the form in which it is
        // shown it can be fifty times as large.
        let (mut backlog, mut is_open) = (VecDeque::new(), true);
        while is_open || !backlog.is_empty() {
            let is_ending = self.stop.is_cancelled() || course.is_unread;
            let event = tokio::select! {
                biased;
                signal = signals.next() => {
                    if course.interrupted.replace(signal).is_some() {
                        return Err(signal);
                    }
                    self.stop().await;
                    continue;
                }
                () = &mut overdue, if !course.is_overdue && course.interrupted.is_none() => {
                    course.is_overdue = true;
                    self.ends.stop(format!("the deadline of {:?} has passed", self.deadline.unwrap_or_default()));
                    self.stop().await;
                    continue;
                }
                () = pipes.stdout.closed() => {
                    course.reader_has_gone = true;
                    return Ok(course);
                }
                () = pipes.room(), if !backlog.is_empty() => {
                    backlog.pop_front().into_iter().for_each(|event| display.take(event));
                    continue;
                }
                event = async {
                    // If the hosts have to stop, all events that have arrived are taken.
                    if !is_ending {
                        pipes.room().await;
                    }
                    incoming.recv().await
                }, if is_open => event,
                is_still = stillness.grows(|| self.ends.is_over_time() || !is_open) => {
                    if is_still {
                        // From now on events are taken without waiting for room, so that hosts can report their end.
                        course.is_unread = true;
                        self.starting.abort();
                    }
                    if is_still && !is_open {
                        backlog.drain(..).for_each(|event| display.lose(event));
                    }
                    continue;
                }
                () = display.due() => {
                    display.renew();
                    continue;
                }
            };
            match event {
                None => is_open = false,
                Some(event) if is_ending => backlog.push_back(event),
                Some(event) => display.take(event),
            }
        }
        Ok(course)
    }
}

/// Starts the hosts, shows their output, and prints the summary. Returns how the tool ends, and the output that
/// is still awaited; `None` if no output is awaited.
async fn report(
    cli: &Cli,
    job: Job,
    hosts: Vec<HostPath>,
    (tree, input, files): (Tree, Option<Input>, Option<Files>),
    router: &Router,
    pipes: &Pipes,
    signals: &mut Signals,
) -> (Exit, Option<Last>) {
    let (output, inventories, is_script) =
        (job.output, job.reach.choosing.inventory.clone(), job.stdin == Stdin::Script);
    let mut display = Display::new(cli, output, files, &hosts, (pipes, job.meters()));
    let (events, incoming) = mpsc::channel(WAITING);
    let (stop, deadline, started) = (CancellationToken::new(), job.running.deadline, Instant::now());
    let rollout = Rollout::new(hosts.len(), job.running.batch.as_ref(), job.running.max_fail);
    let ends = Rc::new(Ends::new(rollout));
    let input = input.map(Rc::new);
    let stdin = input.clone();
    let tree = Rc::new(tree.with_events(&events));
    let workers = Workers { tree, events, stop: stop.clone(), ends: Rc::clone(&ends), input };
    let starting = tokio::task::spawn_local(start_all(job, hosts, workers)).abort_handle();
    let control = Control { router, stop, ends, starting, deadline, started };
    let course = match control.follow(&mut display, incoming, signals).await {
        Ok(course) => course,
        Err(signal) => return (signal, None),
    };
    let Control { ends, starting, .. } = control;
    starting.abort();
    let (mut report, marks) = display.end();
    report.skip_from(ends.started());
    let is_over_time = course.interrupted.is_some() || course.is_overdue || ends.timed_out.get();
    let mut readers = if is_over_time { Readers::MustRead } else { Readers::AreAwaited };
    if is_over_time {
        match end_in_order(router, pipes, signals, course.is_unread).await {
            Err(signal) => return (signal, None),
            Ok(()) => marks.unwritten(pipes).for_each(|host| report.cut(host, marks::CUT)),
        }
        if pipes.stdout.waits() || pipes.stderr.waits() {
            readers = Readers::DoNotRead;
            pipes.stderr.write(format!("offshoot: {}\n", marks::CUT).into_bytes());
        }
    }
    let end = match course.interrupted {
        Some(_) => End::Interrupted,
        None => course
            .why_stopped()
            .filter(|_| !report.is_complete())
            .or_else(|| ends.why_stopped().filter(|_| report.is_cut_short()))
            .map_or(End::Complete, End::Stopped),
    };
    let owed = pipes.stderr.queued();
    let used_stdin = is_script || stdin.is_some_and(|stdin| stdin.has_content());
    let rerun = |hosts: &str, caution: Option<&str>| {
        let notes = caution.into_iter().chain(used_stdin.then_some(SAME_STDIN));
        rerun::line(&cli.argv, hosts, &inventories, notes)
    };
    let summary = conclude(report, end, started, &rerun, pipes);
    if summary.count(Status::Failed) > 0
        && let Some(note) = cli.command.becomes_by_itself()
    {
        pipes.stderr.write(format!("note: {note}\n").into_bytes());
    }
    keep(&summary, &inventories, pipes);
    (course.interrupted.unwrap_or_else(|| summary.exit(output.remote_code)), Some(Last { owed, readers }))
}

/// Queues the last output: the summary, or the document.
fn conclude(
    report: Report,
    end: End,
    started: Instant,
    rerun: &dyn Fn(&str, Option<&str>) -> String,
    pipes: &Pipes,
) -> Summary {
    let finished = report.finish(SystemTime::now(), end, started.elapsed().as_secs_f64(), rerun);
    let Finished { summary, shown, document } = finished;
    // What is gathered comes before the summary, where both go to one terminal.
    document.into_iter().for_each(|document| pipes.stdout.write_document(document));
    shown.write(pipes);
    summary
}

/// Keeps the hosts that did not succeed for `@failed`.
fn keep(summary: &Summary, inventories: &[String], pipes: &Pipes) {
    let inventories = inventories.iter().map(|path| inventory::find::named(path).text()).collect();
    if let Err(why) = LastRun::new(summary.not_ok(), inventories).keep() {
        pipes.stderr.write(format!("note: {why}\n").into_bytes());
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

fn command(args: &RunArgs) -> CommandLine {
    let command = match (&args.shell, args.argv.as_slice()) {
        (Some(line), _) => CommandLine::shell(line),
        (None, []) => CommandLine::shell(""),
        (None, argv) => CommandLine { argv: argv.to_vec(), ..CommandLine::default() },
    };
    let env = args.env.iter().map(|variable| ((&variable.name).into(), Some(variable.value.clone())));
    CommandLine { cwd: args.chdir.clone(), env: env.collect(), ..command }
}
