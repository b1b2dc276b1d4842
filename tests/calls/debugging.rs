//! Debug logs and profiles.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use offshoot::{Context, Router, export};

use super::logs::Records;
use super::{Tree, eventually, pid};

/// The debug log that a process has left, and its removal.
struct DebugLog(PathBuf);

impl DebugLog {
    fn find(pid: u32) -> Option<Self> {
        let begin = format!("offshoot.{pid}.");
        let is_it = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin));
        let entries = std::fs::read_dir("/tmp").unwrap().flatten();
        entries.map(|entry| entry.path()).find(is_it).map(Self)
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for DebugLog {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn whisper() {
    tracing::debug!(target: "whisper", loudness = 1, "hardly heard");
    writeln!(std::io::stdout(), "printed").ok();
}
export!(whisper);

/// Starts a child of this child.
async fn grow(router: &Router) -> Result<Context, offshoot::Error> {
    router.local().connect().await
}
export!(grow);

#[test]
fn a_debug_log_has_every_record_and_frame_of_its_process_and_descendants_have_their_own() {
    use std::os::unix::fs::PermissionsExt;
    let tree = Tree::new();
    let child = tree.0.local().debug(true).blocking_connect().unwrap();
    let below = child.blocking_call(grow, ()).unwrap();
    let behind = tree.behind(&child);
    let silent = tree.child();
    let pids = [&child, &below, &silent, &behind].map(|context| context.blocking_call(pid, ()).unwrap());
    for context in [&below, &child] {
        context.blocking_call(whisper, ()).unwrap();
        context.blocking_shutdown();
    }
    for (context, pid) in [(&child, pids[0]), (&below, pids[1])] {
        let log = DebugLog::find(pid).expect("a debug log");
        assert_eq!(log.0.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = log.text();
        let parent = if pid == pids[0] { std::process::id() } else { pids[0] };
        let header = format!(
            "offshoot debug log of context {} {}, pid {pid}, started by pid {parent}",
            context.id(),
            context.name()
        );
        assert_eq!(text.lines().next(), Some(&*header));
        for line in [" D whisper: hardly heard loudness=1", " I stdout: printed", " T offshoot::io: in from "] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
    assert!(DebugLog::find(pids[2]).is_none());
    assert!(DebugLog::find(pids[3]).is_some(), "what is started through it has one, too");
}

fn work(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}
export!(work);

#[test]
fn a_profile_tells_at_the_end_where_the_time_has_gone() {
    let router = Router::builder().profiling(true).build().unwrap();
    let records = Records::of(&router);
    let hop = router.local().blocking_connect().unwrap();
    let child = router.local().via(&hop).blocking_connect().unwrap();
    let without = router.local().profiling(false).blocking_connect().unwrap();
    for millis in [1, 30] {
        child.blocking_call(work, (millis,)).unwrap();
    }
    without.blocking_call(work, (1,)).unwrap();
    router.blocking_shutdown();
    let told = |context: &str| -> Vec<String> {
        let records = records.all().into_iter();
        let of =
            |record: &offshoot::log::Record| record.target == "offshoot::profile" && record.context_name == context;
        records.filter(of).map(|record| record.message).collect()
    };
    eventually("the profile of the master", || !told("master").is_empty());
    let lines = told(child.name());
    assert!(lines[0].starts_with(&format!("profile of context {} {}: ", child.id(), child.name())), "{lines:?}");
    let function = lines.iter().find(|line| line.contains("debugging::work: 2 times, ")).expect("the function");
    let all: u64 = function.split("times, ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(all >= 31_000, "{function}");
    assert!(lines.iter().any(|line| line.contains("handle 101: 2 times")), "{lines:?}");
    assert!(told(hop.name()).len() > 2);
    assert!(told(without.name()).is_empty());
}

/// A program of its own, since a process has one log.
#[test]
fn a_master_that_debugs_logs_its_own_frames_too() {
    if std::env::var_os("OFFSHOOT_TEST_DEBUG").is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "debugging::a_master_that_debugs_logs_its_own_frames_too";
        let mut program = std::process::Command::new(this);
        let ended = program.args([name, "--exact", "--nocapture"]).env("OFFSHOOT_TEST_DEBUG", "1").output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        return;
    }
    let tree = Tree::new();
    let early = tree.child().blocking_call(pid, ()).unwrap();
    let path = tree.0.enable_debug().unwrap().expect("the log of this process is ours");
    assert_eq!(tree.0.enable_debug().unwrap().as_deref(), Some(&*path));
    let log = DebugLog(path);
    assert_eq!(log.0.parent(), Some(Path::new("/tmp")));
    let child = tree.child();
    child.blocking_call(whisper, ()).unwrap();
    let pid = child.blocking_call(pid, ()).unwrap();
    child.blocking_shutdown();
    assert!(DebugLog::find(early).is_none() && DebugLog::find(pid).is_some());
    for line in [" T offshoot::io: out to 2: 0 to 2, handle 101,", " T offshoot::io: in from 2: 2 to 0, handle 1"] {
        assert!(log.text().contains(line), "{line} is not in {}", log.text());
    }
}
