//! What people see, and the exit code.

use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::stat::Mode;

use crate::support::process::Process;
use crate::support::tool::{Ended, Running, run, tool};
use crate::support::{A_WHILE, AT_ONCE, ONE_SECOND, promised};

/// Runs the tool to its end, after which nothing of it may be left.
pub(crate) fn offshoot(args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace) = tool(args);
    let ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    Ok(ended)
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_unstable();
    lines
}

pub(crate) fn a_command_runs_on_children_and_on_a_child_of_a_child() -> Result<()> {
    let ended = offshoot(&["run", "-w", "local[1-2],local1/local3", "--", "echo", "a  b"])?;
    assert_eq!(sorted(ended.stdout), ["local1/local3: a  b", "local1: a  b", "local2: a  b"]);
    ensure!(
        ended.stderr.len() == 1 && ended.stderr[0].starts_with("offshoot: 3 hosts: 3 ok in "),
        "{:?}",
        ended.stderr
    );
    assert_eq!(ended.code, Some(0));
    Ok(())
}

pub(crate) fn lines_are_shown_as_they_come() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let fifo = directory.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU)?;
    let line = format!("echo first; read x <'{}'; echo $x", fifo.display());
    let (mut command, _) = tool(&["run", "-w", "local1", "-s", &line]);
    let mut running = Running::start(&mut command)?;
    assert_eq!(running.line()?, "local1: first");
    ensure!(!running.has_ended(), "the command still waits");
    writeln!(std::fs::OpenOptions::new().write(true).open(&fifo)?, "second")?;
    assert_eq!(running.line()?, "local1: second");
    assert_eq!(running.finish()?.code, Some(0));
    Ok(())
}

pub(crate) fn stdout_and_stderr_stay_apart() -> Result<()> {
    let ended = offshoot(&["run", "-w", "local1", "-s", "echo out; echo err >&2"])?;
    assert_eq!(ended.stdout, ["local1: out"]);
    ensure!(ended.stderr.iter().any(|line| line == "local1: err"), "{:?}", ended.stderr);
    Ok(())
}

pub(crate) fn much_output_of_many_hosts_arrives_whole_and_in_order() -> Result<()> {
    let ended = offshoot(&["run", "-w", "local[1-8]", "--", "seq", "20000"])?;
    assert_eq!(ended.code, Some(0));
    for host in 1..=8 {
        let prefix = format!("local{host}: ");
        let numbers = ended.stdout.iter().filter_map(|line| line.strip_prefix(&prefix));
        ensure!(numbers.eq((1..=20_000).map(|number| number.to_string())), "local{host} counts to 20000");
    }
    Ok(())
}

pub(crate) fn forty_children_are_no_matter() -> Result<()> {
    let ended = offshoot(&["run", "-w", "local[1-40]", "--", "echo", "up"])?;
    assert_eq!((ended.stdout.len(), ended.code), (40, Some(0)), "{:?}", ended.stderr);
    Ok(())
}

pub(crate) fn the_command_has_its_directory_and_its_variables() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().canonicalize()?;
    let path = path.to_str().context("a path of text")?;
    let ended = offshoot(&["run", "-w", "local1", "-C", path, "-e", "A=x y", "-e", "B=", "-s", "pwd; echo \"$A=$B\""])?;
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.stdout, [format!("local1: {path}"), "local1: x y=".to_owned()]);
    Ok(())
}

pub(crate) fn a_command_is_not_taken_apart_by_any_shell() -> Result<()> {
    let words = ["$HOME", "a;b", "'q\"", "", "--json", "*"];
    let mut args = vec!["run", "-w", "local1", "--", "printf", "[%s]\\n"];
    args.extend(words);
    let ended = offshoot(&args)?;
    assert_eq!(ended.stdout, words.map(|word| format!("local1: [{word}]")));
    Ok(())
}

pub(crate) fn hosts_lists_what_run_would_use() -> Result<()> {
    assert_eq!(offshoot(&["hosts", "web[08-11]!web09"])?.stdout, ["web08", "web10", "web11"]);
    assert_eq!(offshoot(&["hosts", "--count", "web[1-1000]"])?.stdout, ["1000"]);
    Ok(())
}

pub(crate) fn the_exit_code_tells_what_went_wrong() -> Result<()> {
    let refused = "127.0.0.1:1";
    for (code, args) in [
        (0, &["run", "-w", "local1", "--", "true"][..]),
        (0, &["--version"]),
        (0, &["run", "--help"]),
        (2, &["run", "-w", "local[1-2]", "--", "false"]),
        (2, &["run", "-w", "local1", "--", "/no/such/program"]),
        (2, &["run", "-w", "local1", "-C", "/no/such/directory", "--", "true"]),
        (4, &["run", "-F", "none", "-w", refused, "--", "true"]),
        (4, &["run", "-F", "none", "-w", &format!("local1,{refused}"), "--", "true"]),
        (6, &["run", "-F", "none", "-w", &format!("local1,{refused}"), "--", "false"]),
        (64, &[]),
        (64, &["run", "-w", "local1"]),
        (64, &["run", "-w", "local1", "--no-such-option", "--", "true"]),
        (64, &["run", "-w", "local[1-", "--", "true"]),
        (64, &["run", "-w", "dockr:x", "--", "true"]),
        (66, &["run", "-w", "web1!web1", "--", "true"]),
        (66, &["run", "-w", "^/no/such/file", "--", "true"]),
    ] {
        let ended = offshoot(args)?;
        ensure!(ended.code == Some(code), "{args:?} ends with {:?}, not {code}: {:?}", ended.code, ended.stderr);
        let said = if args.contains(&"--help") || args.contains(&"--version") { &ended.stdout } else { &ended.stderr };
        ensure!(!said.is_empty(), "{args:?} says something");
    }
    Ok(())
}

pub(crate) fn the_largest_code_of_a_host_is_given_when_asked_for() -> Result<()> {
    for (line, code) in [("exit 7", 7), ("exit 0", 0), ("kill -KILL $$", 137)] {
        let ended = offshoot(&["run", "-S", "-w", "local[1-3]", "-s", line])?;
        assert_eq!(ended.code, Some(code), "{line}: {:?}", ended.stderr);
    }
    // A file that one host alone takes away.
    let file = tempfile::NamedTempFile::new()?;
    let line = format!("mv '{0}' '{0}'.$$ 2>/dev/null && exit 3; exit 5", file.path().display());
    assert_eq!(offshoot(&["run", "-S", "-f1", "-w", "local[1-3]", "-s", &line])?.code, Some(5));
    Ok(())
}

pub(crate) fn what_did_not_succeed_can_be_run_again() -> Result<()> {
    let ended = offshoot(&["run", "-w", "local[1-3]", "-s", "exit 4"])?;
    ensure!(ended.stderr.iter().any(|line| line == "local2: exited with return code 4"), "{:?}", ended.stderr);
    let rerun = ended.stderr.iter().find_map(|line| line.trim().strip_prefix("rerun: ")).context("there is a rerun")?;
    let (program, rest) = rerun.split_once(' ').context("it has arguments")?;
    assert_eq!((program, rest), (env!("CARGO_BIN_EXE_offshoot"), "run -w 'local[1-3]' -s 'exit 4'"));
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", rerun]).env("XDG_STATE_HOME", env!("CARGO_TARGET_TMPDIR"));
    assert_eq!(run(&mut shell)?.code, Some(2));
    Ok(())
}

pub(crate) fn more_hosts_than_open_files_allow_lose_none_and_commands_keep_the_limit() -> Result<()> {
    let (command, mut trace) = tool(&["run", "-f", "100", "-w", "local[1-100]", "-s", "ulimit -Sn; sleep 0.2"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -Hn 256; ulimit -Sn 64; exec \"$@\"", "sh"]).arg(command.get_program());
    shell.args(command.get_args()).envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut shell)?;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    ensure!(ended.stdout.len() == 100 && ended.stdout.iter().all(|line| line.ends_with(": 64")), "{:?}", ended.stdout);
    trace.expect_nothing_left(AT_ONCE)
}

/// The contexts of hops would need some 300 files, if they stayed until the end.
pub(crate) fn a_hop_is_left_when_the_last_host_behind_it_is_done() -> Result<()> {
    let hosts = "local[1-30]/local1/local[1-2]";
    let (command, mut trace) = tool(&["run", "-f", "4", "--connect-timeout", "20s", "-w", hosts, "--", "true"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut shell)?;
    assert_eq!(ended.code, Some(0), "{:?}", ended.stderr);
    ensure!(ended.stderr.concat().contains("60 ok"), "{:?}", ended.stderr);
    trace.expect_nothing_left(AT_ONCE)
}

pub(crate) fn where_files_are_too_few_the_limit_is_named() -> Result<()> {
    let (command, _) = tool(&["run", "--connect-timeout", "1s", "-f", "40", "-w", "local[1-40]", "--", "sleep", "3"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    let ended = run(&mut shell)?;
    assert_eq!(ended.code, Some(4), "{:?}", ended.stderr);
    // What to do is said once, for all hosts that failed so.
    let named = |line: &&String| line.contains("`ulimit -n`") && line.contains("`-f`");
    ensure!(ended.stderr.iter().filter(named).count() == 1, "{:?}", ended.stderr);
    ensure!(!ended.stderr.concat().contains("installed"), "{:?}", ended.stderr);
    // With so few that the tool itself cannot work, it says so, whatever it would have opened first.
    for limit in 6..32 {
        let ended = with_open_files(limit, &["run", "-w", "local1", "--", "true"])?;
        ensure!(
            ended.code == Some(70) && ended.stderr.len() == 1 && ended.stderr[0].contains("`ulimit -n`"),
            "{limit}: {:?} {:?}",
            ended.code,
            ended.stderr
        );
    }
    Ok(())
}

pub(crate) fn few_open_files_are_enough_for_what_starts_no_host() -> Result<()> {
    for args in [&["hosts", "web[1-3]"][..], &["images"], &["functions"], &["--help"], &["run", "--help"]] {
        let ended = with_open_files(6, args)?;
        ensure!(ended.code == Some(0) && ended.stderr.is_empty(), "{args:?}: {ended:?}");
    }
    for args in [&["call", "-w", "local1", "host_facts"][..], &["doctor", "local1"]] {
        let ended = with_open_files(6, args)?;
        ensure!(ended.code == Some(70) && ended.stderr[0].contains("`ulimit -n`"), "{args:?}: {ended:?}");
    }
    Ok(())
}

/// Runs the tool with a limit of open files.
fn with_open_files(limit: u32, args: &[&str]) -> Result<Ended> {
    let (command, _) = tool(args);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {limit}; exec \"$@\""), "sh"]);
    run(shell.arg(command.get_program()).args(command.get_args()))
}

/// A directory with an `ssh` that runs the command here, and then a line.
fn wrapper(line: &str) -> Result<(tempfile::TempDir, String)> {
    launcher("ssh", &format!("for command; do :; done\nsh -c \"$command\"\n{line}"))
}

/// A directory with this script in it, and a PATH that begins there.
pub(crate) fn launcher(name: &str, script: &str) -> Result<(tempfile::TempDir, String)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH")?);
    Ok((directory, path))
}

pub(crate) fn what_a_login_prints_after_our_child_has_ended_is_no_matter() -> Result<()> {
    let (_directory, path) = wrapper("echo bye; echo bye >&2")?;
    for host in ["web1", "local1/web1"] {
        let (mut command, _) = tool(&["run", "-F", "none", "-w", host, "--", "echo", "done"]);
        let ended = run(command.env("PATH", &path))?;
        assert_eq!(ended.stdout, [format!("{host}: done")]);
        ensure!(ended.stderr.len() == 1 && ended.code == Some(0), "only the summary: {:?}", ended.stderr);
    }
    Ok(())
}

pub(crate) fn what_ssh_hides_of_a_refused_login_is_told_by_doctor() -> Result<()> {
    const REFUSES: &str = r#"case "$*" in
*' -G '*) exit 0 ;;
*LogLevel=VERBOSE*ControlPath=none*LogLevel=ERROR*)
    echo loud >>"${0%/*}/asked"
    echo 'Your account has expired; please contact your system administrator.' >&2 ;;
*) echo quiet >>"${0%/*}/asked" ;;
esac
exit 255"#;
    let (directory, path) = launcher("ssh", REFUSES)?;
    let (mut command, _) = tool(&["doctor", "-F", "none", "web1"]);
    let ended = run(command.env("PATH", &path))?;
    ensure!(ended.stdout.iter().any(|line| line.contains("Your account has expired")), "{ended:?}");
    assert_eq!(std::fs::read_to_string(directory.path().join("asked"))?, "quiet\nloud\n");
    let (mut command, _) = tool(&["run", "-F", "none", "-w", "web1", "--", "true"]);
    let ended = run(command.env("PATH", &path))?;
    ensure!(ended.stderr.iter().any(|line| line.contains("or run `offshoot doctor web1`")), "{ended:?}");
    Ok(())
}

pub(crate) fn doctor_advises_what_to_try_next_and_not_itself() -> Result<()> {
    for says in ["", "echo 'Connection to 127.0.0.1 closed by remote host.' >&2; "] {
        let (_directory, path) = launcher("ssh", &format!("case \"$*\" in *' -G '*) exit 0 ;; esac; {says}exit 255"))?;
        let (mut command, _) = tool(&["doctor", "-F", "none", "web1"]);
        let ended = run(command.env("PATH", &path))?;
        let text = ended.stdout.join("\n");
        ensure!(text.contains("ssh -v HOST true") && !text.contains("offshoot doctor"), "{ended:?}");
    }
    Ok(())
}

pub(crate) fn a_login_shell_that_does_not_come_to_our_command_is_told_by_what_it_does() -> Result<()> {
    const COMMAND: &str = "case \"$*\" in *' -G '*) exit 0 ;; esac; for command; do :; done";
    let reads = "reads input, executes another program (`exec`) or redirects the output";
    for (start_up, said, advice) in [
        ("read x", "the first stage came only when its input was closed, after 1.9s of 2s; a start-up file", reads),
        ("echo 'Which project?'; read x", "of 2s; \"Which project?\" was printed last", reads),
        ("exec cat", "ended when its input was closed (exited with return code 0)", reads),
        (
            r#"sh -c 'exec >/dev/null; sh -c "$0"' "$command"; exit $?"#,
            "what runs in its place ended when its input was closed",
            reads,
        ),
        ("exec sleep 1000", "timed out after 2s in phase login", "ssh -v HOST true"),
        ("echo hello; exec sleep 1000", "does not read its input; \"hello\" was printed last", "wait for something"),
        (
            "echo 'Authenticated to web1 ([127.0.0.1]:22) using \"publickey\".' >&2; exec sleep 1000",
            "ssh has logged in, and what runs there has not come to our command and does not read its input",
            "start-up file",
        ),
    ] {
        let (_directory, path) = launcher("ssh", &format!("{COMMAND}\n{start_up}\nsh -c \"$command\""))?;
        let (mut command, mut trace) =
            tool(&["run", "--connect-timeout", "2s", "-F", "none", "-w", "web1", "--", "true"]);
        let ended = run(command.env("PATH", &path))?;
        let told = ended.stderr.join("\n");
        ensure!(ended.code == Some(4) && told.contains(said) && told.contains(advice), "{start_up}: {told}");
        ensure!(told.contains("connection timed out after 2s"), "{start_up}: {told}");
        trace.expect_nothing_left(A_WHILE)?;
    }
    Ok(())
}

pub(crate) fn doctor_asks_ssh_whether_it_has_logged_in() -> Result<()> {
    const HANGS: &str = r#"case "$*" in
*' -G '*) exit 0 ;;
*LogLevel=VERBOSE*) echo 'Authenticated to web1 ([127.0.0.1]:22) using "publickey".' >&2 ;;
esac
exec sleep 1000"#;
    let (_directory, path) = launcher("ssh", HANGS)?;
    let (mut command, mut trace) = tool(&["doctor", "-F", "none", "web1"]);
    let ended = run(command.env("PATH", &path))?;
    let told = ended.stdout.join("\n");
    ensure!(told.contains("ssh has logged in") && told.contains("start-up file"), "{ended:?}");
    ensure!(ended.elapsed < promised(Duration::from_secs(5)), "{:?}", ended.elapsed);
    trace.expect_nothing_left(A_WHILE)
}

pub(crate) fn a_tool_that_was_started_with_its_children_ignored_hears_of_their_ends() -> Result<()> {
    let (tool, _) = tool(&["run", "-w", "local1,local/local2", "-s", "exit 3"]);
    let mut command = std::process::Command::new("perl");
    command.args(["-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV"]).arg(tool.get_program()).args(tool.get_args());
    command.envs(tool.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = run(&mut command)?;
    let codes = ended.stderr.iter().filter(|line| line.ends_with("exited with return code 3")).count();
    ensure!(codes == 2, "{ended:?}");
    Ok(())
}

/// As sudo with `intercept` does, which kills what is not the file that it has let pass.
pub(crate) fn where_the_own_image_is_killed_one_is_sent() -> Result<()> {
    const KILLS: &str = r#"while [ "$1" != -- ]; do shift; done
shift
case $3 in
'[ -x /proc/'*) echo "$1: pathname mismatch" >&2; kill -KILL $$ ;;
esac
exec "$@""#;
    let (_directory, path) = launcher("sudo", KILLS)?;
    let (mut command, _) = tool(&["run", "-w", "local/sudo", "--", "echo", "done"]);
    let ended = run(command.env("PATH", &path))?;
    ensure!(ended.stdout == ["local/sudo: done"] && ended.code == Some(0), "{ended:?}");
    // Who is refused is not asked again.
    let refuses = "echo asked >>\"${0%/*}/asked\"; echo 'bob is not in the sudoers file.' >&2; exit 1";
    let (directory, path) = launcher("sudo", refuses)?;
    let (mut command, _) = tool(&["run", "-w", "local/sudo", "--", "true"]);
    let ended = run(command.env("PATH", &path))?;
    ensure!(ended.stderr.iter().any(|line| line.contains("not in the sudoers file")), "{ended:?}");
    assert_eq!(std::fs::read_to_string(directory.path().join("asked"))?, "asked\n");
    Ok(())
}

pub(crate) fn a_connection_that_is_lost_while_the_command_runs_is_told_as_such() -> Result<()> {
    let (_directory, path) = wrapper("echo 'Connection to web1 closed by remote host.' >&2; exit 255")?;
    // The child is the command's parent.
    for host in ["web1", "web1/local1", "local1/web1"] {
        let kill =
            if host.ends_with("web1") { "kill -KILL $PPID" } else { "kill -KILL $(cut -d' ' -f4 /proc/$PPID/stat)" };
        let line = format!("echo begun; {kill}; exec sleep 10000");
        let (mut command, mut trace) = tool(&["run", "-F", "none", "-w", host, "-s", &line]);
        let ended = run(command.env("PATH", &path))?;
        assert_eq!(ended.code, Some(4), "{ended:?}");
        let told = format!("{host}: unreachable: ");
        let at = ended.stderr.iter().position(|line| line.starts_with(&told)).with_context(|| format!("{ended:?}"))?;
        ensure!(
            ended.stderr[at]
                .ends_with("the connection was lost while the command ran; the command may have been carried out")
        );
        let caution = format!("  # it may have run to its end on {host} already");
        ensure!(ended.stderr.iter().any(|line| line.contains("rerun: ") && line.ends_with(&caution)), "{ended:?}");
        let words = "    Connection to web1 closed by remote host.";
        ensure!(ended.stderr[at + 1..].iter().any(|line| line == words), "{ended:?}");
        trace.expect_nothing_left(A_WHILE)?;
    }
    // As ssh does, which was told to be quiet, if nothing answers its keepalive.
    let (_directory, path) = launcher("ssh", "for command; do :; done\nexec sh -c \"$command\" 2>/dev/null")?;
    let args = ["run", "-F", "none", "-w", "web1", "-s", "kill -KILL $PPID; exec sleep 10000"];
    let ended = run(tool(&args).0.env("PATH", &path))?;
    let told = ended.stderr.join("\n");
    ensure!(told.contains("ssh has ended without a word: ") && told.contains("ServerAliveInterval"), "{told}");
    Ok(())
}

pub(crate) fn no_more_hosts_at_once_than_the_fan_out_allows() -> Result<()> {
    let ended = offshoot(&["run", "-f", "2", "-w", "local[1-6]", "-s", "date +%s%N; sleep 0.2; date +%s%N"])?;
    let mut events = Vec::new();
    for host in 1..=6 {
        let prefix = format!("local{host}: ");
        let times: Vec<u128> =
            ended.stdout.iter().filter_map(|line| line.strip_prefix(&prefix)?.parse().ok()).collect();
        let [began, stopped] = times[..] else { anyhow::bail!("two times of local{host}: {:?}", ended.stdout) };
        events.extend([(began, 1), (stopped, -1)]);
    }
    events.sort_unstable();
    let counts = events.iter().scan(0, |count, (_, change)| {
        *count += change;
        Some(*count)
    });
    assert_eq!(counts.max(), Some(2));
    Ok(())
}

pub(crate) fn a_child_of_the_tool_is_known_by_its_name_and_passes_on_a_clean_environment() -> Result<()> {
    let (mut command, mut trace) = tool(&["run", "-w", "local1", "-s", "env; echo; echo $PPID; exec sleep 10000"]);
    command.env("USER", "op/er");
    let running = Running::start(&mut command)?;
    let mut environment = Vec::new();
    let parent = loop {
        match running.line()?.strip_prefix("local1: ") {
            Some("") => break running.line()?,
            Some(line) => environment.push(line.to_owned()),
            None => anyhow::bail!("a line of local1"),
        }
    };
    let parent: i32 = parent.strip_prefix("local1: ").context("a line of local1")?.parse()?;
    let host = nix::unistd::gethostname()?.into_string().unwrap_or_default();
    let child = Process::of(parent).context("the child runs")?;
    // Slashes and backslashes become underscores.
    ensure!(child.is_context(&format!("op_er@{host}:{}", running.pid)), "{child}");
    let nonce = child.argv.get(1).and_then(|word| word.split(':').nth(1)).context("a nonce")?;
    // What it has from this process says nothing.
    let own: Vec<String> = std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
    for line in environment.iter().filter(|line| !own.contains(line)) {
        ensure!(!line.contains("offshoot-") && !line.contains(nonce), "{line}");
    }
    running.signal(nix::sys::signal::Signal::SIGTERM)?;
    running.finish()?;
    trace.expect_nothing_left(ONE_SECOND)
}

pub(crate) fn what_happens_is_told_on_demand_by_hops_too() -> Result<()> {
    let run = |verbose: &[&str]| offshoot(&[verbose, &["run", "-w", "local1/local2", "--", "true"]].concat());
    let said = |ended: &Ended, what: &str| ended.stderr.iter().any(|line| line.contains(what));
    let there = " D offshoot::connect::methods::attach.[local.local1]: context 2 is up: local.local1.local.local2";
    let quiet = run(&[])?;
    ensure!(quiet.stderr.len() == 1, "only the summary: {:?}", quiet.stderr);
    let verbose = run(&["-vv"])?;
    ensure!(said(&verbose, there) && !said(&verbose, "offshoot::io"), "{:?}", verbose.stderr);
    let frames = run(&["-vvv"])?;
    ensure!(said(&frames, there) && said(&frames, " T offshoot::io: in from 1: "), "{:?}", frames.stderr);
    ensure!(!said(&frames, "offshoot::io.["), "hops do not tell of frames: that would make more of them");
    Ok(())
}

pub(crate) fn debug_logs_are_written_on_demand() -> Result<()> {
    let (mut command, _) = tool(&["--debug", "run", "-w", "local1", "-s", "echo $PPID"]);
    let ended = run(&mut command)?;
    let pid = ended.stdout.first().and_then(|line| line.strip_prefix("local1: ")).context("no pid")?.to_owned();
    let own = ended.stderr.iter().find_map(|line| line.strip_prefix("debug log: ")?.split(';').next());
    let own = std::path::PathBuf::from(own.with_context(|| format!("{ended:?}"))?);
    let of_child =
        |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&format!("offshoot.{pid}."));
    let child = std::fs::read_dir("/tmp")?.flatten().find(of_child).context("the child has no debug log")?.path();
    let texts = [std::fs::read_to_string(&own)?, std::fs::read_to_string(&child)?];
    std::fs::remove_file(&own)?;
    std::fs::remove_file(&child)?;
    for (text, whose) in texts.iter().zip(["context 0 master", "context 1 local.local1"]) {
        ensure!(text.starts_with(&format!("offshoot debug log of {whose}, pid ")), "{text}");
        ensure!(text.contains(" T offshoot::io: out to "), "{text}");
    }
    Ok(())
}
