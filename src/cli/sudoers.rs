//! `offshoot sudoers`: prints a rule by which sudo runs this program, and nothing else, for some functions only.

use std::path::Path;

use crate::builtin::process;
use crate::cli::allowed::{self, Allowed};
use crate::cli::args::sudoers::SudoersArgs;
use crate::cli::complaint::{complain, fail};
use crate::cli::exit::Exit;
use crate::cli::file_digest::file_digest;
use crate::cli::output::visible::word as visible;
use crate::cli::quote;
use crate::connect::bootstrap::only;
use crate::sys::hex::hex;

/// The sets that give all that the user may do.
const EVERYTHING: [&str; 2] = ["commands", "files"];

/// What the rule says.
#[derive(Debug)]
struct Rule<'a> {
    /// Who may run it.
    who: &'a str,
    as_user: &'a str,
    /// In hex.
    digest: Option<String>,
    binary: &'a str,
    functions: Vec<String>,
}

/// Prints the rule.
pub(crate) fn sudoers(args: &SudoersArgs) -> Exit {
    match rule(args) {
        Ok(text) => crate::cli::print(text.as_bytes()),
        Err(why) => fail(Exit::Usage, &why),
    }
}

fn rule(args: &SudoersArgs) -> Result<String, String> {
    let own;
    let who = match &args.user {
        Some(user) => user,
        None => {
            own = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
            &own.as_ref().ok_or("this user has no name; name one with --user")?.name
        }
    };
    check_path(&args.binary)?;
    for (option, name) in [("--user", who.strip_prefix('%').unwrap_or(who)), ("--as", &args.as_user)] {
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "._-+@".contains(c)) {
            return Err(format!("{option}: {} has characters that a rule of sudo cannot have", visible(name)));
        }
    }
    let digest = match args.no_digest {
        true => None,
        false => Some(digest(args.program.as_deref())?),
    };
    let functions = functions(args)?;
    let allow: Vec<String> = args.allow.iter().map(|what| quote::quote(what.as_ref())).collect();
    let rule = Rule { who, as_user: &args.as_user, digest, binary: &args.binary, functions };
    // The tool cannot call functions that it does not have.
    if args.allow.iter().any(|what| allowed::parse(what).is_err()) {
        let allow: String = rule.functions.iter().map(|name| format!(".allow({name})")).collect();
        return Ok(rule.text() + &format!("# Then, in the program: router.sudo().binary({:?}){allow}\n", rule.binary));
    }
    let runs = process::COMMANDS.0().iter().all(|name| rule.functions.iter().any(|function| function == name));
    Ok(rule.text()
        + &format!(
            "# Then: offshoot {} -w HOSTS --become={} --binary {} --allow {} ...\n",
            if runs { "run" } else { "call" },
            rule.as_user,
            rule.binary,
            allow.join(",")
        ))
}

/// The functions, as the far side names them. Those of another program are not known here.
fn functions(args: &SudoersArgs) -> Result<Vec<String>, String> {
    let parsed: Result<Vec<Allowed>, String> = args.allow.iter().map(|what| allowed::parse(what)).collect();
    let names = match parsed {
        Ok(parsed) => {
            for set in parsed.iter().filter_map(|what| what.set).filter(|set| EVERYTHING.contains(set)) {
                complain(&format!(
                    "note: with {set}, this rule gives {} all that {} can do; a function of your own gives less",
                    visible(args.user.as_deref().unwrap_or("the user")),
                    visible(&args.as_user)
                ));
            }
            allowed::all(&parsed).unwrap_or_default().into_iter().map(str::to_owned).collect()
        }
        Err(_) if args.program.is_some() => args.allow.clone(),
        Err(why) => return Err(format!("--allow: {why}; the functions of another program need --program FILE")),
    };
    let is_plain = |name: &str| name.chars().all(|c| c.is_alphanumeric() || "_:<>,&".contains(c));
    match names.iter().find(|name| name.is_empty() || !is_plain(name)) {
        Some(name) => Err(format!("--allow: {} is not the name of a function", visible(name))),
        None => match names.iter().find(|name| !name.contains("::")) {
            Some(name) => {
                Err(format!("--allow: {} is short; write the full name of the function, as disk::usage", visible(name)))
            }
            None => Ok(names),
        },
    }
}

/// # Errors
///
/// If sudo could take the path for another one.
fn check_path(path: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    match path.starts_with('/') && !path.ends_with('/') && path.chars().all(is_plain) {
        true => Ok(()),
        false => Err(format!(
            "--binary: {} is not a path for a rule of sudo; write a whole path of letters, digits and ._-+@",
            visible(path)
        )),
    }
}

fn digest(program: Option<&Path>) -> Result<String, String> {
    let path = match program {
        Some(program) => program.to_owned(),
        None => std::env::current_exe().map_err(|error| format!("cannot find the own program: {error}"))?,
    };
    let digest = file_digest(&path);
    let digest = digest.map_err(|error| format!("cannot read {}: {error}", visible(&path.to_string_lossy())))?;
    Ok(hex(&digest))
}

impl Rule<'_> {
    fn text(&self) -> String {
        let Self { who, as_user, digest, binary, functions } = self;
        let digest = digest.as_ref().map_or_else(String::new, |digest| format!("sha256:{digest} "));
        let arguments: Vec<String> = only(functions.clone()).iter().map(|word| escaped(word)).collect();
        format!(
            "# On each host {binary} is this program. It and its directories have to belong to root, and nobody else\n\
             # may write them.\n\
             # This file belongs into /etc/sudoers.d; `visudo -c -f FILE` checks it.\n\
             {who} ALL=({as_user}) NOPASSWD: {digest}{binary} {}\n",
            arguments.join(" ")
        )
    }
}

/// A word of arguments as a rule has it.
fn escaped(word: &str) -> String {
    let mut text = String::new();
    for c in word.chars() {
        if ",:=\\".contains(c) {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, ToolCommand};
    use clap::Parser;

    fn printed(words: &[&str]) -> Result<String, String> {
        let line = [&["offshoot", "sudoers"], words].concat();
        match Cli::try_parse_from(line).map_err(|error| error.to_string())?.command {
            ToolCommand::Sudoers(args) => rule(&args),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn a_rule_has_the_digest_the_path_and_the_functions() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "abc").unwrap();
        let program = file.path().to_str().unwrap();
        let text =
            printed(&["--allow", "host_facts", "-u", "%ops", "--program", program, "--binary", "/opt/o"]).unwrap();
        let rule = text.lines().find(|line| !line.starts_with('#')).unwrap();
        assert_eq!(
            rule,
            "%ops ALL=(root) NOPASSWD: sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad /opt/o \
             offshoot-child\\:only offshoot\\:\\:builtin\\:\\:facts\\:\\:host_facts"
        );
        assert!(text.contains("call -w HOSTS --become=root --binary /opt/o --allow host_facts"), "{text}");
        let text = printed(&["--allow", "disk::usage", "--program", program, "--no-digest", "--as", "amy"]).unwrap();
        assert!(
            text.contains("ALL=(amy) NOPASSWD: /usr/local/libexec/offshoot offshoot-child\\:only disk\\:\\:usage\n")
        );
        assert!(text.ends_with("router.sudo().binary(\"/usr/local/libexec/offshoot\").allow(disk::usage)\n"), "{text}");
    }

    #[test]
    fn what_a_rule_could_take_for_more_is_refused() {
        for (words, says) in [
            (&["--allow", "host_facts", "--binary", "/opt/*"][..], "--binary: /opt/*"),
            (&["--allow", "host_facts", "--binary", "offshoot"], "write a whole path"),
            (&["--allow", "host_facts", "-u", "amy, ALL"], "--user: amy, ALL"),
            (&["--allow", "host_facts", "--as", "ALL:ALL"], "--as: ALL:ALL"),
            (&["--allow", "a*", "--program", "/dev/null"], "--allow: a*"),
            (&["--allow", "", "--program", "/dev/null"], "--allow: "),
            (&["--allow", "usage", "--program", "/dev/null"], "--allow: usage is short"),
            (&["--allow", "no_such"], "need --program"),
            (&["--allow", "host_facts", "--program", "/no/such"], "cannot read /no/such"),
        ] {
            let error = printed(words).unwrap_err();
            assert!(error.contains(says), "{words:?}: {error}");
        }
    }
}
