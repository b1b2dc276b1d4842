//! `offshoot doctor`: tries the way to a host, hop by hop and step by step, and shows what was tried, what came
//! back, and what to do.

use std::fmt::Write as _;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::builtin::facts::{HostFacts, host_facts};
use crate::connect::report::{Examined, Step, StepStatus};
use crate::wire::error::{ConnectErrorKind, Phase, joined};
use crate::{Context, Error, Router};
use serde_json::{Value, json};

use crate::cli::allowed;
use crate::cli::args::DoctorArgs;
use crate::cli::complaint::fail;
use crate::cli::config::Config;
use crate::cli::ending::{Readers, Signals, end};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::hosts::path::{Hop, HostPath, Method};
use crate::cli::hosts::sources::Reading;
use crate::cli::inventory::Inventories;
use crate::cli::output::pipe::Pipes;
use crate::cli::output::safe_json;
use crate::cli::output::visible;
use crate::cli::run::{led, resolved};
use crate::cli::session::Session;
use crate::cli::tree::Tree;

/// The first call to a child that is up.
const FIRST_CALL: &str = "first call";

/// A hop, and its result.
struct HopReport {
    name: String,
    steps: Vec<Step>,
    call: Option<Result<String, String>>,
}

impl HopReport {
    fn is_ok(&self) -> bool {
        self.call.as_ref().is_some_and(Result::is_ok)
    }
}

/// Tries the way to a host and prints a report.
pub(crate) fn doctor(args: &DoctorArgs, config: &Config) -> Exit {
    args.passwords.keep_descriptors();
    let host = match host(args, config) {
        Ok(host) => host,
        Err(exit) => return exit,
    };
    let Session { router, runtime, tree } =
        match Session::begin(&args.reach(), std::slice::from_ref(&host), Router::new) {
            Ok(session) => session,
            Err(exit) => return exit,
        };
    let tree = Rc::new(tree);
    let pipes = match Pipes::start() {
        Ok(pipes) => pipes,
        Err(error) => return fail(Exit::Internal, &error),
    };
    runtime.block_on(async {
        // Ctrl-C ends the process. Everything that it has started then ends because its links end.
        let hops = examine(&tree, &host, args).await;
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return fail(Exit::Internal, &error),
        };
        let is_ok = hops.iter().all(HopReport::is_ok);
        let text = if args.json { to_json(&host.text, &hops) } else { to_text(&hops) };
        pipes.stdout.write(text);
        let exit = end(&router, &mut signals, &pipes, 0, Readers::AreAwaited).await;
        exit.unwrap_or_else(|| Exit::Done(Outcome { unreachable: !is_ok, ..Outcome::default() }))
    })
}

/// The host with the hops that lead to it.
fn host(args: &DoctorArgs, config: &Config) -> Result<HostPath, Exit> {
    let mut sources = Reading::new(Inventories::new(&args.inventory).with_config(config));
    let host = resolved(&args.host, args.becoming.become_user.is_none(), &mut sources)?;
    led(host, args.via.as_deref(), &args.becoming, &mut sources)
}

async fn examine(tree: &Rc<Tree>, host: &HostPath, args: &DoctorArgs) -> Vec<HopReport> {
    let mut hops = Vec::new();
    let mut via: Option<Context> = None;
    for depth in 1..=host.hops.len() {
        let path = &host.hops[..depth];
        let examined = match Box::pin(examine_hop(tree, path, via.as_ref(), args.connect_timeout)).await {
            Ok(examined) => examined,
            Err(error) => {
                hops.push(HopReport { name: host.text.clone(), steps: Vec::new(), call: Some(Err(error.to_string())) });
                break;
            }
        };
        let mut steps = examined.steps();
        if let Err(Error::Connect(error)) = &examined.context
            && error.kind == ConnectErrorKind::Timeout
            && let Some(failed) = steps.iter_mut().find(|step| step.status == StepStatus::Failed)
        {
            let more = format!(
                "for a host that is only slow, give it more than {:?} by --connect-timeout",
                args.connect_timeout
            );
            failed.advice = joined(&failed.advice, &more);
        }
        let (name, call) = match &examined.context {
            Ok(context) => (context.name().to_owned(), Some(first_call(context, args).await)),
            Err(Error::Connect(error)) => (error.hop.clone(), None),
            Err(_) => (host.text.clone(), None),
        };
        let is_up = call.as_ref().is_some_and(Result::is_ok);
        hops.push(HopReport { name, steps, call });
        if !is_up {
            break;
        }
        via = examined.context.ok();
    }
    hops
}

/// Tries the last hop. If ssh may know more than it has printed, another one is started that prints more: when the
/// first has ended without a reason, or beside the first if that takes long.
async fn examine_hop(tree: &Rc<Tree>, path: &[Hop], via: Option<&Context>, limit: Duration) -> Result<Examined, Error> {
    if path.last().is_none_or(|hop| hop.method != Method::Ssh) {
        return tree.examine(path, via).await;
    }
    let mut quiet = pin!(tree.examine(path, via));
    let mut aloud = pin!(async {
        tokio::time::sleep(limit / 2).await;
        // It ends a little earlier than the first.
        tree.examine_aloud(path, via, limit / 2 - limit / 20).await
    });
    let mut told = None;
    let examined = loop {
        tokio::select! {
            examined = &mut quiet => break examined?,
            examined = &mut aloud, if told.is_none() => told = Some(examined),
        }
    };
    match &examined.context {
        Err(Error::Connect(error)) if error.is_unexplained() => tree.examine_aloud(path, via, limit).await,
        Err(Error::Connect(error)) if error.kind == ConnectErrorKind::Timeout && error.phase == Phase::Login => {
            let told = match told {
                Some(told) => told?,
                None => aloud.await?,
            };
            let is_better = matches!(&told.context, Err(Error::Connect(error)) if error.has_logged_in());
            Ok(if is_better { told } else { examined })
        }
        _ => Ok(examined),
    }
}

async fn first_call(context: &Context, args: &DoctorArgs) -> Result<String, String> {
    let started = Instant::now();
    let allowed = allowed::all(&args.least.allow);
    if allowed.is_some_and(|names| !names.contains(&std::any::type_name_of_val(&host_facts))) {
        context.ask_stats(Some(args.connect_timeout)).await.map_err(|error| error.to_string())?;
        return Ok(format!("it answers, in {} ms; --allow leaves out host_facts", started.elapsed().as_millis()));
    }
    let facts: HostFacts =
        context.timeout(args.connect_timeout).call(host_facts, ()).await.map_err(|error| error.to_string())?;
    Ok(format!(
        "{}@{}, {} {}, in {} ms",
        facts.user,
        facts.hostname,
        facts.os,
        facts.arch,
        started.elapsed().as_millis()
    ))
}

/// The steps of the connect, and the first call as the last step.
fn all_steps(hop: &HopReport) -> Vec<Value> {
    let mut steps: Vec<Value> = hop.steps.iter().map(|step| json!(step)).collect();
    let (status, got, advice) = match &hop.call {
        Some(Ok(got)) => ("ok", got.as_str(), ""),
        Some(Err(why)) => ("failed", why.as_str(), "the child was up and has ended, or hangs: see what the host logs"),
        None => ("pending", "", ""),
    };
    let tried = if hop.call.is_some() { "host_facts" } else { "" };
    steps.push(json!({ "step": FIRST_CALL, "status": status, "tried": tried, "got": got, "do": advice }));
    steps
}

fn to_json(host: &str, hops: &[HopReport]) -> Vec<u8> {
    let ok = hops.iter().all(HopReport::is_ok);
    let hops: Vec<Value> = hops.iter().map(|hop| json!({ "hop": hop.name, "steps": all_steps(hop) })).collect();
    safe_json::line(&json!({ "v": 1, "host": host, "ok": ok, "hops": hops }))
}

fn to_text(hops: &[HopReport]) -> Vec<u8> {
    let mut out = Vec::new();
    for hop in hops {
        visible::text(&hop.name, "", &mut out);
        out.push(b'\n');
        for step in all_steps(hop) {
            let part = |name: &str| step[name].as_str().unwrap_or_default();
            if part("status") == "pending" {
                continue;
            }
            let line = line(part("step"), part("status"), part("tried"), part("got"), part("do"));
            out.extend_from_slice(b"  ");
            visible::text(&line, "      ", &mut out);
            out.push(b'\n');
        }
    }
    out
}

fn line(step: &str, status: &str, tried: &str, got: &str, advice: &str) -> String {
    let status = if status == "failed" { "FAILED" } else { status };
    let mut line = format!("{step:<12} {status:<8}");
    let _ = match (tried.is_empty(), got.is_empty()) {
        (_, true) => write!(line, "{tried}"),
        (true, false) => write!(line, "{got}"),
        (false, false) => write!(line, "{tried}: {got}"),
    };
    if !advice.is_empty() {
        let _ = write!(line, "\ndo: {advice}");
    }
    line
}

/// One line for each step that was taken. It follows an error, which describes the last step.
pub(super) fn in_full(steps: &[Step]) -> String {
    let taken = steps.iter().filter(|step| step.status != StepStatus::Pending);
    let lines: Vec<String> = taken
        .map(|step| {
            let (status, got, advice) = match step.status {
                // The error has said what to do.
                StepStatus::Failed => ("failed", "see above", ""),
                StepStatus::Skipped => ("skipped", step.got.as_str(), step.advice.as_str()),
                _ => ("ok", step.got.as_str(), step.advice.as_str()),
            };
            line(step.step, status, &step.tried, got, advice).replace('\n', "\n    ")
        })
        .collect();
    lines.join("\n")
}

/// The steps in one line, for a report that contains other hosts.
pub(super) fn in_short(steps: &[Step], host: &str) -> String {
    let mut words = Vec::new();
    for step in steps {
        match step.status {
            StepStatus::Ok => words.push(format!("{} ok", step.step)),
            StepStatus::Failed => words.push(format!("{} FAILED", step.step)),
            _ => {}
        }
    }
    format!("{}; `offshoot doctor {host}` says more", words.join(", "))
}
