//! Options that no other trial is about, each by what it does.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::showing::on_terminal;
use super::text::{launcher, offshoot};
use crate::support::AT_ONCE;
use crate::support::tool::{Ended, Running, run, tool};

fn told(ended: &Ended, text: &str) -> bool {
    ended.stderr.iter().any(|line| line.contains(text))
}

pub(crate) fn the_path_of_via_is_on_the_way() -> Result<()> {
    // The parent of a command is its context, and the parent of that the context before.
    let line = "read -r _ _ _ before _ </proc/$PPID/stat; tr '\\0' ' ' </proc/$before/cmdline";
    let ended = offshoot(&["run", "--via", "local8/local9", "-w", "local1", "-s", line])?;
    ensure!(ended.code == Some(0) && ended.stdout.concat().starts_with("local1: offshoot:"), "{ended:?}");
    let ended = offshoot(&["tree", "--via", "local9", "-w", "local1"])?;
    let [_, before, last] = &ended.stdout[..] else { anyhow::bail!("{ended:?}") };
    ensure!(before.starts_with("`- local:local9: ") && last.starts_with("   `- local:local1: "), "{ended:?}");
    for (args, says) in [
        (&["run", "--via", "a//b", "-w", "local1", "--", "true"][..], "a//b"),
        (&["run", "--via", "web[1-2]", "-w", "local1", "--", "true"], "web[1-2]"),
        (&["run", "-w", "a//b", "--", "true"], "a//b"),
        (&["run", "-w", "local1", "-x", "a[", "--", "true"], "a["),
        (&["run", "-w", "@web", "-I", "/no/such/file", "--", "true"], "/no/such/file"),
    ] {
        let ended = offshoot(args)?;
        ensure!(matches!(ended.code, Some(64 | 66)) && told(&ended, says), "{args:?}: {ended:?}");
    }
    Ok(())
}

pub(crate) fn colour_is_used_as_the_option_and_the_environment_say() -> Result<()> {
    let escape = |ended: &Ended| ended.stdout.concat().contains("\u{1b}[36mlocal1:");
    let args = ["run", "--fold", "never", "-w", "local1", "--", "echo", "hi"];
    ensure!(!escape(&offshoot(&args)?), "a pipe has none");
    let always = [&["--color", "always"], &args[..]].concat();
    ensure!(escape(&offshoot(&always)?), "unless it is asked for");
    let place = tempfile::tempdir()?;
    ensure!(escape(&run(&mut on_terminal(&args, place.path())?)?), "a terminal has it");
    ensure!(!escape(&run(on_terminal(&args, place.path())?.env("NO_COLOR", "1"))?), "unless the variable says so");
    ensure!(escape(&run(on_terminal(&args, place.path())?.env("NO_COLOR", ""))?), "an empty one says nothing");
    ensure!(escape(&run(on_terminal(&always, place.path())?.env("NO_COLOR", "1"))?), "the option comes first");
    let never = [&["--color", "never"], &args[..]].concat();
    ensure!(!escape(&run(&mut on_terminal(&never, place.path())?)?), "and it can take it away");
    Ok(())
}

pub(crate) fn without_a_home_everything_works() -> Result<()> {
    let place = tempfile::tempdir()?;
    let copy = place.path().join("copy").display().to_string();
    for args in [
        &["run", "-w", "local1,local1/local2", "--", "true"][..],
        &["run", "--cache", "-w", "local1", "--", "true"],
        &["push", "-w", "local1", "Cargo.toml", &copy],
        &["script", "-w", "local1", "-"],
        &["doctor", "local1"],
        &["tree", "-w", "local1"],
        &["cache", "ls", "-w", "local1"],
        &["hosts", "web[1-3]"],
        &["kept"],
    ] {
        let (mut command, mut trace) = tool(args);
        for name in ["HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR"] {
            command.env_remove(name);
        }
        let ended = run(&mut command)?;
        ensure!(ended.code == Some(0), "{args:?}: {ended:?}");
        trace.expect_nothing_left(AT_ONCE)?;
    }
    ensure!(Path::new(&copy).exists());
    Ok(())
}

pub(crate) fn the_order_and_the_end_of_a_copy_are_those_of_a_run() -> Result<()> {
    let place = tempfile::tempdir()?;
    let at = |name: &str| place.path().join(name).display().to_string();
    std::fs::write(at("file"), vec![b'x'; 400_000])?;
    let (file, bad) = (at("file"), at("missing/directory/file"));
    std::fs::write(at("missing"), "")?;
    let ended = offshoot(&["push", "--batch", "1", "--max-fail", "0", "-w", "local[1-3]", &file, &bad])?;
    ensure!(ended.code == Some(2 + 8) && told(&ended, "  skipped: local[2-3]"), "{ended:?}");
    let ended = offshoot(&["pull", "--batch", "1", "--max-fail", "0", "-w", "local[1-3]", &bad, &at("out")])?;
    ensure!(ended.code == Some(2 + 8) && told(&ended, "  skipped: local[2-3]"), "{ended:?}");
    for (verb, to) in [("push", at("slow")), ("pull", at("slow-out"))] {
        let ended = offshoot(&[verb, "--bwlimit", "20K", "--deadline", "1s", "-w", "local1", &file, &to])?;
        ensure!(ended.code == Some(8) && told(&ended, "the deadline of 1s has passed"), "{ended:?}");
    }
    // An ssh that is lost on its way the first time: the copy then goes on.
    let script = "case \"$*\" in *' -G '*) exit 0 ;; esac\nfor command; do :; done\n\
                  echo called >>\"${0%/*}/calls\"\n[ $(wc -l <\"${0%/*}/calls\") -gt 1 ] && exec sh -c \"$command\"\n\
                  sh -c \"$command\" & child=$!\ntrap 'kill -9 $child' EXIT\nfor n in 1 2 3 4 5 6 7 8 9 10; do\n\
                  sleep .2; ls \"$MARKED\"/.* \"$MARKED\"/* 2>/dev/null | grep -q offshoot && break\ndone\nexit 255";
    let (directory, path) = launcher("ssh", script)?;
    for (verb, retries, code) in [("push", "0", Some(4)), ("push", "1", Some(0))] {
        let to = place.path().join("there");
        let _ = std::fs::remove_dir_all(&to);
        let _ = std::fs::remove_file(directory.path().join("calls"));
        std::fs::create_dir(&to)?;
        let whole = to.join("file").display().to_string();
        let args = [verb, "-F", "none", "--bwlimit", "200K", "--retries", retries, "-w", "web1", &file, &whole];
        let (mut command, mut trace) = tool(&args);
        let ended = run(command.env("PATH", &path).env("MARKED", &to).stdin(std::process::Stdio::null()))?;
        ensure!(ended.code == code, "{args:?}: {ended:?}");
        ensure!((code == Some(0)) == (std::fs::metadata(&whole).is_ok_and(|file| file.len() == 400_000)), "{ended:?}");
        ensure!((code == Some(0)) == told(&ended, "attempt 1: "), "{ended:?}");
        trace.expect_nothing_left(crate::support::A_WHILE)?;
    }
    Ok(())
}

pub(crate) fn a_copy_to_many_hosts_is_asked_about_as_the_setting_says() -> Result<()> {
    let place = tempfile::tempdir()?;
    std::fs::write(place.path().join("file"), "x")?;
    let (file, to) = (place.path().join("file"), place.path().join("to"));
    let (file, to) = (file.to_str().context("a path")?, to.to_str().context("a path")?);
    let config = place.path().join("config.toml");
    std::fs::write(&config, "ask-above = 1\n")?;
    let config = config.to_str().context("a path")?;
    let args = ["--config", config, "push", "-f", "1", "-w", "local[1-2]", file, to];
    let mut running = Running::start(&mut on_terminal(&args, place.path())?)?;
    while !running.has_ended() {
        // What is typed before the question may be thrown away.
        if let Some(stdin) = running.stdin() {
            let _ = stdin.write_all(b"n\n");
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let ended = running.finish()?;
    ensure!(ended.code == Some(8) && ended.stdout.concat().contains("run on 2 hosts, local[1-2]? [y/N]"), "{ended:?}");
    ensure!(!Path::new(to).exists());
    for more in [&["-y"][..], &["--ask-above", "never"], &["--ask-above", "2"]] {
        let ended = run(&mut on_terminal(&[&args[..3], more, &args[3..]].concat(), place.path())?)?;
        ensure!(ended.code == Some(0) && !ended.stdout.concat().contains("[y/N]"), "{more:?}: {ended:?}");
    }
    Ok(())
}

pub(crate) fn slow_hosts_are_named_in_the_summary() -> Result<()> {
    let args = ["run", "--subst", "-w", "local[1-4]", "--", "sh", "-c", "[ %n = 2 ] && sleep 2; exit 0"];
    let ended = offshoot(&args)?;
    let slow = ended.stderr.iter().find(|line| line.starts_with("  slowest: ")).context("a line")?;
    ensure!(ended.code == Some(0) && slow.starts_with("  slowest: local3 2.") && !slow.contains(','), "{ended:?}");
    let ended = offshoot(&["run", "-w", "local[1-4]", "--", "true"])?;
    ensure!(!told(&ended, "slowest"), "{ended:?}");
    Ok(())
}

pub(crate) fn the_other_commands_take_the_options_of_the_way() -> Result<()> {
    let (_directory, path) = launcher(
        "ssh",
        "for command; do :; done\ncase \"$*\" in *' -G '*) exit 0 ;; esac\n\
        echo \"$*\" >>\"${0%/*}/words\"\nexec sleep 60",
    )?;
    let words = Path::new(path.split(':').next().context("a directory")?).join("words");
    for args in [
        &["doctor", "--connect-timeout", "300ms", "-F", "none", "-l", "amy", "-p", "7", "-i", "/k", "web1"][..],
        &["rsh", "--connect-timeout", "300ms", "-F", "none", "-l", "amy", "-p", "7", "-i", "/k", "web1", "true"],
        &[
            "forward",
            "--connect-timeout",
            "300ms",
            "-F",
            "none",
            "-l",
            "amy",
            "-p",
            "7",
            "-i",
            "/k",
            "web1",
            "-L",
            "0:a:1",
        ],
        &["tree", "--connect-timeout", "300ms", "-F", "none", "-l", "amy", "-p", "7", "-i", "/k", "-w", "web1"],
    ] {
        let (mut command, mut trace) = tool(args);
        let ended = run(command.env("PATH", &path))?;
        ensure!(matches!(ended.code, Some(4 | 255)), "{args:?}: {ended:?}");
        let called = std::fs::read_to_string(&words)?;
        for word in ["-F none", "-l amy", "-p 7", "-i /k"] {
            ensure!(called.contains(word), "{args:?} passes on {word}: {called}");
        }
        std::fs::remove_file(&words)?;
        trace.expect_nothing_left(crate::support::A_WHILE)?;
    }
    for args in [
        &["doctor", "--binary", "/no/such/copy", "local1"][..],
        &["shell", "--binary", "/no/such/copy", "--via", "local1", "local2", "--", "true"],
        &["forward", "--binary", "/no/such/copy", "--via", "local1", "local2", "-L", "0:a:1"],
        &["rsh", "--binary", "/no/such/copy", "--via", "local1", "local2", "true"],
    ] {
        let ended = run(&mut on_terminal(args, words.parent().context("a directory")?)?)?;
        let all = ended.stdout.concat();
        ensure!(matches!(ended.code, Some(4 | 255)) && all.contains("/no/such/copy"), "{args:?}: {ended:?}");
    }
    Ok(())
}

/// Programs that print what kubectl and others print, if they are asked as the guide says.
const PROGRAMS: [(&str, &str); 5] = [
    (
        "sinfo",
        "case \"$*\" in '-h -o %N -p debug') echo 'n[1-2]';; '-h -o %N') echo 'n[1-3]';; '-h -o %R') echo debug;; esac",
    ),
    (
        "kubectl",
        "case \"$*\" in 'get pods -l app=web -o name') printf 'pod/web-a\\npod/web-b\\n';; 'get pods -o name') echo pod/db;; esac",
    ),
    (
        "docker",
        "case \"$*\" in 'ps --filter label=com.example.role=web --format docker:{{.Names}}') echo docker:web;; \
         'ps --format docker:{{.Names}}') printf 'docker:web\\ndocker:db\\n';; esac",
    ),
    (
        "consul",
        "case \"$*\" in 'catalog nodes -service=web') printf 'Node  ID  Address  DC\\nw1  1a  10.0.0.1  dc1\\n';; \
         'catalog nodes') printf 'Node  ID  Address  DC\\nw1  1a  10.0.0.1  dc1\\nd1  2b  10.0.0.2  dc1\\n';; \
         'catalog services') printf 'consul\\nweb\\n';; esac",
    ),
    (
        "aws",
        "case \"$*\" in *'Name=tag:role,Values=web Name=instance-state-name,Values=running --query'*text) \
         printf 'ip-1.internal\\tip-2.internal\\n';; 'ec2 describe-tags'*) printf 'web\\tdb\\n';; \
         'ec2 describe-instances --filters Name=instance'*) echo ip-9.internal;; esac",
    ),
];

pub(crate) fn the_group_sources_of_the_guide_ask_as_their_programs_want_it() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let page = include_str!("../../docs/guide/hosts.md");
    let begin = page.find("[slurm]\n").context("the block")?;
    let block = page[begin..].split("```").next().context("its end")?;
    let place = tempfile::tempdir()?;
    std::fs::create_dir_all(place.path().join("offshoot"))?;
    std::fs::write(place.path().join("offshoot/groups.conf"), block)?;
    for (name, script) in PROGRAMS {
        let program = place.path().join(name);
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n"))?;
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755))?;
    }
    for (group, hosts) in [
        ("@slurm:debug", &["n1", "n2"][..]),
        ("@slurm:*", &["n1", "n2", "n3"]),
        ("@pods:app=web", &["kubectl:web-a", "kubectl:web-b"]),
        ("@pods:*", &["kubectl:db"]),
        ("@docker:com.example.role=web", &["docker:web"]),
        ("@docker:*", &["docker:web", "docker:db"]),
        ("@consul:web", &["w1"]),
        ("@consul:*", &["w1", "d1"]),
        ("@ec2:web", &["ip-1.internal", "ip-2.internal"]),
        ("@ec2:*", &["ip-9.internal"]),
    ] {
        let (mut command, _trace) = tool(&["hosts", group]);
        command.env("PATH", format!("{}:{}", place.path().display(), std::env::var("PATH")?));
        let ended = run(command.env("XDG_CONFIG_HOME", place.path()).current_dir(place.path()))?;
        ensure!(ended.code == Some(0) && ended.stdout == hosts, "{group}: {ended:?}");
    }
    Ok(())
}
