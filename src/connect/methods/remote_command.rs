//! The command that a method runs: the first stage, or an image that is on the machine already.

use crate::connect::bootstrap::{self, Nonce};
use crate::sys::process;
use crate::sys::quote::quote;

/// The end of a method's command line, in both forms that the tools accept.
#[derive(Debug)]
pub(super) struct RemoteCommand {
    words: Vec<String>,
    /// Shell commands before the first stage in its line.
    prelude: String,
    first_stage: Option<(String, String)>,
    prefix: Vec<String>,
}

impl RemoteCommand {
    /// The first stage, run by `shell` after `prefix`. `cache`: whether it may keep the image.
    pub(super) fn staged(nonce: &Nonce, prefix: &[String], shell: &str, cache: bool) -> Self {
        let first_stage = Some((shell.to_owned(), bootstrap::first_stage(nonce, cache, None)));
        Self { words: Vec::new(), prelude: String::new(), first_stage, prefix: prefix.to_vec() }
    }

    /// The first stage on this side. It uses these shell functions to copy the image into a container without a
    /// shell.
    pub(super) fn copied(nonce: &Nonce, copying: &str) -> Self {
        let first_stage = Some(("sh".to_owned(), bootstrap::first_stage(nonce, false, Some(copying))));
        Self { words: Vec::new(), prelude: String::new(), first_stage, prefix: Vec::new() }
    }

    /// An image that is on the machine already. With `only`, it runs these functions only, and gets the token by stdin, so
    /// that its arguments are always the same.
    pub(super) fn binary(nonce: &Nonce, prefix: &[String], binary: &str, only: Option<Vec<String>>) -> Self {
        let mut words = vec![binary.to_owned()];
        match only {
            None => words.push(nonce.child_argument()),
            Some(functions) => words.extend(bootstrap::only(functions)),
        }
        Self { words, prelude: String::new(), first_stage: None, prefix: prefix.to_vec() }
    }

    /// Lets the line first try to run this process's own image. Root can do so: it may execute the image of any
    /// process on the machine, even if its file is gone. If this is not possible, for any reason, the line
    /// continues with the first stage. `remote_name` is the child's name.
    ///
    /// When the line runs, this process may have ended, and another process may have its number. Root must not
    /// run the image of that process. So the line first opens the image. Then it checks that the process of
    /// this number started at the same time as this one, so it is still this one. Then it executes the image
    /// that it has opened.
    pub(super) fn try_own_image(&mut self, nonce: &Nonce, remote_name: &str) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-+=./:,@".contains(c);
        if crate::connect::child::test_path().is_some() || !remote_name.chars().all(plain) {
            return;
        }
        let Some(start) = process::own_start() else { return };
        self.prelude = image_of(std::process::id(), start, &nonce.child_argument(), remote_name);
    }

    pub(super) fn may_be_direct(&self) -> bool {
        !self.prelude.is_empty()
    }

    /// As arguments for a tool that executes them.
    pub(super) fn words(&self) -> Vec<String> {
        let command = match self.line_for_sh() {
            Some((shell, line)) => vec![shell, "-c".into(), line],
            None => self.words.clone(),
        };
        self.prefix.iter().cloned().chain(command).collect()
    }

    /// As arguments for a tool that joins them to a line for a login shell, and puts a backslash before every
    /// special character but `$`.
    pub(super) fn words_without_dollar(&self) -> Vec<String> {
        let command = match self.line_for_sh() {
            Some((shell, line)) => {
                let mut encoded = String::new();
                for c in line.chars() {
                    match c {
                        '$' => encoded.push_str(r"\044"),
                        '"' => encoded.push_str(r"\042"),
                        '`' => encoded.push_str(r"\140"),
                        '\\' => encoded.push_str(r"\134"),
                        '%' => encoded.push_str("%%"),
                        c => encoded.push(c),
                    }
                }
                vec![shell, "-c".into(), format!(r#"eval "`printf '{encoded}'`""#)]
            }
            None => self.words.clone(),
        };
        self.prefix.iter().cloned().chain(command).collect()
    }

    /// As a line for a login shell of any kind.
    pub(super) fn line(&self) -> String {
        let prefix: String = self.prefix.iter().map(|word| quote(word) + " ").collect();
        let command = match self.line_for_sh() {
            Some((shell, line)) => bootstrap::login_command(&quote(&shell), &line),
            None => self.words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
        };
        prefix + &command
    }

    fn line_for_sh(&self) -> Option<(String, String)> {
        self.first_stage.as_ref().map(|(shell, line)| (shell.clone(), format!("{}{line}", self.prelude)))
    }
}

/// A line that executes the image of the process with this number, if that process has begun at `start`.
fn image_of(pid: u32, start: u64, argument: &str, remote_name: &str) -> String {
    let name = crate::connect::child::again_argument(remote_name);
    // The shell returns 126 and 127 if it could not execute the image. Without the quotes, ksh93 takes the
    // parenthesis for the end of the expansion.
    format!(
        concat!(
            r#"[ -x /proc/{pid}/exe ]&&{{ read -r x </proc/{pid}/stat&&set -- ${{x##*")" }}&&[ "${{20-}}" = {start} ]&&"#,
            r#"{{ /proc/self/fd/9 {argument} "" "" {name};r=$?;case $r in 126|127);;*)exit $r;;esac;}};}} 9</proc/{pid}/exe;"#,
        ),
        pid = pid,
        start = start,
        argument = argument,
        name = name,
    )
}

/// Checks that a name can be passed to a tool as the name of a user.
pub(super) fn check_user(tool: &str, user: &str) -> Result<(), String> {
    if user.is_empty() || user.starts_with('-') || user.contains(char::is_control) {
        return Err(format!("{tool} username {user:?} is not a user name"));
    }
    Ok(())
}

/// A command that is short enough to read.
#[cfg(test)]
pub(super) fn for_tests() -> RemoteCommand {
    RemoteCommand { words: vec!["B".into(), "x".into()], prelude: String::new(), first_stage: None, prefix: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce() -> Nonce {
        Nonce::from_bytes([7; 16])
    }

    #[test]
    fn a_login_shell_gets_one_quoted_line_and_a_tool_gets_words() {
        let remote = RemoteCommand::staged(&nonce(), &["nice".into(), "-n 5".into()], "sh", false);
        let words = remote.words();
        assert_eq!(words[..4], ["nice", "-n 5", "sh", "-c"]);
        assert_eq!(remote.line(), format!("nice '-n 5' sh -c '{}'", words[4]));
        let remote = RemoteCommand::binary(&nonce(), &[], "/opt/a b", None);
        assert_eq!(remote.line(), format!("'/opt/a b' {}", nonce().child_argument()));
        let only = RemoteCommand::binary(&nonce(), &[], "/opt/a b", Some(vec!["a::f".into()]));
        assert_eq!(only.words(), ["/opt/a b", "offshoot-child:only", "a::f"]);
        assert_eq!(remote.words(), ["/opt/a b".to_owned(), nonce().child_argument()]);
    }

    #[test]
    fn without_dollars_the_line_is_the_same_once_sh_has_read_it() {
        let mut remote = RemoteCommand::staged(&nonce(), &[], "sh", false);
        remote.try_own_image(&nonce(), "name");
        let words = remote.words_without_dollar();
        assert!(!words[2].contains('$'), "{}", words[2]);
        let command = words[2].replacen("eval ", "printf %s ", 1);
        let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), remote.words()[2]);
    }

    #[test]
    fn a_name_that_a_shell_could_take_for_more_gets_the_first_stage_alone() {
        let plain = RemoteCommand::staged(&nonce(), &[], "sh", false).words();
        for name in ["$(id)", "a'b", "a;b", "a b"] {
            let mut remote = RemoteCommand::staged(&nonce(), &[], "sh", false);
            remote.try_own_image(&nonce(), name);
            assert_eq!(remote.words(), plain, "{name}");
        }
    }

    /// The number of a process that has ended may be that of another one, whose image root must not run.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_image_of_a_process_is_executed_only_if_the_process_has_begun_when_it_should_have() {
        // It is executed as `sleep ARGUMENT ...`, and does not accept that.
        let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
        let start: u64 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().parse().unwrap();
        for (start, goes_on) in [(start, false), (start + 1, true), (start - 1, true), (0, true)] {
            let line = image_of(process.id(), start, "argument", "name") + "echo the first stage";
            let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said == "the first stage\n", goes_on, "{start}: {output:?}");
            assert_eq!(output.stderr.is_empty(), goes_on, "{start}: {output:?}");
        }
        process.kill().unwrap();
        process.wait().unwrap();
        let line = image_of(process.id(), start, "argument", "name") + "echo the first stage";
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(output.stdout, b"the first stage\n", "{output:?}");
    }
}
