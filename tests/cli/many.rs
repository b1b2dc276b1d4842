//! How the output of many hosts is shown and kept, and what is said before a run.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::json::most_memory;
use super::showing::on_terminal;
use super::text::{launcher, offshoot};
use crate::support::tool::{Running, run, tool};
use crate::support::{AT_ONCE, long_time};

/// Prints `odd` on local3 and `same` on other hosts.
const ODD: &str = "echo first; case %h in local3) echo odd;; *) echo same;; esac; echo last";

pub(crate) fn lines_that_hosts_print_at_the_same_time_are_shown_once() -> Result<()> {
    // On a busy machine hosts differ by more than lines wait for each other.
    for _ in 0..20 {
        let directory = tempfile::tempdir()?;
        let place = directory.path().display();
        let line = format!(
            "touch {place}/%n; while [ $(ls {place} | wc -l) -lt 4 ]; do sleep 0.01; done; \
             case %h in local3) echo odd; exit 3;; *) echo same;; esac"
        );
        let args = ["run", "--fold", "always", "--subst", "-w", "local[1-4]", "-s", &line];
        let ended = offshoot(&args)?;
        ensure!(ended.code == Some(2) && ended.stdout.contains(&"local3: odd".to_owned()), "{ended:?}");
        ensure!(ended.stderr.iter().any(|line| line == "local3: exited with return code 3"), "{ended:?}");
        if ended.stdout.contains(&"local[1-2,4]: same".to_owned()) {
            assert_eq!(ended.stdout.len(), 2, "{ended:?}");
            let never = offshoot(&[&["run", "--fold", "never"], &args[3..]].concat())?;
            assert_eq!(never.stdout.len(), 4, "{never:?}");
            return Ok(());
        }
    }
    anyhow::bail!("no lines were joined in twenty runs")
}

pub(crate) fn a_terminal_shows_equal_lines_once_while_the_run_goes_on() -> Result<()> {
    // On a busy machine hosts differ by more than lines wait for each other.
    for _ in 0..10 {
        let directory = tempfile::tempdir()?;
        let place = directory.path().join("hosts");
        std::fs::create_dir(&place)?;
        let (go, place) = (directory.path().join("go"), place.display());
        let line = format!(
            "touch {place}/%n; while [ $(ls {place} | wc -l) -lt 3 ]; do sleep 0.01; done; echo same; \
             while [ ! -e {} ]; do sleep 0.1; done; echo end; echo hidden >&2",
            go.display()
        );
        let args = ["run", "--subst", "-w", "local[1-3]", "-s", &line];
        let running = Running::start(&mut on_terminal(&args, directory.path())?)?;
        let first = running.line()?;
        // The commands wait for this, so that the line was shown before their end.
        std::fs::write(&go, "")?;
        let ended = running.finish()?;
        ensure!(ended.code == Some(0) && first.contains("same"), "{first} {ended:?}");
        if !first.contains("local[1-3]:") {
            continue;
        }
        ensure!(ended.stdout.iter().any(|line| line.contains("3 hosts: 3 ok")), "{ended:?}");
        let piped = offshoot(&args)?;
        let mut lines = piped.stdout;
        lines.sort_unstable();
        let wanted = ["local1: end", "local1: same", "local2: end", "local2: same", "local3: end", "local3: same"];
        assert_eq!(lines, wanted, "a pipe has each line with its host");
        ensure!(piped.stderr.iter().all(|line| !line.contains('\x1b')), "{:?}", piped.stderr);
        return Ok(());
    }
    anyhow::bail!("no lines were joined in ten runs")
}

pub(crate) fn equal_output_is_gathered_and_the_odd_ones_are_told_by_their_difference() -> Result<()> {
    let args = ["-B", "--subst", "-w", "local[1-4]", "-s", ODD];
    let rule = "---------------";
    let same = [rule, "local[1-2,4] (3)", rule, "first", "same", "last"];
    let ended = offshoot(&[&["run"], &args[..]].concat())?;
    assert_eq!(ended.stdout, [&same[..], &[rule, "local3", rule, "first", "odd", "last"]].concat(), "{ended:?}");
    let odd = ["--- local[1-2,4] (3)", "+++ local3", "@@ -1,3 +1,3 @@", " first", "-same", "+odd", " last"];
    let ended = offshoot(&[&["run", "--diff"], &args[..]].concat())?;
    assert_eq!(ended.stdout, [&same[..], &odd].concat(), "{ended:?}");
    let ended = offshoot(&[&["run", "--diff"], &args[1..]].concat())?;
    ensure!(ended.stdout.len() == 12 + odd.len() && ended.stdout.ends_with(&odd.map(str::to_owned)), "{ended:?}");
    // A function, and a host that cannot be reached.
    let ended = offshoot(&["call", "-B", "-F", "none", "-w", "local[1-2],127.0.0.1:1", "host_facts"])?;
    ensure!(ended.code == Some(4) && ended.stdout.len() >= 4 && ended.stdout[3].starts_with("{\""), "{ended:?}");
    Ok(())
}

pub(crate) fn much_output_is_gathered_in_little_more_memory_than_it_has_bytes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let line = "echo %n; yes abcdef | head -c 20000000; echo %n";
    let args = ["run", "-B", "--diff", "--subst", "-w", "local[1-3]", "-s", line];
    let most = most_memory(&args, directory.path())?;
    ensure!(most < 130_000, "{most} KiB for 60 MB of output that differs");
    let out = std::fs::read(directory.path().join("out"))?;
    ensure!(out.len() > 20_000_000 && out.len() < 20_002_000, "{} bytes", out.len());
    let end = String::from_utf8_lossy(&out[out.len() - 400..]).into_owned();
    let says = "@@ -1 +1 @@\n-0\n+2\n[too long to be compared by lines: beginning with line 1, ";
    ensure!(end.contains("+++ local3\n") && end.contains(says), "{end}");
    Ok(())
}

fn read(path: &Path, name: &str) -> Result<String> {
    std::fs::read_to_string(path.join(name)).with_context(|| name.to_owned())
}

pub(crate) fn the_output_of_each_host_is_written_to_files() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let logs = directory.path().join("logs");
    let outdir = logs.to_str().context("a path of text")?;
    let args = ["run", "--outdir", outdir, "-w", "local1,local2/local3", "-s", "printf 'a\\0b'; echo err >&2; exit 3"];
    let ended = offshoot(&args)?;
    ensure!(ended.code == Some(2) && ended.stdout.len() == 2, "the terminal has it, too: {ended:?}");
    for host in ["local1", "local2+local3"] {
        assert_eq!(
            (read(&logs, &format!("{host}.out"))?, read(&logs, &format!("{host}.err"))?),
            ("a\0b".into(), "err\n".into())
        );
    }
    ensure!(ended.stderr.iter().any(|line| line.contains("rerun: ") && line.contains(" --overwrite ")), "{ended:?}");
    let ended = offshoot(&args)?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("local1.out exists already"), "{ended:?}");
    let ended = offshoot(&["run", "--overwrite", "--outdir", outdir, "-w", "local1", "--", "echo", "new"])?;
    assert_eq!((ended.code, read(&logs, "local1.out")?), (Some(0), "new\n".into()));
    let ended = offshoot(&["run", "--outdir", "/dev/full", "-w", "local1", "--", "true"])?;
    let says = "--outdir: /dev/full is no directory";
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains(says), "{ended:?}");
    Ok(())
}

pub(crate) fn files_are_complete_if_the_run_is_stopped() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let outdir = directory.path().join("%n/%h");
    let time = long_time();
    let line = format!("seq 1000; sleep {time}; true");
    let outdir = outdir.to_str().context("a path of text")?;
    let args = ["run", "--deadline", "2s", "-f", "1", "--outdir", outdir, "-w", "local[1-2]", "-s", &line];
    let (mut command, trace) = tool(&args);
    let mut trace = trace.with_needle(&time);
    let ended = run(&mut command)?;
    trace.expect_nothing_left(AT_ONCE)?;
    assert_eq!(ended.code, Some(8), "{ended:?}");
    assert_eq!(read(directory.path(), "0/local1.out")?.lines().count(), 1000);
    ensure!(!directory.path().join("1").exists(), "the second host was not started");
    Ok(())
}

pub(crate) fn lines_can_have_their_time() -> Result<()> {
    let ended = offshoot(&["run", "--timestamps", "-w", "local1", "-s", "echo hi; exit 3"])?;
    let failed = ended.stderr.iter().find(|line| line.contains("exited with")).context("a failure")?;
    for (line, end) in [(&ended.stdout[0], " local1: hi"), (failed, " local1: exited with return code 3")] {
        let time = line.strip_suffix(end).with_context(|| line.clone())?;
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00 00:00:00.000");
    }
    Ok(())
}

pub(crate) fn a_command_has_its_host_in_it_if_that_is_asked_for() -> Result<()> {
    let ended = offshoot(&["run", "--subst", "-w", "local1/local2,local3", "--", "echo", "%h", "%n", "%%h"])?;
    let mut lines = ended.stdout;
    lines.sort_unstable();
    assert_eq!(lines, ["local1/local2: local1/local2 0 %h", "local3: local3 1 %h"]);
    assert_eq!(offshoot(&["run", "-w", "local1", "--", "echo", "%h"])?.stdout, ["local1: %h"]);
    let ended = offshoot(&["run", "--subst", "-w", "local1", "--", "date", "+%H"])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("`%H` stands for nothing"), "{ended:?}");
    Ok(())
}

pub(crate) fn many_hosts_are_asked_about_on_a_terminal_alone() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mark = directory.path().join("mark");
    let args = ["run", "-w", "local[1-51]", "--", "touch", mark.to_str().context("a path of text")?];
    let mut running = Running::start(&mut on_terminal(&args, directory.path())?)?;
    while !running.has_ended() {
        // What is typed before the question may be thrown away.
        if let Some(stdin) = running.stdin() {
            let _ = stdin.write_all(b"n\n");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let ended = running.finish()?;
    let told = ended.stdout.join("\n");
    ensure!(told.contains("run on 51 hosts, local[1-51]? [y/N]") && told.contains("nothing was run"), "{told}");
    ensure!(ended.code == Some(8) && !mark.exists(), "{ended:?}");
    let ended = run(&mut on_terminal(&[&["run", "-y"], &args[1..]].concat(), directory.path())?)?;
    ensure!(ended.code == Some(0) && mark.exists(), "{ended:?}");
    let ended = offshoot(&args)?;
    ensure!(ended.code == Some(0) && !ended.stderr.concat().contains('?'), "a pipe is not asked: {ended:?}");
    Ok(())
}

pub(crate) fn a_quiet_run_tells_failures_only() -> Result<()> {
    let ended = offshoot(&["run", "-q", "-w", "local1", "--", "echo", "hi"])?;
    ensure!(ended.stdout == ["local1: hi"] && ended.stderr.is_empty(), "{ended:?}");
    let ended = offshoot(&["run", "-q", "-w", "local1", "--", "false"])?;
    ensure!(ended.code == Some(2) && ended.stderr == ["local1: exited with return code 1"], "{ended:?}");
    Ok(())
}

pub(crate) fn a_dry_run_prints_what_would_be_run_and_connects_to_nothing() -> Result<()> {
    let (directory, path) = launcher("ssh", "touch \"${0%/*}/called\"; exit 255")?;
    let args =
        ["run", "--dry-run", "--batch", "1,rest", "-w", "web[1-3],local1", "-e", "A=secret", "--", "echo", "a b"];
    let ended = run(tool(&args).0.env("PATH", &path))?;
    assert_eq!(
        ended.stdout,
        [
            "# batch 1 of 2: 1 host",
            "web1: A=... echo 'a b'",
            "# batch 2 of 2: 3 hosts",
            "local1,web[2-3]: A=... echo 'a b'",
        ]
    );
    ensure!(
        ended.code == Some(0) && ended.stderr == ["nothing was run"] && !directory.path().join("called").exists(),
        "{ended:?}"
    );
    std::fs::write(directory.path().join("x.py"), "#!/usr/bin/env python3\n")?;
    let script = directory.path().join("x.py");
    let script = script.to_str().context("a path of text")?;
    let ended = offshoot(&["script", "--dry-run", "-w", "local1", script, "a b"])?;
    ensure!(ended.stdout == [format!("local1: /usr/bin/env python3 {script} 'a b'")], "{ended:?}");
    let ended = offshoot(&["call", "--dry-run", "-w", "local[1-2]", "host_facts"])?;
    ensure!(ended.stdout.len() == 1 && ended.stdout[0].ends_with("::host_facts"), "{ended:?}");
    Ok(())
}

pub(crate) fn a_plan_shows_each_hop_once_with_its_command() -> Result<()> {
    let (directory, path) = launcher("ssh", "touch \"${0%/*}/called\"; exit 255")?;
    let args = ["plan", "-F", "none", "-p", "2222", "-bK", "-w", "bastion/web[1-2],local1"];
    let ended = run(tool(&args).0.env("PATH", &path))?;
    ensure!(ended.code == Some(0) && !directory.path().join("called").exists(), "{ended:?}");
    let begins: Vec<&str> =
        ended.stdout.iter().filter_map(|line| line.split_once(": ").map(|(name, _)| name)).collect();
    let names =
        ["ssh.bastion", "  ssh.web1", "    sudo.root", "  ssh.web2", "    sudo.root", "local.local1", "  sudo.root"];
    assert_eq!(begins, names, "{ended:?}");
    ensure!(ended.stdout[0].contains(" -F none -p 2222 ") && ended.stdout[0].ends_with(" bastion ..."), "{ended:?}");
    ensure!(ended.stdout[2].contains(": sudo ") && ended.stdout[5].contains("a copy of this program"), "{ended:?}");
    let ended = offshoot(&["plan", "-w", "dockr:x"])?;
    ensure!(ended.code == Some(64), "{ended:?}");
    let ended = offshoot(&["plan", "--json", "-F", "none", "-w", "bastion/web[1-2]/sudo,local1"])?;
    let document: serde_json::Value = serde_json::from_str(&ended.stdout.concat())?;
    let (bastion, local) = (&document["plan"][0], &document["plan"][1]);
    assert_eq!(
        (&document["v"], &bastion["hop"], &bastion["command"][0]),
        (&1.into(), &"ssh.bastion".into(), &"ssh".into())
    );
    assert_eq!(
        (&bastion["behind"][1]["hop"], &bastion["behind"][1]["behind"][0]["method"]),
        (&"ssh.web2".into(), &"sudo".into())
    );
    ensure!(
        local["hop"] == "local.local1" && local["command"].is_null() && document["plan"][2].is_null(),
        "{document}"
    );
    Ok(())
}
