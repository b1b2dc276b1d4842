//! The command line that runs the same again on other hosts: the original one, with the hosts replaced.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::slice::Iter;

use clap::{Arg, Command, CommandFactory};

use crate::cli::args::Cli;
use crate::cli::quote;

/// What stands in place of a value that is not shown.
const MASK: &str = "***";

/// Returns `argv` with `hosts` in place of its own hosts, as a line for a shell. The tool has accepted `argv`.
/// What it says about choosing hosts is left out, except for inventories. If it names none, those that were
/// found are added, because the names of the hosts are theirs.
///
/// The line is shown, and values of variables may be secret. So only their names stay: `-e NAME` takes the
/// value from the environment. A comment at the end of the line has the notes for the user, those of `more`
/// among them.
pub(crate) fn line<'a>(
    argv: &[OsString],
    hosts: &str,
    inventories: &[String],
    more: impl IntoIterator<Item = &'a str>,
) -> String {
    let Again { words, hidden, is_masked } = rewritten(argv, hosts, inventories);
    let mut notes = Vec::new();
    if !hidden.is_empty() {
        let values = if hidden.len() == 1 { "its value is" } else { "their values are" };
        notes.push(format!("export {} first: {values} not shown", hidden.join(" and ")));
    }
    if is_masked {
        notes.push(format!("write the values of SetEnv in place of {MASK}: they are not shown"));
    }
    notes.extend(more.into_iter().map(str::to_owned));
    let line = quote::line(words);
    if notes.is_empty() { line } else { format!("{line}  # {}", notes.join("; ")) }
}

fn rewritten(argv: &[OsString], hosts: &str, inventories: &[String]) -> Again {
    let mut tool = Cli::command();
    tool.build();
    let mut rewriter = Rewriter {
        command: &tool,
        hosts: Some(hosts),
        has_inventory: false,
        has_files: false,
        overwrites: false,
        begin: 0,
        words: Vec::new(),
        hidden: Vec::new(),
        is_masked: false,
    };
    let mut rest = argv.iter();
    rewriter.words.extend(rest.next().cloned());
    while let Some(word) = rest.next() {
        match word.as_bytes() {
            [b'-', b'-'] => {
                rewriter.words.push(word.clone());
                break;
            }
            [b'-', b'-', name @ ..] => rewriter.long(word, name, &mut rest),
            [b'-', _, ..] => rewriter.short(word, &mut rest),
            _ => {
                rewriter.words.push(word.clone());
                if rewriter.command.get_positionals().any(Arg::is_trailing_var_arg_set) {
                    // The words from here on are the command for the hosts.
                    break;
                }
                if let Some(command) = rewriter.command.find_subcommand(word) {
                    rewriter.command = command;
                    rewriter.begin = rewriter.words.len();
                }
            }
        }
    }
    rewriter.words.extend(rest.cloned());
    rewriter.add(inventories);
    Again { words: rewriter.words, hidden: rewriter.hidden, is_masked: rewriter.is_masked }
}

/// The words for other hosts, and the variables whose values were removed.
struct Again {
    words: Vec<OsString>,
    hidden: Vec<String>,
    /// Whether values of `SetEnv` were replaced.
    is_masked: bool,
}

/// Rewrites the words of a command line. It reads them by the definitions of the options.
struct Rewriter<'a> {
    command: &'a Command,
    /// The new hosts, until they are put into the line.
    hosts: Option<&'a str>,
    has_inventory: bool,
    /// Whether the line names files that exist now.
    has_files: bool,
    overwrites: bool,
    /// Where the options of the subcommand begin.
    begin: usize,
    words: Vec<OsString>,
    hidden: Vec<String>,
    is_masked: bool,
}

impl Rewriter<'_> {
    /// Adds what the line does not say: the hosts, if they were chosen in another way, and inventories.
    fn add(&mut self, inventories: &[String]) {
        let mut added: Vec<OsString> = Vec::new();
        if let Some(hosts) = self.hosts.take() {
            added.extend(["-w".into(), hosts.into()]);
        }
        if !self.has_inventory {
            added.extend(inventories.iter().flat_map(|path| [OsString::from("-I"), path.into()]));
        }
        if self.has_files && !self.overwrites {
            added.push("--overwrite".into());
        }
        self.words.splice(self.begin..self.begin, added);
    }

    /// A cluster of flags, without those that choose hosts; `None` if nothing is left of it.
    fn flags(&self, cluster: &[u8]) -> Option<OsString> {
        let chooses = |flag: u8| {
            let is_it = |arg: &&Arg| arg.get_short() == Some(char::from(flag));
            self.command.get_arguments().find(is_it).is_some_and(|arg| arg.get_id() == "all")
        };
        let left: Vec<u8> = cluster.iter().copied().filter(|flag| !chooses(*flag)).collect();
        (left.len() > 1).then(|| OsString::from_vec(left))
    }

    fn long(&mut self, word: &OsStr, name: &[u8], rest: &mut Iter<'_, OsString>) {
        let equals = name.iter().position(|b| *b == b'=');
        let (name, value) = match equals {
            Some(at) => (&name[..at], Some(OsStr::from_bytes(&name[at + 1..]))),
            None => (name, None),
        };
        let found = self.command.get_arguments().find(|arg| arg.get_long().is_some_and(|long| long.as_bytes() == name));
        let is_next = value.is_none() && found.is_some_and(takes_next);
        let following = if is_next { rest.next() } else { None };
        let value = value.or_else(|| following.map(OsString::as_os_str)).unwrap_or_default();
        if !found.is_some_and(|arg| self.replaced(arg, value)) {
            self.words.push(word.to_owned());
            self.words.extend(following.cloned());
        }
    }

    /// A cluster such as `-bKw HOSTS`: flags, and at its end an option that may have a value.
    fn short(&mut self, word: &OsStr, rest: &mut Iter<'_, OsString>) {
        let bytes = word.as_bytes();
        let option = (1..bytes.len()).find_map(|at| {
            let is_it = |arg: &&Arg| arg.get_short() == Some(char::from(bytes[at]));
            let arg = self.command.get_arguments().find(is_it)?;
            let takes_value = arg.get_action().takes_values();
            // `-b` has a value only if a `=` follows.
            let is_last = takes_next(arg) || takes_value && bytes.get(at + 1) == Some(&b'=');
            is_last.then_some((at, arg))
        });
        let Some((at, arg)) = option else {
            self.words.extend(self.flags(bytes));
            return;
        };
        let attached = &bytes[at + 1..];
        let following = if attached.is_empty() { rest.next() } else { None };
        let value = match following {
            Some(value) => value.as_os_str(),
            None => OsStr::from_bytes(attached.strip_prefix(b"=").unwrap_or(attached)),
        };
        let flags = self.words.len();
        self.words.extend(self.flags(&bytes[..at]));
        if !self.replaced(arg, value) {
            self.words.truncate(flags);
            let mut cluster = self.flags(&bytes[..at]).unwrap_or_else(|| "-".into());
            cluster.push(OsStr::from_bytes(&bytes[at..]));
            self.words.push(cluster);
            self.words.extend(following.cloned());
        }
    }

    /// Returns true if the option does not stay unchanged, and adds its replacement.
    fn replaced(&mut self, arg: &Arg, value: &OsStr) -> bool {
        match arg.get_id().as_str() {
            "hosts" => {
                if let Some(hosts) = self.hosts.take() {
                    self.words.extend(["-w".into(), hosts.into()]);
                }
            }
            "env" => {
                let name = value.as_bytes().split(|b| *b == b'=').next().unwrap_or_default();
                self.words.extend(["-e".into(), OsStr::from_bytes(name).to_owned()]);
                let shown = String::from_utf8_lossy(name).into_owned();
                if name.len() < value.len() && !self.hidden.contains(&shown) {
                    self.hidden.push(shown);
                }
            }
            "ssh_option" => {
                let Some(masked) = without_values(value) else { return false };
                self.is_masked = true;
                self.words.extend(["-o".into(), masked]);
            }
            "all" | "except" | "pick" => {}
            "outdir" => {
                self.has_files = true;
                return false;
            }
            "overwrite" => {
                self.overwrites = true;
                return false;
            }
            "inventory" => {
                self.has_inventory = true;
                return false;
            }
            _ => return false,
        }
        true
    }
}

/// An option of ssh that sets variables of the session, without their values; `None` if it is another one.
fn without_values(option: &OsStr) -> Option<OsString> {
    let text = option.to_string_lossy();
    let (key, pairs) = text.trim_start().split_once(['=', ' ', '\t'])?;
    let masked = |pair: &str| {
        let name = pair.trim_start_matches('"').split('=').next().unwrap_or_default().to_owned();
        format!("{name}={MASK}")
    };
    let is_set_env = key.trim_end().eq_ignore_ascii_case("SetEnv");
    // A value with a space in it stands in quotes. The name before the first `=` is all that is sure.
    let pairs = pairs.trim_start_matches(['=', ' ', '\t']);
    let names = if pairs.contains(['"', '\'', '\\']) {
        masked(pairs)
    } else {
        pairs.split_whitespace().map(masked).collect::<Vec<_>>().join(" ")
    };
    is_set_env.then(|| format!("{key}={names}").into())
}

/// Whether the value of an option can be the next word.
fn takes_next(arg: &Arg) -> bool {
    arg.get_action().takes_values() && !arg.is_require_equals_set()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;
    use crate::cli::args::ToolCommand;
    use crate::cli::args::choosing::ChoiceArgs;

    #[test]
    fn values_that_ssh_sets_there_are_not_shown() {
        let of = |option: &str| rerun(&["offshoot", "run", "-w", "a,b", "-o", option, "-s", "w"], "b");
        let note = "  # write the values of SetEnv in place of ***: they are not shown";
        for (option, shown) in [
            ("SetEnv=PASS=x", "'SetEnv=PASS=***'"),
            ("setenv PASS=x", "'setenv=PASS=***'"),
            ("SetEnv = A=x B=y", "'SetEnv=A=*** B=***'"),
            ("SetEnv A=\"x y\" B=z", "'SetEnv=A=***'"),
        ] {
            assert_eq!(of(option), format!("offshoot run -w b -o {shown} -s w{note}"));
        }
        assert_eq!(of("SendEnv=LANG"), "offshoot run -w b -o SendEnv=LANG -s w");
    }

    fn rerun(words: &[&str], hosts: &str) -> String {
        let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
        Cli::try_parse_from(&argv).unwrap_or_else(|error| panic!("{error}"));
        line(&argv, hosts, &[], None)
    }

    #[test]
    fn the_rerun_is_what_was_typed_for_other_hosts() {
        for (typed, again) in [
            (
                &["./offshoot", "run", "-w", "web[1-9]", "-w", "db1", "-t", "90", "-S", "--", "sh", "-c", "it's $A"][..],
                r"./offshoot run -w 'web[2,5]' -t 90 -S -- sh -c 'it'\''s $A'",
            ),
            (
                &["o", "--color=never", "run", "--hosts=a", "-s", "a | b", "--via", "bastion"],
                "o --color=never run -w 'web[2,5]' -s 'a | b' --via bastion",
            ),
            (&["o", "-vv", "run", "-bKw", "a", "id", "-w", "x"], "o -vv run -bK -w 'web[2,5]' id -w x"),
            (&["o", "run", "-vwa", "-f9", "--", "x"], "o run -v -w 'web[2,5]' -f9 -- x"),
            (&["o", "run", "-b=bob", "-w=a", "true"], "o run -b=bob -w 'web[2,5]' true"),
            (&["o", "call", "f", "-w", "a", "[1, \"x y\"]"], r#"o call f -w 'web[2,5]' '[1, "x y"]'"#),
            (&["o", "-v", "run", "-a", "-xb", "--pick=2", "-I", "f", "id"], "o -v run -w 'web[2,5]' -I f id"),
            (&["o", "call", "-w", "a", "--", "f"], "o call -w 'web[2,5]' -- f"),
            (&["o", "run", "-w", "a", "--outdir", "d", "id"], "o run --overwrite -w 'web[2,5]' --outdir d id"),
            (
                &["o", "run", "-w", "a", "--outdir=d", "--overwrite", "id"],
                "o run -w 'web[2,5]' --outdir=d --overwrite id",
            ),
        ] {
            assert_eq!(rerun(typed, "web[2,5]"), again);
        }
    }

    #[test]
    fn inventories_that_were_found_are_named_by_the_rerun() {
        let rerun = |words: &[&str]| {
            let argv: Vec<OsString> = words.iter().map(OsString::from).collect();
            line(&argv, "web2", &["/a b".to_owned(), "genders:/g".to_owned()], None)
        };
        assert_eq!(rerun(&["o", "run", "-w", "@web", "id"]), "o run -I '/a b' -I genders:/g -w web2 id");
        assert_eq!(rerun(&["o", "run", "-a", "id"]), "o run -w web2 -I '/a b' -I genders:/g id");
        assert_eq!(rerun(&["o", "run", "-I", "f", "-a", "id"]), "o run -w web2 -I f id");
    }

    #[test]
    fn the_rerun_shows_no_value_of_a_variable() {
        for variable in
            [&["-e", "P=hunter2"][..], &["-eP=hunter2"], &["-e=P=hunter2"], &["--env", "P=hunter2"], &["-SeP=hunter2"]]
        {
            let words = [&["o", "run", "-w", "a"], variable, &["--", "true"]].concat();
            let flag = if variable[0].starts_with("-S") { "-S " } else { "" };
            let note = "  # export P first: its value is not shown";
            assert_eq!(rerun(&words, "b"), format!("o run -w b {flag}-e P -- true{note}"));
        }
        // A value that was taken from the environment can be taken from it again.
        assert_eq!(rerun(&["o", "run", "-w", "a", "-e", "PATH", "true"], "b"), "o run -w b -e PATH true");
        let several = rerun(&["o", "run", "-w", "a", "-eA=1", "-eB=2", "-eA=3", "true"], "b");
        assert!(several.ends_with("true  # export A and B first: their values are not shown"), "{several}");
        let argv = ["o", "run", "-w", "a", "-eA=1", "true"].map(OsString::from);
        assert!(
            line(&argv, "b", &[], Some("look first"))
                .ends_with("  # export A first: its value is not shown; look first")
        );
    }

    fn option() -> impl Strategy<Value = Vec<OsString>> {
        let spelled = [
            "-w a",
            "-a",
            "-va",
            "-aS",
            "-aw b",
            "--all",
            "-x b",
            "-axb",
            "--except=b",
            "--pick 3",
            "-I f",
            "-aIf",
            "-wa",
            "-w=a",
            "--hosts a,b",
            "--hosts=a",
            "-vw a",
            "-Kwa",
            "-t 5s",
            "-t90",
            "--timeout=1m",
            "-e PATH",
            "-ePATH",
            "--env=PATH",
            "-Se PATH",
            "-C /",
            "--via b",
            "-f 3",
            "-b",
            "-bK",
            "-b=bob",
            "--become",
            "--become=bob",
            "-S",
            "--json",
            "-F f",
            "-o A=1",
            "-oB=-w",
            "-o=C",
            "-J j",
            "-p22",
            "-l me",
            "-i k",
            "--cache",
            "-v",
            "--debug",
            "--color never",
            "--ask-pass",
        ];
        prop::sample::select(spelled.to_vec()).prop_map(|words| words.split(' ').map(OsString::from).collect())
    }

    fn word() -> impl Strategy<Value = OsString> {
        prop_oneof![
            "-{0,2}[a-z=]{0,4}".prop_map(OsString::from),
            "\\PC{0,6}".prop_map(OsString::from),
            prop::collection::vec(1..=255_u8, 0..5).prop_map(OsString::from_vec),
        ]
    }

    proptest! {
        #[test]
        fn the_rerun_means_the_same(
            options in prop::collection::vec(option(), 0..8),
            dashes: bool,
            command in prop::collection::vec(word(), 1..4),
        ) {
            let mut argv: Vec<OsString> = ["o", "run"].map(OsString::from).to_vec();
            argv.extend(options.concat());
            argv.extend(dashes.then(|| OsString::from("--")));
            argv.extend(command);
            // Combinations of options that are refused are not run again.
            let Ok(mut wanted) = Cli::try_parse_from(&argv) else { return Ok(()) };
            let again = rewritten(&argv, "web[1-3]", &[]).words;
            if let ToolCommand::Run(run) = &mut wanted.command {
                // The value of a variable is not repeated.
                prop_assume!(run.env.is_empty());
                run.reach.hosts = vec!["web[1-3]".into()];
                let inventory = std::mem::take(&mut run.reach.choosing.inventory);
                run.reach.choosing = ChoiceArgs { inventory, ..ChoiceArgs::default() };
            }
            prop_assert_eq!(Cli::try_parse_from(&again).map_err(|error| error.to_string()), Ok(wanted), "{:?}", again);
        }
    }
}
