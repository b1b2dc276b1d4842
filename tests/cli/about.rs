//! What the tool tells about itself: help, manual pages, and completions in real shells.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::text::offshoot;
use crate::support::Missing;
use crate::support::tool::{Ended, run};

const CONFIG: &str =
    "[groups]\nweb = \"web[1-3]\"\nrack = \"r1\"\n[hosts]\ndb = \"bastion/db1\"\n[commands]\nup = \"uptime\"\n";

/// A home with a configuration, and the tool on the path.
fn home() -> Result<TempDir> {
    let home = tempfile::tempdir()?;
    for directory in ["offshoot", "bin"] {
        std::fs::create_dir(home.path().join(directory))?;
    }
    std::fs::write(home.path().join("offshoot/config.toml"), CONFIG)?;
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_offshoot"), home.path().join("bin/offshoot"))?;
    Ok(home)
}

/// Runs a script in a shell that has the tool on its path.
fn in_shell(shell: &str, home: &TempDir, script: &str) -> Result<Vec<String>> {
    let path = format!("{}:{}", home.path().join("bin").display(), std::env::var("PATH")?);
    let mut command = Command::new(shell);
    command.args(["-c", script]).env("PATH", path).env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path());
    command.env_remove("OFFSHOOT_INVENTORY").env_remove("ANSIBLE_INVENTORY").current_dir(home.path());
    if Command::new(shell).args(["-c", "exit 0"]).status().is_err() {
        return Err(Missing(format!("{shell} is not installed")).into());
    }
    let Ended { stdout, stderr, code, .. } = run(&mut command)?;
    ensure!(code == Some(0) && stderr.is_empty(), "{shell}: {code:?} {stdout:?} {stderr:?}");
    Ok(stdout)
}

/// Lines as they are typed, the word that bash has at the cursor, and what is offered.
const TYPED: [(&str, &str, &[&str]); 9] = [
    ("offshoot ru", "ru", &["run"]),
    ("offshoot u", "u", &["up"]),
    ("offshoot run --become-m", "--become-m", &["--become-method"]),
    ("offshoot run --become-method ", "", &["sudo", "su", "doas"]),
    ("offshoot run -w @", "@", &["@rack", "@web", "@failed"]),
    ("offshoot run -w @web,d", "@web,d", &["@web,db"]),
    ("offshoot help exi", "exi", &["exit-codes"]),
    ("offshoot call host_f", "host_f", &["host_facts"]),
    ("offshoot completions ", "", &["bash", "zsh", "fish"]),
];

pub(crate) fn bash_completes_options_hosts_and_groups() -> Result<()> {
    let home = home()?;
    for (line, word, offered) in TYPED {
        let words = line.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let script = format!(
            "source <(offshoot completions bash)\nCOMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             COMP_LINE='{line}' COMP_POINT=${{#COMP_LINE}}\n_offshoot 2>/dev/null\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
        );
        ensure!(line.ends_with(word), "{line}");
        let mut found = in_shell("bash", &home, &script)?;
        let mut offered: Vec<&str> = offered.to_vec();
        found.sort_unstable();
        offered.sort_unstable();
        ensure!(found == offered, "{line}: {found:?}");
    }
    // bash takes `@` and `:` for the ends of words, so only what follows them is put in.
    let script = "source <(offshoot completions bash)\nCOMP_WORDS=(offshoot hosts amy @ db) COMP_CWORD=4\n\
                  COMP_LINE='offshoot hosts amy@db' COMP_POINT=21\n_offshoot 2>/dev/null\necho \"${COMPREPLY[@]}\"\n\
                  complete -p offshoot\n";
    let found = in_shell("bash", &home, script)?;
    ensure!(found == ["db", "complete -o bashdefault -o default -F _offshoot offshoot"], "{found:?}");
    Ok(())
}

pub(crate) fn zsh_completes_options_hosts_and_groups() -> Result<()> {
    let home = home()?;
    for (line, _, offered) in TYPED {
        let words = line.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        // What the completion system of zsh has, which needs a terminal.
        let script = format!(
            "compdef() {{ }}\n_files() {{ }}\ncompadd() {{ print -l -- $values }}\n\
             source <(offshoot completions zsh)\nwords=({words}) CURRENT=$#words\n_offshoot\n"
        );
        let mut found = in_shell("zsh", &home, &script)?;
        let mut offered: Vec<&str> = offered.to_vec();
        found.sort_unstable();
        offered.sort_unstable();
        ensure!(found == offered, "{line}: {found:?}");
    }
    Ok(())
}

pub(crate) fn fish_completes_options_hosts_and_groups() -> Result<()> {
    let home = home()?;
    for (line, _, offered) in TYPED {
        let script = format!("offshoot completions fish | source\ncomplete -C '{line}'\n");
        let found = in_shell("fish", &home, &script)?;
        let mut found: Vec<&str> = found.iter().map(|line| line.split('\t').next().unwrap_or_default()).collect();
        let mut offered: Vec<&str> = offered.to_vec();
        found.sort_unstable();
        offered.sort_unstable();
        ensure!(found == offered, "{line}: {found:?}");
    }
    Ok(())
}

pub(crate) fn help_has_topics_and_commands() -> Result<()> {
    let whole = offshoot(&["help"])?;
    for topic in ["hosts", "paths", "inventories", "exit-codes", "become", "config"] {
        ensure!(whole.stdout.iter().any(|line| line.trim_start().starts_with(topic)), "{topic}: {whole:?}");
        let ended = offshoot(&["help", topic])?;
        ensure!(ended.code == Some(0) && ended.stdout.len() > 6 && ended.stderr.is_empty(), "{ended:?}");
    }
    ensure!(offshoot(&["help", "man"])?.stdout == offshoot(&["man", "--help"])?.stdout, "a command has its help");
    let ended = offshoot(&["help", "pahts"])?;
    ensure!(ended.stderr.concat().contains("did you mean paths?"), "{ended:?}");
    let ended = offshoot(&["help", "nothing-like-it"])?;
    ensure!(!ended.stderr.concat().contains("did you mean"), "{ended:?}");
    let ended = offshoot(&["help", "pahts"])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("the topics are hosts, paths"), "{ended:?}");
    Ok(())
}

pub(crate) fn manual_pages_are_printed_and_written() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let pages = directory.path().join("man1");
    let ended = offshoot(&["man", "--output", &pages.to_string_lossy()])?;
    ensure!(ended.code == Some(0), "{ended:?}");
    for name in ["offshoot", "offshoot-run", "offshoot-doctor", "offshoot-hosts"] {
        let path = pages.join(format!("{name}.1"));
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        ensure!(text.lines().any(|line| line.starts_with(".TH")), "{name}: {text}");
    }
    let page = std::fs::read_to_string(pages.join("offshoot-run.1"))?;
    ensure!(offshoot(&["man", "run"])?.stdout == page.lines().collect::<Vec<_>>(), "the page is printed, too");
    let ended = offshoot(&["man", "jump"])?;
    ensure!(ended.code == Some(64) && ended.stderr.concat().contains("there is no command jump"), "{ended:?}");
    let mut groff = Command::new("groff");
    groff.args(["-man", "-Tutf8", "-ww"]).arg(pages.join("offshoot-run.1"));
    let Ok(shown) = groff.output() else { return Err(Missing("groff is not installed".into()).into()) };
    let (text, faults) = (String::from_utf8(shown.stdout)?, String::from_utf8_lossy(&shown.stderr).into_owned());
    ensure!(shown.status.success() && text.contains("connect") && !faults.contains("error"), "{text} {faults}");
    Ok(())
}

pub(crate) fn every_command_has_a_section_in_the_reference() -> Result<()> {
    const PAGE: &str = include_str!("../../docs/reference/command-line.md");
    let whole = offshoot(&["help"])?;
    let commands =
        whole.stdout.iter().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    ensure!(names.len() > 20, "{names:?}");
    for name in names {
        for wanted in [format!("## offshoot {name}"), format!("$ offshoot {name} --help")] {
            ensure!(PAGE.lines().any(|line| line == wanted), "{wanted}");
        }
    }
    Ok(())
}
