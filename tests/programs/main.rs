//! Tests of whole programs, from `main` to their output. This binary contains all of the programs: the trials
//! start it once more, with the name of a program.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "programs print")]
#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use offshoot::{Error, Program, Router, Secret, export};

/// The variable with the name of the program. The children get it too.
const PROGRAM: &str = "OFFSHOOT_TEST_PROGRAM";

fn main() -> ExitCode {
    match std::env::var(PROGRAM).as_deref() {
        Ok("in_a_runtime") => in_a_runtime(),
        Ok("forgets") => forgets(None),
        Ok("forgets_and_goes_on") => forgets(Some(Duration::from_secs(60))),
        Ok("late") => late(),
        Ok("prints") => offshoot::run(print),
        Ok("quiet") => Program::new().quiet().run(print),
        Ok("informs") => Program::new().log("info").run(print),
        Ok("profiles") => Program::new().profiling(true).run(print),
        Ok("profiles_to_a_file") => profiles_to_a_file(),
        Ok("misspells") => Program::new().log("loud").run(print),
        Ok("is_asked") => offshoot::run(is_asked),
        _ => trials(),
    }
}

fn add(a: u32, b: u32) -> u32 {
    a + b
}
fn say() {
    println!("said on stdout");
    eprintln!("said on stderr");
    tracing::warn!(answer = 42, "a warning");
    tracing::info!("an information");
}
export!(add, say);

/// A program whose child begins in the middle of a runtime.
fn in_a_runtime() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        offshoot::child();
        let router = Router::new().unwrap();
        let child = router.local().await.unwrap();
        let below = router.local().via(&child).await.unwrap();
        println!("{} {}", child.call(add, (1, 2)).await.unwrap(), below.call(add, (2, 3)).await.unwrap());
        router.shutdown().await;
        ExitCode::SUCCESS
    })
}

fn forgets(stays: Option<Duration>) -> ExitCode {
    let router = match Router::new() {
        Ok(router) => router,
        Err(error) => {
            std::thread::sleep(stays.unwrap_or_default());
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let error = router.local().connect_timeout(Duration::from_secs(2)).blocking_connect().unwrap_err();
    println!("{error}");
    router.blocking_shutdown();
    ExitCode::SUCCESS
}

fn late() -> ExitCode {
    let Ok(router) = Router::new() else { return ExitCode::FAILURE };
    offshoot::child();
    println!("{}", router.local().blocking_connect().unwrap_err());
    router.blocking_shutdown();
    ExitCode::SUCCESS
}

async fn print(router: Router) -> Result<(), Error> {
    let child = router.local().name("somebody").await?;
    child.call(say, ()).await
}

/// A program that has the profiles of all its processes in one file.
fn profiles_to_a_file() -> ExitCode {
    offshoot::child();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("profiles");
    offshoot::log::log_to_file(Some(&path), "off").unwrap();
    let router = Router::builder().profiling(true).build().unwrap();
    let child = router.local().name("somebody").blocking_connect().unwrap();
    let below = router.local().name("below").via(&child).blocking_connect().unwrap();
    below.blocking_call(add, (1, 2)).unwrap();
    router.blocking_shutdown();
    print!("{}", std::fs::read_to_string(path).unwrap());
    ExitCode::SUCCESS
}

/// A program that asks like a PAM module, and then becomes sudo.
const ASKS: &str = r#"#!/bin/sh
stty -echo </dev/tty
printf 'Verification code: ' >/dev/tty
read code </dev/tty
stty echo </dev/tty
echo >/dev/tty
[ "$code" = 424242 ] || { echo 'sudo: wrong code' >&2; exit 1; }
while [ "$1" != -- ]; do shift; done
shift
exec "$@"
"#;

async fn is_asked(router: Router) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sudo");
    std::fs::write(&file, ASKS).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let hop = router.local().await?;
    let far = router.local().via(&hop).await?;
    let sudo = || router.sudo().username("somebody").sudo_path(file.to_str().unwrap()).via(&far);
    let (asked, questions) = std::sync::mpsc::channel();
    let answer = move |question: &str| {
        asked.send(question.to_owned()).unwrap();
        (question == "Verification code:").then(|| Secret::from("424242"))
    };
    let child = sudo().on_question(answer).await?;
    let seen: Vec<String> = questions.try_iter().collect();
    println!("{} {seen:?}", child.call(add, (3, 4)).await?);
    let refused = sudo().on_question(|_| None).await.unwrap_err();
    println!("{refused}");
    let slow = |_: &str| {
        std::thread::sleep(Duration::from_secs(3));
        None
    };
    let late = sudo().on_question(slow).connect_timeout(Duration::from_secs(1)).await.unwrap_err();
    println!("{late}");
    Ok(())
}

/// Runs a program and returns its output.
fn run(program: &str) -> (Output, String, String) {
    run_with(program, &[])
}

/// The same with variables.
fn run_with(program: &str, variables: &[(&str, &str)]) -> (Output, String, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.env(PROGRAM, program).envs(variables.iter().copied()).output().unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output, stdout, stderr)
}

fn trials() -> ExitCode {
    offshoot::child();
    let mut trials = Vec::new();
    let mut add = |name: &str, trial: fn()| {
        trials.push(Trial::test(name, move || {
            trial();
            Ok(())
        }));
    };
    add("a_child_that_begins_in_a_runtime_works", || {
        let (output, stdout, stderr) = run("in_a_runtime");
        assert!(output.status.success(), "{stderr}");
        assert_eq!(stdout, "3 5\n");
    });
    add("a_program_that_forgets_child_is_told_so_by_the_connect", || {
        for program in ["forgets", "forgets_and_goes_on", "late"] {
            let (output, stdout, stderr) = run(program);
            assert!(output.status.success() && stdout.contains("offshoot::child()"), "{program}: {stdout}{stderr}");
        }
    });
    add("what_children_print_and_warn_of_is_shown_behind_their_names", || {
        let (output, stdout, stderr) = run("prints");
        assert!(output.status.success() && stdout.is_empty(), "{stdout}{stderr}");
        for line in ["said on stdout", "said on stderr", "warning: programs: a warning answer=42"] {
            assert!(stderr.lines().any(|shown| shown == format!("somebody: {line}")), "{line}: {stderr}");
        }
        assert!(!stderr.contains("an information"), "{stderr}");
    });
    add("a_program_can_be_quiet_and_can_show_more", || {
        let (output, stdout, stderr) = run("quiet");
        assert_eq!((output.status.success(), &*stdout, &*stderr), (true, "", ""));
        let (_, _, stderr) = run("informs");
        assert!(stderr.contains("somebody: info: programs: an information\n"), "{stderr}");
        let (_, _, stderr) = run("profiles");
        assert!(stderr.contains("somebody: info: offshoot::profile: "), "{stderr}");
        let (_, stdout, _) = run("profiles_to_a_file");
        for whose in ["context 0 master: ", "context 1 somebody: ", "context 2 somebody.below: "] {
            assert!(stdout.contains(&format!("profile of {whose}")), "{whose}: {stdout}");
        }
        assert!(stdout.contains("function programs::add: 1 times"), "{stdout}");
        let (output, _, stderr) = run("misspells");
        assert!(output.status.code() == Some(1) && stderr.contains("loud is no level"), "{stderr}");
        let level = |level| run_with("informs", &[("OFFSHOOT_LOG_LEVEL", level)]);
        let (_, _, stderr) = level("off");
        assert!(stderr.contains("somebody: said on stdout") && !stderr.contains("a warning"), "{stderr}");
        let (output, _, stderr) = level("loud");
        assert!(output.status.code() == Some(1) && stderr.contains("OFFSHOOT_LOG_LEVEL: loud"), "{stderr}");
    });
    add("a_question_behind_another_context_is_answered_by_who_asked_for_the_connect", || {
        let (output, stdout, stderr) = run("is_asked");
        assert!(output.status.success(), "{stdout}{stderr}");
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines[0], r#"7 ["Verification code:"]"#);
        assert!(lines[1].ends_with("a question was left without an answer"), "{stdout}");
        assert!(stdout.contains("connection timed out after 1s in phase login"), "{stdout}");
    });
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
