use std::os::unix::ffi::OsStringExt;

use clap::CommandFactory;
use proptest::prelude::*;

use super::*;

fn cli(line: &[&str]) -> Cli {
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"))
}

fn run(line: &[&str]) -> RunArgs {
    let line: Vec<&str> = ["offshoot", "run"].iter().chain(line).copied().collect();
    match cli(&line).command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

fn refused(line: &[&str]) -> String {
    let error = Cli::try_parse_from(line).unwrap_err();
    assert_eq!(exit_of(error.kind()), Exit::Usage);
    error.to_string()
}

#[test]
fn the_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn a_command_follows_the_hosts() {
    let args = run(&["-w", "web[1-3]", "--", "ls", "-l"]);
    assert_eq!(args.reach.hosts, ["web[1-3]"]);
    assert_eq!(args.argv, ["ls", "-l"]);
    assert_eq!((args.reach.fanout, args.reach.connect_timeout.as_secs()), (32, 30));
    assert_eq!((args.timeout, args.shell), (None, None));
    assert_eq!(run(&["-w", "a", "ls", "-l", "-w", "--", "x"]).argv, ["ls", "-l", "-w", "--", "x"]);
    assert_eq!(run(&["-w", "a", "--", "--help"]).argv, ["--help"]);
}

#[test]
fn stdin_can_be_the_hosts() {
    assert_eq!(run(&["-w", "-", "true"]).reach.hosts, ["-"]);
    assert_eq!(run(&["-w", "a", "-w", "b,c", "true"]).reach.hosts, ["a", "b,c"]);
    let Command::Hosts(args) = cli(&["offshoot", "hosts", "-f", "-", "a!b"]).command else { panic!() };
    assert_eq!((args.expressions, args.fold), (vec!["-".to_owned(), "a!b".into()], true));
}

#[test]
fn another_user_is_root_unless_it_is_named() {
    let args = run(&["-w", "a", "-b", "id"]);
    assert_eq!((args.reach.become_user.as_deref(), args.argv.len()), (Some("root"), 1));
    assert_eq!(args.reach.become_method, BecomeMethod::Sudo);
    let args = run(&["-bKw", "a", "id"]);
    assert!(args.reach.become_user.is_some() && args.reach.ask_become_pass && !args.reach.ask_pass);
    let args = run(&["-w", "a", "--become=bob", "--become-method", "doas", "--ask-pass", "id"]);
    assert_eq!(args.reach.become_user.as_deref(), Some("bob"));
    assert!(args.reach.become_method == BecomeMethod::Doas && args.reach.ask_pass);
    assert!(refused(&["offshoot", "run", "-w", "a", "--become=-x", "id"]).contains("not the name of a user"));
    assert!(refused(&["offshoot", "run", "-w", "a", "--become-method=runas", "id"]).contains("doas"));
}

#[test]
fn a_shell_line_stands_for_a_command() {
    assert_eq!(run(&["-w", "a", "-s", "a | b"]).shell.unwrap(), "a | b");
    assert!(refused(&["offshoot", "run", "-w", "a", "-s", "x", "--", "y"]).contains("cannot be used"));
    assert!(refused(&["offshoot", "run", "-w", "a"]).contains("CMD"));
}

#[test]
fn options_of_ssh_pass_through_in_their_order() {
    let args = run(&[
        "-w", "a", "-F", "cfg", "-o", "A=1", "-oB=2", "-J", "j1,j2", "-p", "2222", "-l", "me", "-i", "k1", "-i", "k2",
        "-o", "-C", "true",
    ]
    .map(|word| if word == "-C" { "C=3" } else { word }));
    assert_eq!(
        args.reach.ssh.to_argv(),
        [
            "-F", "cfg", "-o", "A=1", "-o", "B=2", "-o", "C=3", "-J", "j1,j2", "-p", "2222", "-l", "me", "-i", "k1",
            "-i", "k2"
        ]
    );
    assert!(run(&["-w", "a", "true"]).reach.ssh.to_argv().is_empty());
}

#[test]
fn times_have_units() {
    let args = run(&["-w", "a", "-t", "5m", "--connect-timeout", "1.5", "true"]);
    assert_eq!(args.timeout, Some(Duration::from_secs(300)));
    assert_eq!(args.reach.connect_timeout, Duration::from_millis(1500));
    assert!(refused(&["offshoot", "run", "-w", "a", "-t", "soon", "x"]).contains("write 30s"));
}

#[test]
fn variables_have_a_name_and_a_value() {
    let args = run(&["-w", "a", "-e", "A=b=c", "-eB=", "true"]);
    let variable = |name: &str, value: &str| Variable { name: name.into(), value: value.into() };
    assert_eq!(args.env, [variable("A", "b=c"), variable("B", "")]);
    for wrong in ["=b", "1A=b", "A B=c", "A-B=c"] {
        assert!(refused(&["offshoot", "run", "-w", "a", "-e", wrong, "x"]).contains("NAME=VALUE"));
    }
}

#[test]
fn global_options_stand_anywhere_before_the_command() {
    assert_eq!(cli(&["offshoot", "-vv", "run", "-w", "a", "x"]).verbose, 2);
    assert_eq!(cli(&["offshoot", "run", "-vvw", "a", "x", "-v"]).verbose, 2);
    assert_eq!(cli(&["offshoot", "hosts", "a", "--color", "never"]).color, Color::Never);
}

#[test]
fn wrong_command_lines_end_with_the_code_for_them() {
    for line in [
        &["offshoot"][..],
        &["offshoot", "run"],
        &["offshoot", "jump"],
        &["offshoot", "run", "true"],
        &["offshoot", "run", "--typo", "-w", "a", "true"],
        &["offshoot", "run", "-w", "a", "--typo", "true"],
        &["offshoot", "run", "-w", "a", "-f", "0", "x"],
        &["offshoot", "run", "-w", "a", "-f", "x", "x"],
        &["offshoot", "run", "-w", "a", "-p", "0", "x"],
        &["offshoot", "run", "-w", "a", "-p", "65536", "x"],
        &["offshoot", "run", "-w", "a", "--json", "--jsonl", "x"],
        &["offshoot", "run", "-w", "a", "--json", "--raw", "x"],
        &["offshoot", "run", "-w", "a", "--color", "pink", "x"],
        &["offshoot", "hosts"],
        &["offshoot", "hosts", "-c", "-f", "a"],
    ] {
        refused(line);
    }
    for line in [&["offshoot", "--help"][..], &["offshoot", "run", "-h"], &["offshoot", "--version"]] {
        let error = Cli::try_parse_from(line).unwrap_err();
        assert_eq!(exit_of(error.kind()).code(), 0);
    }
}

#[test]
fn help_has_examples_and_fits_a_screen() {
    let help = |line: &[&str]| Cli::try_parse_from(line).unwrap_err().to_string();
    let top = help(&["offshoot", "--help"]);
    assert!(top.contains("Examples:") && top.contains("Exit codes:"));
    assert!(top.lines().count() <= 30, "{top}");
    let run = help(&["offshoot", "run", "--help"]);
    assert!(run.contains("offshoot run -w web1,web2 -- uptime"), "{run}");
    assert!(help(&["offshoot", "hosts", "--help"]).contains("left to right"));
    // The examples are command lines, so they are parsed.
    for line in [EXAMPLES, RUN_EXAMPLES, HOSTS_HELP].iter().flat_map(|text| text.lines()) {
        if let Some(at) = line.find("offshoot ") {
            let script = format!("printf '%s\\n' {}", &line[at..]);
            let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            let words = String::from_utf8(output.stdout).unwrap();
            cli(&words.lines().collect::<Vec<_>>());
        }
    }
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    assert!(Color::Auto.is_on(true, false));
    assert!(!Color::Auto.is_on(true, true));
    assert!(!Color::Auto.is_on(false, false));
    assert!(Color::Always.is_on(false, true));
    assert!(!Color::Never.is_on(true, false));
}

#[test]
fn the_rerun_is_a_line_for_the_shell() {
    let first = cli(&[
        "offshoot", "run", "-w", "web[1-9]", "-w", "db1", "-t", "90", "-e", "A=x y", "-S", "--", "sh", "-c", "it's $A",
    ]);
    assert_eq!(
        first.rerun(OsStr::new("./offshoot"), "web[2,5]"),
        r"./offshoot run -w 'web[2,5]' -S -t 1m30s -e A -- sh -c 'it'\''s $A'"
    );
    let shell = cli(&["offshoot", "--color=never", "run", "-w", "a", "-s", "a | b", "--via", "bastion"]);
    assert_eq!(shell.rerun(OsStr::new("offshoot"), "a"), "offshoot --color=never run -w a --via=bastion -s 'a | b'");
}

#[test]
fn the_rerun_shows_no_value_of_a_variable_and_takes_it_from_the_environment() {
    let (name, value) = ("PATH", std::env::var("PATH").unwrap());
    let run = |variable: &str| Cli::try_parse_from(["offshoot", "run", "-w", "a", "-e", variable, "--", "true"]);
    let first = run(&format!("{name}={value}")).unwrap();
    let line = first.rerun(OsStr::new("o"), "a");
    assert_eq!(line, format!("o run -w a -e {name} -- true"));
    assert_eq!(run(name).unwrap(), first);
    let secret = run("DB_PASSWORD=hunter2").unwrap().rerun(OsStr::new("o"), "a");
    assert!(secret.contains("-e DB_PASSWORD ") && !secret.contains("hunter2"), "{secret}");
    let error = run("OFFSHOOT_NO_SUCH_VARIABLE").unwrap_err().to_string();
    assert!(error.contains("is not set in the environment here"), "{error}");
}

/// Why words are refused that clap takes.
fn words_refused(line: &[&str]) -> Result<(), String> {
    let line: Vec<OsString> = ["offshoot", "run"].iter().chain(line).map(OsString::from).collect();
    Cli::try_parse_from(&line).unwrap_or_else(|error| panic!("{error}")).check_words(&line)
}

#[test]
fn words_before_the_dashes_are_no_command() {
    let refused = words_refused(&["-w", "local1", "local2", "local3", "--", "true"]).unwrap_err();
    assert!(refused.contains("-w local1,local2,local3"), "{refused}");
    for become_ in ["-b", "-Kb", "--become"] {
        let refused = words_refused(&["-w", "a", become_, "root", "--", "id"]).unwrap_err();
        assert!(refused.contains("write -b=root"), "{refused}");
    }
    for line in [
        &["-w", "a", "--", "git", "checkout", "--", "x"][..],
        &["-w", "a", "true"],
        &["-w", "a", "-b", "--", "id"],
        &["-w", "a", "-b=root", "--", "id"],
        &["-w", "a", "-s", "true"],
    ] {
        assert_eq!(words_refused(line), Ok(()), "{line:?}");
    }
}

#[test]
fn files_that_are_taken_for_hosts_or_keys_are_noted() {
    let dir = tempfile::tempdir().unwrap();
    let (list, key) = (dir.path().join("hosts.txt"), dir.path().join("key"));
    std::fs::write(&list, "web1\n").unwrap();
    std::fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    let (list, key) = (list.to_str().unwrap(), key.to_str().unwrap());
    let notes = |line: &[&str]| {
        let line: Vec<&str> = ["offshoot", "run"].iter().chain(line).copied().collect();
        cli(&line).suspicions().join("; ")
    };
    assert!(notes(&["-w", list, "true"]).contains(&format!("write '^{list}'")));
    assert!(notes(&["-w", "web", "-i", list, "true"]).contains(&format!("-w '^{list}'")));
    assert_eq!(notes(&["-w", &format!("^{list},web1"), "-i", key, "-i", "/nowhere", "true"]), "");
}

#[test]
fn a_line_of_shell_as_one_word_is_noted() {
    let notes = |word: &str| cli(&["offshoot", "run", "-w", "a", "--", word]).suspicions().join("; ");
    assert!(notes("echo hi; hostname").contains("write -s 'echo hi; hostname'"));
    assert_eq!(notes("/usr/bin/true"), "");
}

#[test]
fn help_names_no_groups() {
    assert!(!HOSTS_HELP.contains("@group") && !HOSTS_HELP.contains("@all"));
}

fn word() -> impl Strategy<Value = OsString> {
    prop_oneof![
        "-{0,2}[a-z=]{0,4}".prop_map(OsString::from),
        "\\PC{0,6}".prop_map(OsString::from),
        prop::collection::vec(1..=255_u8, 0..5).prop_map(OsString::from_vec),
    ]
}

fn path() -> impl Strategy<Value = PathBuf> {
    word().prop_filter_map("clap takes no empty path", |word| (!word.is_empty()).then(|| PathBuf::from(word)))
}

fn ssh() -> impl Strategy<Value = SshArgs> {
    (
        prop::option::of(path()),
        prop::collection::vec(word(), 0..3),
        prop::option::of(word()),
        prop::option::of(1..=u16::MAX),
        prop::option::of(word()),
        prop::collection::vec(path(), 0..3),
    )
        .prop_map(|(ssh_config, ssh_option, jump, port, login, identity)| SshArgs {
            ssh_config,
            ssh_option,
            jump,
            port,
            login,
            identity,
        })
}

fn reach() -> impl Strategy<Value = ReachArgs> {
    let methods = prop::sample::select(vec![BecomeMethod::Sudo, BecomeMethod::Su, BecomeMethod::Doas]);
    let becoming = (prop::option::of("[a-z\\\\@=]{1,4}"), methods, any::<bool>(), any::<bool>());
    (prop::option::of("\\PC{0,6}"), 1..10_000_u32, 1..100_000_u64, ssh(), becoming).prop_map(
        |(via, fanout, millis, ssh, (become_user, become_method, ask_become_pass, ask_pass))| ReachArgs {
            hosts: vec!["web[1-3]".into()],
            via,
            fanout,
            connect_timeout: Duration::from_millis(millis),
            become_user,
            become_method,
            ask_become_pass,
            ask_pass,
            cache: false,
            binary: None,
            ssh,
        },
    )
}

fn runs() -> impl Strategy<Value = RunArgs> {
    // Only those that are set here can be set again.
    let variable = Just("PATH")
        .prop_map(|name| Variable { name: name.to_owned(), value: std::env::var_os(name).unwrap_or_default() });
    let what = prop_oneof![
        word().prop_map(|line| (Some(line), Vec::new())),
        prop::collection::vec(word(), 1..4).prop_map(|argv| (None, argv)),
    ];
    let output = (0..4_u8, any::<bool>()).prop_map(|(format, remote_code)| OutputArgs {
        json: format == 1,
        jsonl: format == 2,
        raw: format == 3,
        remote_code,
    });
    (
        reach(),
        output,
        what,
        prop::option::of((1..1_000_000_u64).prop_map(Duration::from_millis)),
        prop::option::of(path()),
        prop::collection::vec(variable, 0..3),
    )
        .prop_map(|(reach, output, (shell, argv), timeout, chdir, env)| RunArgs {
            reach,
            output,
            shell,
            timeout,
            chdir,
            env,
            argv,
        })
}

proptest! {
    #[test]
    fn the_rerun_means_the_same(
        args in runs(),
        verbose in 0..3_u8,
        debug: bool,
        color in prop::sample::select(vec![Color::Auto, Color::Always, Color::Never]),
    ) {
        let first = Cli { verbose, debug, color, command: Command::Run(Box::new(args)) };
        let argv = first.argv(OsStr::new("offshoot"), "web[1-3]");
        let again = Cli::try_parse_from(&argv);
        prop_assert_eq!(again.map_err(|e| e.to_string()), Ok(first), "{:?}", argv);
    }
}

#[test]
fn a_call_can_be_run_again() {
    let line = ["offshoot", "call", "-w", "a", "-t", "5s", "--json", "--", "f", "[1, \"x y\"]"];
    let again = cli(&line).rerun(OsStr::new("offshoot"), "b");
    assert_eq!(again, r#"offshoot call -w b --json -t 5s -- f '[1, "x y"]'"#);
    assert_eq!(cli(&["offshoot", "call", "-w", "a", "f"]).rerun(OsStr::new("o"), "a"), "o call -w a -- f");
}
