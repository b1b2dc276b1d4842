//! `offshoot kept`: what runs with `--keep` have left.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use crate::cli::args::KeptArgs;
use crate::cli::complaint::{complain, fail};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::kept::keeping::{ask, join, silent};
use crate::cli::kept::place;
use crate::cli::kept::question::{Found, Kept, Question};
use crate::cli::output::safe_json;
use crate::cli::print;
use crate::unix::Joined;

/// One connection, as `--json` has it.
#[derive(Serialize)]
struct Shown {
    path: String,
    /// How many programs use it now.
    users: usize,
    /// Seconds since the last one has left.
    idle: f64,
    /// Seconds until it ends, if nobody uses it.
    left: f64,
}

/// Lists or ends connections.
pub(crate) fn kept(args: &KeptArgs) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(Exit::Internal, &error),
    };
    runtime.block_on(async {
        let (mut keepers, mut all_answer) = (Vec::new(), true);
        for socket in place::all() {
            match join(&socket).await {
                None => {
                    complain(&silent(&socket));
                    all_answer = false;
                }
                Some(Ok(joined)) => match ask(&joined, Question::List).await {
                    Ok(found) => keepers.push((joined, found.into_iter().filter_map(Found::kept).collect::<Vec<_>>())),
                    Err(error) => {
                        complain(&format!("note: the keeper at {} does not answer: {error}", socket.display()));
                        all_answer = false;
                    }
                },
                Some(Err(crate::Error::Io(error))) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                    // Its keeper was killed.
                    let _ = std::fs::remove_file(&socket);
                }
                Some(Err(error)) => {
                    complain(&format!("note: {error}"));
                    all_answer = false;
                }
            }
        }
        let exit = match args.what {
            Some(_) => end(&args.paths, &keepers, all_answer).await,
            None => list(args.json, &keepers, all_answer),
        };
        for (joined, _) in keepers {
            joined.router.shutdown().await;
        }
        match exit {
            // What a keeper holds that does not answer is neither listed nor ended.
            Exit::Done(outcome) if !all_answer => Exit::Done(Outcome { failed: true, ..outcome }),
            exit => exit,
        }
    })
}

fn list(json: bool, keepers: &[(Joined, Vec<Kept>)], all_answer: bool) -> Exit {
    let mut all: Vec<&Kept> = keepers.iter().flat_map(|(_, kept)| kept).collect();
    all.sort_by(|one, other| one.path.cmp(&other.path));
    if json {
        let shown = |kept: &&Kept| Shown {
            path: kept.path.clone(),
            users: kept.users,
            idle: kept.idle.as_secs_f64(),
            left: kept.left.as_secs_f64(),
        };
        let shown: Vec<Shown> = all.iter().map(shown).collect();
        return print(&safe_json::line(&json!({ "v": 1, "kept": shown })));
    }
    let mut text = String::new();
    let width = all.iter().map(|kept| kept.path.chars().count()).max().unwrap_or_default();
    for kept in &all {
        let state = match kept.users {
            0 => format!("unused for {}, ends in {}", seconds(kept.idle), seconds(kept.left)),
            users => format!("used by {users}"),
        };
        text.push_str(&format!("{:width$}  {state}\n", kept.path));
    }
    if all.is_empty() && all_answer {
        complain("nothing is kept; `offshoot run --keep 10m ...` keeps connections");
    }
    print(text.as_bytes())
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

async fn end(paths: &[String], keepers: &[(Joined, Vec<Kept>)], all_answer: bool) -> Exit {
    let is_meant = |kept: &&Kept| {
        let is_at = |path: &String| {
            kept.path.strip_prefix(path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        paths.is_empty() || paths.iter().any(is_at)
    };
    let mut ended = 0;
    for (joined, kept) in keepers {
        let ways: Vec<_> = kept.iter().filter(is_meant).map(|kept| kept.way).collect();
        if ways.is_empty() {
            continue;
        }
        ended += ways.len();
        if let Err(error) = ask(joined, Question::End(Some(ways))).await {
            return fail(Exit::Internal, &format!("a keeper does not answer: {error}"));
        }
    }
    if ended == 0 && !paths.is_empty() && all_answer {
        return fail(Exit::Usage, &format!("nothing is kept at {}; `offshoot kept` lists what is", paths.join(", ")));
    }
    complain(&match ended {
        1 => "1 connection ends".to_owned(),
        ended => format!("{ended} connections end"),
    });
    Exit::Done(Outcome::default())
}
