//! `offshoot script`: a local script on many hosts.
//!
//! The script travels with the call. On the host its interpreter reads it from a descriptor, so that no file is
//! left there.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::Blob;
use crate::builtin::process::run_process::{CommandLine, Script};
use crate::cli::args::Cli;
use crate::cli::args::script::ScriptArgs;
use crate::cli::complaint::fail;
use crate::cli::exit::Exit;
use crate::cli::output::visible::word as visible;
use crate::cli::run::carry_out;
use crate::cli::worker::{Job, Stdin, Work};
use crate::sys::patient::Patient;

/// Most bytes of a script. Each host gets a copy, and up to 32 copies are under way at once by default.
const MAX_SCRIPT: u64 = 4 << 20;

/// The file name that means stdin.
const STDIN: &str = "-";

/// What editors of Windows put before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What runs a script that does not say what runs it.
const USUAL_INTERPRETER: &str = "/bin/sh";

/// Shells in which a script that is read by `.` sees no difference, so that `$0` can be its name. bash is none of
/// them: there `BASH_SOURCE` would differ from `$0`, and scripts compare the two.
const PLAIN_SHELLS: [&str; 6] = ["sh", "dash", "ash", "ksh", "mksh", "yash"];

/// Runs the script on all hosts and reports.
pub(crate) fn script(cli: &Cli, args: &ScriptArgs) -> Exit {
    let Some((file, rest)) = args.argv.split_first() else { return Exit::Usage };
    let is_stdin = file == STDIN;
    let text = match read(file) {
        Ok(text) => text,
        Err(why) => return fail(Exit::Usage, &why),
    };
    let name = if is_stdin { OsStr::new("sh") } else { file };
    let shown_words = interpreter(&text).map(|program| [program, args.argv.clone()].concat()).ok();
    let command = match command(text, name, rest) {
        Ok(command) => command,
        Err(why) => return fail(Exit::Usage, &format!("{}: {why}", shown(file))),
    };
    let env = args.env.iter().map(|variable| ((&variable.name).into(), Some(variable.value.clone())));
    let command = CommandLine { cwd: args.chdir.clone(), env: env.collect(), ..command };
    let stdin = match (is_stdin, args.no_stdin) {
        (true, _) => Stdin::Script,
        (false, true) => Stdin::Unread,
        (false, false) => Stdin::ForCommands,
    };
    let job = Job {
        work: Work::Command(command),
        reach: args.reach.clone(),
        running: args.running.clone(),
        output: args.output,
        timeout: args.timeout,
        substitutes: false,
        is_shell: false,
        stdin,
        shown: shown_words,
    };
    carry_out(cli, job)
}

fn shown(file: &OsStr) -> String {
    if file == STDIN { "the script on stdin".into() } else { visible(&file.to_string_lossy()) }
}

fn read(file: &OsStr) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    let most = MAX_SCRIPT + 1;
    let result = match file == STDIN {
        true => Patient(io::stdin()).take(most).read_to_end(&mut text),
        false => File::open(Path::new(file)).and_then(|open| open.take(most).read_to_end(&mut text)),
    };
    result.map_err(|error| format!("cannot read {}: {error}", shown(file)))?;
    if text.len() as u64 > MAX_SCRIPT {
        return Err(format!(
            "{} has more than {MAX_SCRIPT} bytes; put what it carries into a file on the hosts, or send that on stdin",
            shown(file)
        ));
    }
    Ok(text)
}

/// The command that runs a script: its interpreter, which gets the path of the script from the far side.
fn command(text: Vec<u8>, name: &OsStr, args: &[OsString]) -> Result<CommandLine, String> {
    let mut argv = interpreter(&text)?;
    let program = Path::new(&argv[0]).file_name().unwrap_or_default();
    let argument = if PLAIN_SHELLS.iter().any(|shell| program == *shell) {
        argv.extend(["-c".into(), ". ".into(), name.to_owned()]);
        argv.len() - 2
    } else {
        argv.push(OsString::new());
        argv.len() - 1
    };
    argv.extend_from_slice(args);
    Ok(CommandLine { argv, script: Some(Script { text: Blob(text), argument }), ..CommandLine::default() })
}

/// The program that the first line names, and its argument: as the kernel reads it, at most one.
fn interpreter(text: &[u8]) -> Result<Vec<OsString>, String> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Err(
            "it begins with a byte order mark (BOM) of UTF-8, so that no interpreter is found in its first line; \
                    remove the mark (`sed -i '1s/^\\xef\\xbb\\xbf//' FILE`)"
                .into(),
        );
    }
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.contains(&0) {
        return Err("this is no text; a script is a text whose first line names its interpreter".into());
    }
    let Some(words) = line.strip_prefix(b"#!") else { return Ok(vec![USUAL_INTERPRETER.into()]) };
    if words.ends_with(b"\r") {
        return Err("its lines end as those of Windows; convert it (`sed -i 's/\\r$//' FILE`)".into());
    }
    let words = words.trim_ascii();
    let end = words.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(words.len());
    let (program, argument) = words.split_at(end);
    if program.is_empty() {
        return Err("its first line is `#!` without a program; write as `#!/bin/sh`".into());
    }
    let argument = Some(argument.trim_ascii()).filter(|argument| !argument.is_empty());
    Ok([Some(program), argument].into_iter().flatten().map(|word| OsString::from_vec(word.to_vec())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Result<(Vec<String>, usize), String> {
        let command = command(text.into(), OsStr::new("./x.sh"), &["a b".into(), ". ".into()])?;
        let argv = command.argv.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        Ok((argv, command.script.map_or(99, |script| script.argument)))
    }

    #[test]
    fn the_first_line_names_the_program_that_runs_the_script() {
        for (text, wanted, argument) in [
            ("echo hello", &["/bin/sh", "-c", ". ", "./x.sh", "a b", ". "][..], 2),
            ("#!/bin/sh -eu\n", &["/bin/sh", "-eu", "-c", ". ", "./x.sh", "a b", ". "], 3),
            ("#! /usr/bin/env  python3 \nx\r\n", &["/usr/bin/env", "python3", "", "a b", ". "], 2),
            ("#!/usr/bin/env -S python3 -u\n", &["/usr/bin/env", "-S python3 -u", "", "a b", ". "], 2),
            ("#!/bin/bash\n", &["/bin/bash", "", "a b", ". "], 1),
            ("", &["/bin/sh", "-c", ". ", "./x.sh", "a b", ". "], 2),
        ] {
            let (argv, at) = words(text).unwrap();
            assert_eq!(
                (argv.iter().map(String::as_str).collect::<Vec<_>>(), at),
                (wanted.to_vec(), argument),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_script_is_refused_with_the_remedy() {
        for (text, says) in [
            ("\u{7f}ELF\0\u{1}", "this is no text"),
            ("\u{feff}#!/bin/sh\necho", "byte order mark (BOM) of UTF-8"),
            ("#!\necho", "write as `#!/bin/sh`"),
            ("#!/bin/sh\r\necho\r\n", "as those of Windows; convert it"),
        ] {
            let error = words(text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
