//! `sudo`: a child of another user on the same machine, as the policy of sudo allows.

use serde::{Deserialize, Serialize};

use crate::connect::bootstrap::{Answer, Ask, Diagnosis, Nonce, Prompts, Sign};
use crate::connect::methods::remote_command::{RemoteCommand, check_user};
use crate::connect::methods::{AnyMethod, Connect, Plan, Variant};
use crate::wire::codec::Secret;
use crate::wire::error::{ConnectCause, ConnectErrorKind};

/// The settings of a child by sudo; see [`Router::sudo`](crate::Router::sudo).
///
/// The [module](crate::connect) has an example.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Sudo {
    /// User to become. Default: root.
    pub username: Option<String>,
    /// The program to run. Default: `sudo`.
    pub sudo_path: Option<String>,
    /// The password that sudo's policy asks for, usually the caller's own.
    pub password: Option<Secret>,
    /// Option `-E`.
    pub preserve_env: bool,
    /// Option `-H`.
    pub set_home: bool,
    /// Option `-i`.
    pub login: bool,
    /// Option `-r`.
    pub selinux_role: Option<String>,
    /// Option `-t`.
    pub selinux_type: Option<String>,
    /// More of these options, in sudo's own notation.
    pub sudo_args: Vec<String>,
    /// Whether to send an image instead of running the parent's own image as root.
    pub indirect: bool,
}

impl From<Sudo> for AnyMethod {
    fn from(sudo: Sudo) -> Self {
        Self(Variant::Sudo(sudo))
    }
}

impl Connect<Sudo> {
    /// User to become. Default: `root`.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.method.username = Some(user.into());
        self
    }

    /// The program to run. Default: `sudo`.
    pub fn sudo_path(mut self, path: impl Into<String>) -> Self {
        self.method.sudo_path = Some(path.into());
        self
    }

    /// The password to type if sudo asks for it. It is sent over links only, to the machine that runs sudo.
    /// Default: none.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.method.password = Some(password.into());
        self
    }

    /// Whether sudo keeps the environment, as far as its policy allows. Default: false.
    pub fn preserve_env(mut self, on: bool) -> Self {
        self.method.preserve_env = on;
        self
    }

    /// Whether `HOME` is set to the home directory of the user. Default: false; then sudo decides.
    pub fn set_home(mut self, on: bool) -> Self {
        self.method.set_home = on;
        self
    }

    /// Whether sudo runs the user's login shell, with its profiles. Default: false.
    pub fn login(mut self, on: bool) -> Self {
        self.method.login = on;
        self
    }

    /// SELinux role. Default: none.
    pub fn selinux_role(mut self, role: impl Into<String>) -> Self {
        self.method.selinux_role = Some(role.into());
        self
    }

    /// SELinux type. Default: none.
    pub fn selinux_type(mut self, kind: impl Into<String>) -> Self {
        self.method.selinux_type = Some(kind.into());
        self
    }

    /// Options in sudo's own notation: `-E -H -i -r -t -u` and their long forms; `-S` and `-n` are ignored. The
    /// methods above take precedence.
    pub fn sudo_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.method.sudo_args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Whether root's child may run the parent's own image, which needs no upload and no file. If that is not
    /// possible, an image is sent, as for every other user. Default: true.
    pub fn direct(mut self, on: bool) -> Self {
        self.method.indirect = !on;
        self
    }
}

impl Sudo {
    pub(super) fn name(&self) -> String {
        let options = self.with_args().unwrap_or_else(|_| self.clone());
        format!("sudo.{}", options.user())
    }

    /// Whether the parent's own image can be used.
    pub(super) fn is_direct(&self) -> bool {
        let options = self.with_args().unwrap_or_else(|_| self.clone());
        !self.indirect && crate::connect::methods::account::is_root(options.user())
    }

    fn user(&self) -> &str {
        self.username.as_deref().unwrap_or("root")
    }

    pub(super) fn plan(&self, nonce: &Nonce, remote: &RemoteCommand) -> Result<Plan, String> {
        // The words are ours, so the language of sudo does not matter. The mark is random, so no other program
        // can know it.
        let mark = format!("offshoot-{}-password:", nonce.halves()[0]);
        let argv = self.argv(&mark, remote)?;
        let options = self.with_args()?;
        let realm = |what: &str| crate::connect::methods::account::password_text("sudo", what, options.user());
        let password = Answer::Secret {
            secret: self.password.clone(),
            missing: realm("is required"),
            give: GIVE_OR_LIST,
            wrong: realm("is incorrect"),
            reusable: false,
        };
        let asks = vec![Ask::new(Sign::Mark(mark), password)];
        let prompts = Prompts::new(asks, REFUSALS.map(str::to_owned).into());
        Ok(Plan::on_terminal(argv, prompts, interpret))
    }

    fn argv(&self, mark: &str, remote: &RemoteCommand) -> Result<Vec<String>, String> {
        let options = self.with_args()?;
        check_user("sudo", options.user())?;
        let sudo = options.sudo_path.clone().unwrap_or_else(|| "sudo".into());
        let mut argv = vec![sudo, "-p".into(), mark.into(), "-u".into(), options.user().into()];
        for (flag, on) in [("-E", options.preserve_env), ("-H", options.set_home), ("-i", options.login)] {
            argv.extend(on.then(|| flag.to_owned()));
        }
        for (flag, value) in [("-r", &options.selinux_role), ("-t", &options.selinux_type)] {
            argv.extend(value.iter().flat_map(|value| [flag.to_owned(), value.clone()]));
        }
        argv.push("--".into());
        argv.extend(if options.login { remote.words_without_dollar() } else { remote.words() });
        Ok(argv)
    }

    /// The settings, completed by the options in `sudo_args`.
    fn with_args(&self) -> Result<Self, String> {
        let mut options = self.clone();
        let mut args = std::mem::take(&mut options.sudo_args).into_iter();
        let mut operands = Vec::new();
        while let Some(arg) = args.next() {
            if arg == "--" {
                operands.extend(args.by_ref());
            } else if let Some(long) = arg.strip_prefix("--") {
                let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
                let letter = match name {
                    "preserve-env" => 'E',
                    "set-home" => 'H',
                    "login" => 'i',
                    "role" => 'r',
                    "type" => 't',
                    "user" => 'u',
                    _ => return Err(format!("sudo: no such option: --{name}")),
                };
                let value = value.map(str::to_owned);
                let has_value = value.is_some();
                if options.take(letter, value.or_else(|| takes_value(letter).then(|| args.next()).flatten()))? {
                    continue;
                }
                return Err(if has_value {
                    format!("sudo: option --{name} takes no value")
                } else {
                    format!("sudo: option --{name} needs a value")
                });
            } else if let Some(letters) = arg.strip_prefix('-').filter(|letters| !letters.is_empty()) {
                for (at, letter) in letters.char_indices() {
                    if !takes_value(letter) {
                        options.take(letter, None)?;
                        continue;
                    }
                    let rest = &letters[at + letter.len_utf8()..];
                    let value = if rest.is_empty() { args.next() } else { Some(rest.to_owned()) };
                    if !options.take(letter, value)? {
                        return Err(format!("sudo: option -{letter} needs a value"));
                    }
                    break;
                }
            } else {
                operands.push(arg);
            }
        }
        if operands.is_empty() { Ok(options) } else { Err(format!("unsupported sudo arguments:{operands:?}")) }
    }

    /// Takes an option. Returns false if it needs a value and has none, or has a value and needs none.
    fn take(&mut self, letter: char, value: Option<String>) -> Result<bool, String> {
        if takes_value(letter) != value.is_some() {
            return Ok(false);
        }
        match letter {
            'E' => self.preserve_env = true,
            'H' => self.set_home = true,
            'i' => self.login = true,
            // We decide ourselves: we answer on the terminal if there is an answer.
            'S' | 'n' => {}
            'r' => self.selinux_role = self.selinux_role.take().or(value),
            't' => self.selinux_type = self.selinux_type.take().or(value),
            'u' => self.username = self.username.take().or(value),
            _ => return Err(format!("sudo: no such option: -{letter}")),
        }
        Ok(true)
    }
}

fn takes_value(letter: char) -> bool {
    matches!(letter, 'r' | 't' | 'u')
}

/// Advice if sudo asks for a password and there is none. Rules without a password often hold for some commands
/// only, and a shell is not among them.
const GIVE_OR_LIST: &str = "give one: ⟨-K, or --become-pass-file without a terminal|password()⟩; \
     rules without a password (NOPASSWD) have to allow a shell: see `sudo -l`";
/// Messages of sudo about a wrong password. If sudo asks the same question again, that means the same, in any
/// language.
const REFUSALS: [&str; 3] =
    ["incorrect password attempt", "no password was provided", "incorrect authentication attempt"];

/// Returns what the last lines of sudo mean.
pub(super) fn interpret(lines: &[String]) -> Option<Diagnosis> {
    let with = |words: &str| lines.iter().rev().find(|line| line.contains(words));
    if let Some(line) = with(" is not allowed to execute ") {
        // The command is left out: it is ours, and long.
        let who = line.split(" is not allowed").next().unwrap_or_default().trim_start_matches("Sorry, ");
        let whom = line.rsplit_once("' as ").map_or("", |(_, whom)| whom).trim_end_matches('.');
        let text = format!("sudo policy: {who} may not run a shell as {whom}");
        return Some(Diagnosis::new(ConnectErrorKind::Auth, text, "it takes a rule in sudoers"));
    }
    let policy = [
        "not in the sudoers file",
        " may not run sudo on ",
        " is not allowed to run sudo on ",
        "I'm sorry ",
        "sorry, you must have a tty",
        "you are not permitted to use the ",
        "not allowed to preserve the environment",
        "account validation failure",
        "account management error",
        "Account expired or ",
        "Account or password is expired",
        "Password expired, ",
        "unknown user",
        "unknown group",
        "sudo-rs: user ",
        "sudo-rs: group ",
        "command not found",
    ];
    if let Some(line) = policy.iter().find_map(|words| with(words)) {
        let text = format!("sudo policy: {}", line.trim_end_matches('.'));
        let is_missing = line.ends_with(": command not found");
        let cause = if is_missing { ConnectCause::NoShell } else { ConnectCause::Plain };
        return Some(Diagnosis { cause, ..Diagnosis::new(ConnectErrorKind::Auth, text, what_to_do(line)) });
    }
    // Other messages are checked first, because sudo prints this one after other refusals, too.
    if let Some(line) = with("a password is required") {
        let text = format!("sudo policy: {line}, to run a shell");
        return Some(Diagnosis::new(ConnectErrorKind::Password, text, GIVE_OR_LIST));
    }
    let broken = ["must be owned by uid 0", "effective uid is not 0", "no new privileges", "syntax error"];
    let line = broken.iter().find_map(|words| with(words))?;
    let advice = "see that sudo there is owned by root and setuid, and what `visudo -c` says";
    Some(Diagnosis::new(ConnectErrorKind::Start, format!("sudo does not work here: {line}"), advice))
}

/// Advice about a refusal of sudo.
fn what_to_do(line: &str) -> &'static str {
    let is_about = |words: &[&str]| words.iter().any(|word| line.contains(word));
    if is_about(&["unknown user", "sudo-rs: user "]) {
        "check the name of the user (`getent passwd` there lists them)"
    } else if is_about(&["unknown group", "sudo-rs: group "]) {
        "check the name of the group (`getent group` there lists them)"
    } else if is_about(&["command not found"]) {
        "see secure_path in sudoers there"
    } else if is_about(&["xpired", "validation failure", "management error"]) {
        "see `chage -l` for the account there"
    } else {
        "see `sudo -l` and sudoers there"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::remote_command::for_tests;

    fn argv(sudo: &Sudo) -> Result<String, String> {
        sudo.argv("P", &for_tests()).map(|argv| argv.join(" "))
    }

    #[test]
    fn the_command_line_has_what_was_asked_for_in_order() {
        assert_eq!(argv(&Sudo::default()).unwrap(), "sudo -p P -u root -- B x");
        let all = Sudo {
            username: Some("deploy".into()),
            sudo_path: Some("/opt/sudo".into()),
            preserve_env: true,
            set_home: true,
            login: true,
            selinux_role: Some("sysadm_r".into()),
            selinux_type: Some("sysadm_t".into()),
            ..Sudo::default()
        };
        assert_eq!(argv(&all).unwrap(), "/opt/sudo -p P -u deploy -E -H -i -r sysadm_r -t sysadm_t -- B x");
        assert_eq!(all.name(), "sudo.deploy");
    }

    #[test]
    fn arguments_in_sudos_own_words_are_read_and_lose_against_explicit_ones() {
        let of = |args: &[&str]| Sudo { sudo_args: args.iter().map(|s| (*s).to_owned()).collect(), ..Sudo::default() };
        let line = |args: &[&str]| argv(&of(args));
        assert_eq!(line(&["-H", "-E", "-S", "-n"]).unwrap(), "sudo -p P -u root -E -H -- B x");
        assert_eq!(line(&["-EHiu", "bob"]).unwrap(), "sudo -p P -u bob -E -H -i -- B x");
        assert_eq!(line(&["-ubob", "--role=r", "--type", "t"]).unwrap(), "sudo -p P -u bob -r r -t t -- B x");
        assert_eq!(line(&["--preserve-env", "--set-home", "--login"]).unwrap(), "sudo -p P -u root -E -H -i -- B x");
        assert_eq!(of(&["--user", "bob"]).name(), "sudo.bob");
        let explicit = Sudo { username: Some("amy".into()), ..of(&["-u", "bob"]) };
        assert_eq!(argv(&explicit).unwrap(), "sudo -p P -u amy -- B x");

        for (args, error) in [
            (&["-b"][..], "sudo: no such option: -b"),
            (&["--chroot=/x"], "sudo: no such option: --chroot"),
            (&["id"], "unsupported sudo arguments:[\"id\"]"),
            (&["-E", "--", "id"], "unsupported sudo arguments:[\"id\"]"),
            (&["-u"], "sudo: option -u needs a value"),
            (&["--login=x"], "sudo: option --login takes no value"),
        ] {
            assert_eq!(line(args).unwrap_err(), error);
        }
        assert!(argv(&Sudo { username: Some("-x".into()), ..Sudo::default() }).is_err());
    }

    /// Printed by sudo 1.9.13p3 and sudo-rs 0.2.5, with other names. The messages about an expired account and
    /// about a host without a name are from the source code.
    #[test]
    fn what_sudo_complains_of_is_understood() {
        for (said, kind, part) in [
            (
                "Sorry, user bob is not allowed to execute '/bin/sh -c A=1 B=2;x' as root on web1.",
                ConnectErrorKind::Auth,
                "user bob may not run a shell as root on web1",
            ),
            ("bob is not in the sudoers file.", ConnectErrorKind::Auth, "bob is not in the sudoers file"),
            ("Sorry, user bob may not run sudo on web1.", ConnectErrorKind::Auth, "user bob may not run sudo on web1"),
            ("sudo: sorry, you must have a tty to run sudo", ConnectErrorKind::Auth, "must have a tty"),
            ("sudo-rs: I'm sorry bob. I'm afraid I can't do that", ConnectErrorKind::Auth, "afraid"),
            ("sudo-rs: user 'nobody2' not found", ConnectErrorKind::Auth, "user 'nobody2' not found"),
            ("sudo: a password is required", ConnectErrorKind::Password, "a password is required, to run a shell"),
            ("sudo: unknown user nobody2", ConnectErrorKind::Auth, "unknown user nobody2"),
            (
                "sudo: Account expired or PAM config lacks an \"account\" section for sudo, contact your system administrator",
                ConnectErrorKind::Auth,
                "Account expired",
            ),
            (
                "sudo: The \"no new privileges\" flag is set, which prevents sudo from running as root.",
                ConnectErrorKind::Start,
                "does not work here",
            ),
            ("sudo: you are not permitted to use the -C option", ConnectErrorKind::Auth, "the -C option"),
            (
                "sudo: /usr/bin/sudo must be owned by uid 0 and have the setuid bit set",
                ConnectErrorKind::Start,
                "does not work here",
            ),
        ] {
            let Diagnosis { kind: found, text, .. } = interpret(&[said.to_owned()]).unwrap();
            assert_eq!(found, kind, "{said}");
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(interpret(&["sudo: unable to resolve host web1: Name or service not known".to_owned()]), None);
    }
}
