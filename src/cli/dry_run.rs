//! `--dry-run`: what would be run where, without a connection.

use std::ffi::OsString;

use crate::cli::complaint::complain;
use crate::cli::exit::Exit;
use crate::cli::hosts::fold::fold;
use crate::cli::hosts::path::HostPath;
use crate::cli::output::visible;
use crate::cli::quote;
use crate::cli::substitution::{self, Values};
use crate::cli::worker::{Job, Work};

/// Checks what differs from host to host before anything is run.
///
/// # Errors
///
/// If a `%` of the command stands for nothing, or a shell would not read a host as a word, or a path names a host.
pub(super) fn check(job: &Job, hosts: &[HostPath]) -> Result<(), String> {
    let command = match &job.work {
        Work::Command(command) if job.substitutes => command,
        Work::Transfer(transfer) => return transfer.check_hosts(hosts),
        _ => return Ok(()),
    };
    for (number, host) in hosts.iter().enumerate() {
        for word in &command.argv {
            substitution::apply(word, Values { host: &host.text, number })?;
        }
        if job.is_shell && !substitution::is_plain(&host.text) {
            return Err(format!(
                "a shell would not read the host {} as one word; with --subst, write the command without -s",
                visible::word(&host.text)
            ));
        }
    }
    Ok(())
}

/// Prints the batches, their hosts, and the command of each host.
pub(super) fn print(job: &Job, hosts: &[HostPath]) -> Exit {
    let exit = crate::cli::print(text(job, hosts).as_bytes());
    complain("nothing was run");
    exit
}

fn text(job: &Job, hosts: &[HostPath]) -> String {
    let ends = job.running.batch.as_ref().map_or_else(|| vec![hosts.len()], |batches| batches.ends(hosts.len()));
    let (mut text, mut begin) = (String::new(), 0);
    for (nth, end) in ends.iter().enumerate() {
        if ends.len() > 1 {
            text.push_str(&format!("# batch {} of {}: {}\n", nth + 1, ends.len(), count(end - begin)));
        }
        let commands: Vec<String> = (begin..*end).map(|number| command(job, &hosts[number], number)).collect();
        let mut at = 0;
        // Hosts in a row with the same command are on one line.
        for same in commands.chunk_by(|a, b| a == b) {
            let names: Vec<&str> = hosts[begin + at..begin + at + same.len()].iter().map(|host| &*host.text).collect();
            text.push_str(&format!("{}: {}\n", fold(&names), same[0]));
            at += same.len();
        }
        begin = *end;
    }
    text
}

fn count(hosts: usize) -> String {
    if hosts == 1 { "1 host".into() } else { format!("{hosts} hosts") }
}

/// The command for a host as a line for a shell. Values of variables may be secret, so only their names are shown.
fn command(job: &Job, host: &HostPath, number: usize) -> String {
    match &job.work {
        Work::Command(command) => {
            let values = Values { host: &host.text, number };
            let word = |word: &OsString| match job.substitutes {
                true => substitution::apply(word, values).unwrap_or_default(),
                false => word.clone(),
            };
            let mut line = String::new();
            if let Some(directory) = &command.cwd {
                line.push_str(&format!("cd {} && ", quote::quote(directory.as_os_str())));
            }
            for name in command.env.keys() {
                line.push_str(&format!("{}=... ", name.display()));
            }
            line + &quote::line(job.shown.as_ref().unwrap_or(&command.argv).iter().map(word))
        }
        Work::Call(function, _) => function.name().to_owned(),
        // It compares with what the hosts have, and so connects.
        Work::Transfer(_) => "a copy".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, ToolCommand};
    use crate::cli::hosts::expression;
    use crate::cli::hosts::sources::Reading;
    use crate::cli::inventory::Inventories;
    use crate::cli::run;

    /// The job of a command line, and its hosts.
    fn job(words: &[&str]) -> (Job, Vec<HostPath>) {
        let cli = Cli::try_parse_from([&["offshoot", "run"], words].concat()).unwrap_or_else(|error| panic!("{error}"));
        let ToolCommand::Run(args) = &cli.command else { panic!() };
        let mut sources = Reading::new(Inventories::new(&[]));
        let hosts = expression::expand(args.reach.choosing.choice(&args.reach.hosts), &mut sources).unwrap().hosts;
        (run::job(args), hosts)
    }

    fn printed(words: &[&str]) -> String {
        let (job, hosts) = job(words);
        check(&job, &hosts).unwrap();
        text(&job, &hosts)
    }

    #[test]
    fn hosts_with_the_same_command_are_on_one_line() {
        assert_eq!(printed(&["-w", "web[1-3],db1", "--", "echo", "a b"]), "db1,web[1-3]: echo 'a b'\n");
        assert_eq!(
            printed(&["--batch", "1,rest", "-w", "web[1-3]", "-C", "/srv", "-e", "A=secret", "-s", "id; ls"]),
            "# batch 1 of 2: 1 host\nweb1: cd /srv && A=... /bin/sh -c 'id; ls'\n\
             # batch 2 of 2: 2 hosts\nweb[2-3]: cd /srv && A=... /bin/sh -c 'id; ls'\n"
        );
    }

    #[test]
    fn a_command_has_the_host_in_it_if_that_is_asked_for() {
        assert_eq!(
            printed(&["--subst", "-w", "b/web[1-2]", "--", "echo", "%h-%n", "100%%"]),
            "b/web1: echo b/web1-0 100%\nb/web2: echo b/web2-1 100%\n"
        );
        assert_eq!(printed(&["-w", "web1", "--", "date", "+%h"]), "web1: date +%h\n");
    }

    #[test]
    fn what_cannot_be_put_into_a_command_is_refused_before_the_run() {
        let refused = |words: &[&str]| {
            let (job, hosts) = job(words);
            check(&job, &hosts).unwrap_err()
        };
        assert!(refused(&["--subst", "-w", "a", "--", "date", "+%H"]).contains("%% for a %"));
        assert!(refused(&["--subst", "-w", "docker:{r/a b}", "-s", "echo %h"]).contains("without -s"));
    }
}
