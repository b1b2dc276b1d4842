use clap::CommandFactory;

use super::*;
use crate::cli::hosts::path::Method;

mod values;

fn cli(line: &[&str]) -> Cli {
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{error}"))
}

fn run(line: &[&str]) -> RunArgs {
    let line: Vec<&str> = ["offshoot", "run"].iter().chain(line).copied().collect();
    match cli(&line).command {
        ToolCommand::Run(args) => *args,
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
    let ToolCommand::Hosts(args) = cli(&["offshoot", "hosts", "-f", "-", "a!b"]).command else { panic!() };
    assert_eq!((args.expressions, args.fold), (vec!["-".to_owned(), "a!b".into()], true));
}

#[test]
fn another_user_is_root_unless_it_is_named() {
    let args = run(&["-w", "a", "-b", "id"]);
    assert_eq!((args.reach.becoming.become_user.as_deref(), args.argv.len()), (Some("root"), 1));
    assert_eq!(args.reach.becoming.become_method, Method::Sudo);
    let args = run(&["-bKw", "a", "id"]);
    assert!(
        args.reach.becoming.become_user.is_some()
            && args.reach.passwords.ask_become_pass
            && !args.reach.passwords.ask_pass
    );
    let args = run(&["-w", "a", "--become=bob", "--become-method", "doas", "--ask-pass", "id"]);
    assert_eq!(args.reach.becoming.become_user.as_deref(), Some("bob"));
    assert!(args.reach.becoming.become_method == Method::Doas && args.reach.passwords.ask_pass);
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
    let help = |name: Option<&str>| screen::whole(name).unwrap().render_help().to_string();
    let top = help(None);
    assert!(top.contains("Examples:") && top.contains("Exit codes:"));
    assert!((24..=45).contains(&top.lines().count()), "{top}");
    let run = help(Some("run"));
    assert!(run.contains("offshoot run -w web1,web2 -- uptime"), "{run}");
    assert!(help(Some("hosts")).contains("left to right"));
    // The examples are command lines, so they are parsed.
    for line in [EXAMPLES, RUN_EXAMPLES, HOSTS_HELP, forward::FORWARD_HELP].iter().flat_map(|text| text.lines()) {
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
fn a_variable_without_a_value_is_taken_from_the_environment() {
    let run = |variable: &str| Cli::try_parse_from(["offshoot", "run", "-w", "a", "-e", variable, "--", "true"]);
    let value = std::env::var("PATH").unwrap();
    assert_eq!(run("PATH").unwrap(), run(&format!("PATH={value}")).unwrap());
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
    let refused = words_refused(&["-w", "local1,", "local2", "--", "true"]).unwrap_err();
    assert!(refused.contains("-w local1,local2,"), "{refused}");
    for become_ in ["-b", "-Kb", "-bK", "--become"] {
        let refused = words_refused(&["-w", "a", become_, "root", "--", "id"]).unwrap_err();
        assert!(refused.contains("write -b=root"), "{refused}");
    }
    let refused = words_refused(&["-w", "a", "-b", "root", "whoami"]).unwrap_err();
    assert!(refused.contains("write -b=root"), "{refused}");
    for line in [
        &["-w", "a", "-b", "id", "-u"][..],
        &["-w", "a", "-b", "root"],
        &["-w", "a", "-b", "--", "root", "whoami"],
        &["-w", "a", "-b", "sh", "-c", "id"],
        &["-w", "a", "root", "whoami"],
        &["-w", "a", "--", "git", "checkout", "--", "x"],
        &["-w", "a", "true"],
        &["-w", "a", "-b", "--", "id"],
        &["-w", "a", "-b=root", "--", "id"],
        &["-w", "a", "-s", "true"],
    ] {
        assert_eq!(words_refused(line), Ok(()), "{line:?}");
    }
}

#[test]
fn a_user_right_behind_the_flag_is_refused() {
    let checked = |line: &[&str]| {
        let line: Vec<OsString> = ["offshoot", "run"].iter().chain(line).map(OsString::from).collect();
        checks::check_become(&line, Cli::try_parse_from(&line).ok().as_ref(), checks::Users::All)
    };
    for (word, user) in [("-bnobody", "nobody"), ("-broot", "root"), ("-Kbwww", "www"), ("-bpostgres", "postgres")] {
        let refused = checked(&["-w", "a", word, "--", "id"]).unwrap_err();
        assert!(refused.contains(&format!("write -b={user}")), "{refused}");
    }
    let line: Vec<OsString> = ["offshoot", "run", "-w", "a", "-bnobody", "sort", "-bk2"].map(OsString::from).into();
    let known = |line: &[OsString]| checks::check_become(line, None, checks::Users::Known);
    assert!(known(&line).unwrap_err().contains("write -b=nobody"));
    assert_eq!(known(&line[5..]), Ok(()), "it is of the command, and something else is wrong");
    for line in [
        &["-w", "a", "-b=nobody", "id"][..],
        &["-w", "a", "-Kb=nobody", "id"],
        &["-w", "a", "-bKS", "id"],
        &["-bKw", "a", "id"],
        &["-w", "a", "tar", "-bnobody"],
        &["-w", "a", "--", "tar", "-bnobody"],
    ] {
        assert_eq!(checked(line), Ok(()), "{line:?}");
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
    for mark in ["@", "<"] {
        let told = notes(&["-w", &format!("{mark}{list}"), "true"]);
        assert!(told.contains(&format!("{list} is a file; to name the hosts in it, write '^{list}'")), "{told}");
    }
    assert!(notes(&["-w", "web", "-i", "/nowhere", "true"]).contains("there is no file /nowhere here"));
    assert_eq!(notes(&["-w", &format!("^{list},web1,@web"), "-i", key, "-i", "~/nowhere", "-i", "%d/k", "true"]), "");
}

#[test]
fn a_user_that_a_comma_has_made_a_host_is_noted() {
    let notes = |hosts: &str| cli(&["offshoot", "run", "-w", hosts, "--", "true"]).suspicions().join("; ");
    assert!(notes("web1,sudo").ends_with("for that user of web1, write web1/sudo"));
    assert!(notes("web1,su:amy").ends_with("for that user of web1, write web1/su:amy"));
    assert_eq!(notes("sudo,web1,sudoku,web1/sudo"), "");
}

#[test]
fn a_line_of_shell_as_one_word_is_noted() {
    let notes = |word: &str| cli(&["offshoot", "run", "-w", "a", "--", word]).suspicions().join("; ");
    assert!(notes("echo hi; hostname").contains("write -s 'echo hi; hostname'"));
    assert_eq!(notes("/usr/bin/true"), "");
    let notes = |words: &[&str]| cli(&[&["offshoot", "run", "-w", "a", "--"], words].concat()).suspicions().join("; ");
    assert!(notes(&["ls", "/", "|", "wc"]).ends_with("write -s 'ls / | wc'"), "{}", notes(&["ls", "/", "|", "wc"]));
    assert!(notes(&["ls", "/etc/host*"]).contains("so '/etc/host*' is an argument"));
    assert!(notes(&["echo", "$HOME"]).contains("for a line of shell, write -s 'echo $HOME'"));
    assert_eq!(notes(&["awk", "{ print $1 }", "find", "*.log", "grep", "a|b", "$1"]), "");
}

#[test]
fn help_names_groups() {
    assert!(HOSTS_HELP.contains("@web") && HOSTS_HELP.contains("@all"));
}
