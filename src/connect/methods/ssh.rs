//! `ssh`: the user's own client, with the user's configuration.
//!
//! Except for the keepalive, we pass only options that were asked for. They come after the user's own options,
//! because OpenSSH uses the first value of an option.

mod config;
mod diagnosis;
mod keepalive;
#[cfg(feature = "cli")]
pub(crate) mod server;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use self::diagnosis::interpret;
use crate::connect::bootstrap::{Answer, Ask, Prompts, Sign};
use crate::connect::methods::remote_command::RemoteCommand;
use crate::connect::methods::{AnyMethod, Connect, Plan, Run, Variant};
use crate::wire::codec::Secret;

/// How to reach a machine by ssh. [`Router::ssh`](crate::Router::ssh) has an
/// example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SshOptions {
    /// Name or address, or an alias from `ssh_config`.
    pub hostname: String,
    /// User to log in as. Default: ssh decides.
    pub username: Option<String>,
    /// The client to run. Default: `ssh`.
    pub ssh_path: String,
    /// Port. Default: ssh decides.
    pub port: Option<u16>,
    /// What to do about host keys. Default: ssh decides.
    pub check_host_keys: CheckHostKeys,
    /// File of a private key.
    pub identity_file: Option<String>,
    /// The text to type if ssh asks for a password.
    pub password: Option<Secret>,
    /// The text to type if ssh asks for the passphrase of a key.
    pub passphrase: Option<Secret>,
    /// Whether ssh offers only the key of `identity_file` and, if there is a password, no keys of an agent.
    /// Default: true.
    pub identities_only: bool,
    /// Whether ssh compresses. Default: ssh decides, because compression slows bulk data down on all but slow
    /// lines.
    pub compression: Option<bool>,
    /// Arguments for ssh. They come before ours, so they take precedence.
    pub ssh_args: Vec<String>,
    /// How ssh finds out that the other end is gone. Default: 15 s and 3, unless the user's configuration sets
    /// it.
    pub keepalive: Option<Keepalive>,
    /// How many `-v` to pass, 0 to 3. Default: 0, which also suppresses warnings.
    pub ssh_debug_level: u8,
    /// Whether `keepalive` is known already, also if it is not set.
    #[serde(skip)]
    pub(crate) is_asked: bool,
}

/// What to do about host keys that are unknown or have changed.
///
/// ```no_run
/// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
/// use std::time::Duration;
///
/// use offshoot::connect::CheckHostKeys;
///
/// let ssh = router.ssh("web1").check_host_keys(CheckHostKeys::Accept);
/// let web = ssh.keepalive(Duration::from_secs(5), 2).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CheckHostKeys {
    /// The user's configuration decides.
    #[default]
    Config,
    /// Refuse unknown keys and changed keys.
    Enforce,
    /// Store unknown keys, refuse changed keys.
    Accept,
    /// Accept any key, store none.
    Ignore,
}

/// Requests from ssh to the server over an idle connection.
///
/// [`CheckHostKeys`] has an example with both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Time between two requests, in whole seconds. Zero switches them off.
    pub interval: Duration,
    /// How many requests may stay unanswered.
    pub count: u32,
}

impl Connect<SshOptions> {
    /// User to log in as. Default: ssh decides.
    pub fn username(mut self, user: impl Into<String>) -> Self {
        self.method.username = Some(user.into());
        self
    }

    /// Port. Default: ssh decides.
    pub fn port(mut self, port: u16) -> Self {
        self.method.port = Some(port);
        self
    }

    /// The client to run. Default: `ssh`.
    pub fn ssh_path(mut self, path: impl Into<String>) -> Self {
        self.method.ssh_path = path.into();
        self
    }

    /// What to do about host keys that are unknown or have changed. Default: ssh decides.
    pub fn check_host_keys(mut self, check: CheckHostKeys) -> Self {
        self.method.check_host_keys = check;
        self
    }

    /// File of a private key. Default: ssh decides.
    pub fn identity_file(mut self, path: impl Into<String>) -> Self {
        self.method.identity_file = Some(path.into());
        self
    }

    /// The password to type if ssh asks for one. Default: none, and then ssh is run so that it does not ask.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.method.password = Some(password.into());
        self
    }

    /// The passphrase of the keys that are used. Default: none.
    pub fn passphrase(mut self, passphrase: impl Into<Secret>) -> Self {
        self.method.passphrase = Some(passphrase.into());
        self
    }

    /// Whether ssh offers only the key of [`Connect::identity_file`] and, if there is a password, no keys of an
    /// agent. Default: true.
    pub fn identities_only(mut self, on: bool) -> Self {
        self.method.identities_only = on;
        self
    }

    /// Whether ssh compresses. Default: ssh decides.
    pub fn compression(mut self, on: bool) -> Self {
        self.method.compression = Some(on);
        self
    }

    /// How ssh finds out that the other end is gone: it sends a request each `interval`, and `count` requests
    /// may stay unanswered. ssh counts the interval in whole seconds. An interval of zero switches this off.
    /// Default: 15 s and 3, unless the ssh configuration of the user who runs ssh sets `ServerAliveInterval`
    /// for the host. (If a file of this configuration switches it off for some host, no host gets the default;
    /// only intervals in the configuration count.)
    #[doc(alias = "keepalive_enabled")]
    #[doc(alias = "keepalive_count")]
    #[doc(alias = "keepalive_interval")]
    pub fn keepalive(mut self, interval: Duration, count: u32) -> Self {
        self.method.keepalive = Some(Keepalive { interval, count });
        self
    }

    /// Arguments for ssh. They come before all others, so they take precedence.
    pub fn ssh_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.method.ssh_args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Puts arguments for ssh before all others.
    #[cfg(feature = "cli")]
    pub(crate) fn ssh_args_first(mut self, args: &[&str]) -> Self {
        self.method.ssh_args.splice(0..0, args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// How much ssh prints about itself, 0 to 3. Its output goes to the log. Default: 0.
    pub fn ssh_debug_level(mut self, level: u8) -> Self {
        self.method.ssh_debug_level = level;
        self
    }
}

impl SshOptions {
    /// Options for `hostname`. All others have their defaults.
    pub fn new(hostname: impl Into<String>) -> Self {
        Self {
            hostname: hostname.into(),
            username: None,
            ssh_path: "ssh".into(),
            port: None,
            check_host_keys: CheckHostKeys::default(),
            identity_file: None,
            password: None,
            passphrase: None,
            identities_only: true,
            compression: None,
            ssh_args: Vec::new(),
            keepalive: None,
            ssh_debug_level: 0,
            is_asked: false,
        }
    }

    /// The context's name, such as `ssh.web1` or `ssh.web1:2222`.
    pub(crate) fn name(&self) -> String {
        match self.port {
            Some(port) if port != DEFAULT_PORT => format!("ssh.{}:{port}", self.hostname),
            _ => format!("ssh.{}", self.hostname),
        }
    }

    pub(super) fn plan(&self, remote: &RemoteCommand, limit: Duration, has_answerer: bool) -> Result<Plan, String> {
        let on_terminal = has_answerer || self.may_be_asked();
        let argv = self.argv(&remote.line(), limit, on_terminal)?;
        Ok(if on_terminal {
            Plan::on_terminal(argv, self.prompts(), interpret)
        } else {
            Plan::new(Run::Command(argv), interpret)
        })
    }

    /// Whether ssh might ask a question that can be answered.
    fn may_be_asked(&self) -> bool {
        self.password.is_some() || self.passphrase.is_some() || self.check_host_keys == CheckHostKeys::Accept
    }

    fn prompts(&self) -> Prompts {
        let who = match &self.username {
            Some(user) => format!("{user}@{}", self.hostname),
            None => self.hostname.clone(),
        };
        let secret = |secret: &Option<Secret>, realm: &str, reusable| Answer::Secret {
            secret: secret.clone(),
            missing: format!("{realm} was requested, but none specified, for {who}"),
            give: "give one: ⟨--ask-pass, or --pass-file without a terminal|password()⟩",
            wrong: format!("{realm} is incorrect, for {who}"),
            reusable,
        };
        let host_key = match self.check_host_keys {
            CheckHostKeys::Accept => Answer::Words("yes"),
            _ => Answer::Refuse(diagnosis::unknown_host_key(&format!(" of {who}"))),
        };
        let passphrase = match (&self.passphrase, &self.password) {
            // There is only a password: an empty passphrase lets ssh continue with it.
            (None, Some(_)) => Answer::Words(""),
            (passphrase, _) => secret(passphrase, "SSH key passphrase", true),
        };
        let asks = vec![
            Ask::new(Sign::Between("are you sure you want to continue connecting (yes/no", '?'), host_key),
            Ask::new(Sign::Between("enter passphrase for ", ':'), passphrase),
            Ask::new(Sign::Between("password", ':'), secret(&self.password, "SSH password", false)),
        ];
        let refusals = vec!["permission denied (".into(), "permission denied, please try again".into()];
        let mut prompts = Prompts::new(asks, refusals);
        prompts.refusals_begin = true;
        prompts
    }

    /// The command line that runs `remote_command` on the machine.
    ///
    /// # Errors
    ///
    /// Returns which option cannot be passed on, and why.
    fn argv(&self, remote_command: &str, connect_timeout: Duration, on_terminal: bool) -> Result<Vec<String>, String> {
        self.check()?;
        if let Some(words) = runs_no_command(&self.ssh_args) {
            return Err(format!("`{words}` has ssh run no command, so nothing can be started there; leave it out"));
        }
        let mut argv = vec![self.ssh_path.clone()];
        argv.extend_from_slice(&self.ssh_args);
        let mut option = |name: &str, value: &str| argv.extend(["-o".into(), format!("{name}={value}")]);
        match self.ssh_debug_level {
            // This also keeps banners out of the output that is interpreted.
            0 => option("LogLevel", "ERROR"),
            level => argv.push(format!("-{}", "v".repeat(usize::from(level.min(3))))),
        }
        let mut option = |name: &str, value: &str| argv.extend(["-o".into(), format!("{name}={value}")]);
        // Without a terminal, questions cannot be answered. With a terminal, they are wanted.
        option("BatchMode", if on_terminal { "no" } else { "yes" });
        // ssh takes whole seconds, and 0 would switch the limit off.
        option("ConnectTimeout", &whole_seconds(connect_timeout).to_string());
        if let Some(keepalive) = self.keepalive {
            let interval = if keepalive.interval.is_zero() { 0 } else { whole_seconds(keepalive.interval) };
            option("ServerAliveInterval", &interval.to_string());
            option("ServerAliveCountMax", &keepalive.count.to_string());
        }
        if let Some(compression) = self.compression {
            option("Compression", if compression { "yes" } else { "no" });
        }
        match self.check_host_keys {
            CheckHostKeys::Config => {}
            CheckHostKeys::Enforce => option("StrictHostKeyChecking", "yes"),
            CheckHostKeys::Accept => option("StrictHostKeyChecking", "accept-new"),
            CheckHostKeys::Ignore => {
                option("StrictHostKeyChecking", "no");
                option("UserKnownHostsFile", "/dev/null");
                option("GlobalKnownHostsFile", "/dev/null");
            }
        }
        if self.identities_only && (self.identity_file.is_some() || self.password.is_some()) {
            option("IdentitiesOnly", "yes");
        }
        if let Some(file) = &self.identity_file {
            argv.extend(["-i".into(), file.clone()]);
        }
        if let Some(user) = &self.username {
            argv.extend(["-l".into(), user.clone()]);
        }
        if let Some(port) = self.port
            && !self.ssh_args.windows(2).any(|pair| pair[0] == "-p" && pair[1] == port.to_string())
        {
            argv.extend(["-p".into(), port.to_string()]);
        }
        // A terminal at the far end, as with `RequestTTY force`, would damage the bytes.
        argv.extend(["-T".into(), "--".into(), self.destination().into(), remote_command.into()]);
        Ok(argv)
    }

    /// The host in the form that ssh takes: an address without brackets.
    fn destination(&self) -> &str {
        let host = self.hostname.as_str();
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    fn check(&self) -> Result<(), String> {
        // These names end up in the user's ProxyCommand and Match exec, where a shell reads them. OpenSSH has
        // refused the same characters since 9.6.
        let dangerous = |c: char| c.is_control() || "'`\"$\\;&<>|(){}".contains(c);
        let host = self.destination();
        if host.is_empty() || host.starts_with('-') || host.contains(|c| dangerous(c) || c.is_whitespace()) {
            return Err(format!(
                "ssh hostname {:?} is not a host name; check the inventory or the expression",
                self.hostname
            ));
        }
        if let Some(user) = &self.username
            && (user.is_empty() || user.starts_with('-') || user.contains(|c| dangerous(c) && !"$\\".contains(c)))
        {
            return Err(format!("ssh username {user:?} is not a user name"));
        }
        if self.port == Some(0) {
            return Err("ssh port 0 is not a port; leave it out to let ssh decide".into());
        }
        if self.ssh_path.is_empty() {
            return Err("ssh_path is empty; leave it out for `ssh`".into());
        }
        let files = [Some(&self.ssh_path), self.identity_file.as_ref()];
        match files.into_iter().flatten().chain(&self.ssh_args).find(|argument| argument.contains('\0')) {
            Some(argument) => Err(format!("ssh argument {argument:?} has a NUL in it")),
            None => Ok(()),
        }
    }
}

/// The option that makes ssh run no command, if there is one.
fn runs_no_command(args: &[String]) -> Option<String> {
    let is_none = |setting: &str| {
        let setting = setting.trim().to_ascii_lowercase();
        let value = setting.strip_prefix("sessiontype").map(|value| value.trim_start_matches([' ', '\t', '=']));
        value.is_some_and(|value| matches!(value.trim_matches('"'), "none" | "subsystem"))
    };
    let mut before = "";
    for word in args {
        if before == "-o" && is_none(word) {
            return Some(format!("-o {word}"));
        }
        if word == "-N" || word == "-s" || word.strip_prefix("-o").is_some_and(is_none) {
            return Some(word.clone());
        }
        before = word;
    }
    None
}

fn whole_seconds(time: Duration) -> u64 {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).max(1)
}

const DEFAULT_PORT: u16 = 22;

impl From<SshOptions> for AnyMethod {
    fn from(ssh: SshOptions) -> Self {
        Self(Variant::Ssh(ssh))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::Run;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn by_default_the_users_configuration_decides() {
        let argv = SshOptions::new("web1").argv("sh -c 'x'", Duration::from_millis(9_001), false).unwrap();
        assert_eq!(argv.join(" "), "ssh -o LogLevel=ERROR -o BatchMode=yes -o ConnectTimeout=10 -T -- web1 sh -c 'x'");
        assert_eq!(argv.last().unwrap(), "sh -c 'x'");
    }

    #[test]
    fn everything_that_was_asked_for_comes_behind_the_users_arguments() {
        let options = SshOptions {
            username: Some("deploy".into()),
            ssh_path: "/opt/ssh".into(),
            port: Some(2222),
            check_host_keys: CheckHostKeys::Ignore,
            identity_file: Some("my key".into()),
            compression: Some(true),
            ssh_args: vec!["-J".into(), "bastion".into()],
            keepalive: Some(Keepalive { interval: Duration::from_secs(15), count: 3 }),
            ssh_debug_level: 9,
            ..SshOptions::new("[::1]")
        };
        assert_eq!(
            options.argv("cmd", TEN, false).unwrap().join("|"),
            "/opt/ssh|-J|bastion|-vvv|-o|BatchMode=yes|-o|ConnectTimeout=10|-o|ServerAliveInterval=15\
             |-o|ServerAliveCountMax=3|-o|Compression=yes|-o|StrictHostKeyChecking=no\
             |-o|UserKnownHostsFile=/dev/null|-o|GlobalKnownHostsFile=/dev/null|-o|IdentitiesOnly=yes\
             |-i|my key|-l|deploy|-p|2222|-T|--|::1|cmd"
        );
    }

    #[test]
    fn host_key_checking_has_four_settings() {
        let strictness = |check_host_keys| {
            let argv = SshOptions { check_host_keys, ..SshOptions::new("h") }.argv("c", TEN, false).unwrap();
            argv.into_iter().find_map(|argument| Some(argument.strip_prefix("StrictHostKeyChecking=")?.to_owned()))
        };
        assert_eq!(strictness(CheckHostKeys::Config), None);
        assert_eq!(strictness(CheckHostKeys::Enforce).unwrap(), "yes");
        assert_eq!(strictness(CheckHostKeys::Accept).unwrap(), "accept-new");
        assert_eq!(strictness(CheckHostKeys::Ignore).unwrap(), "no");
    }

    #[test]
    fn a_terminal_is_there_where_something_may_be_asked_and_then_questions_are_wanted() {
        let nonce = crate::connect::bootstrap::Nonce::from_bytes([7; 16]);
        let remote = RemoteCommand::staged(&nonce, &[], "sh", false);
        let on_terminal = |options: SshOptions, has_answerer| {
            let plan = options.plan(&remote, TEN, has_answerer).unwrap();
            let Run::Command(argv) = plan.run else { panic!("a command") };
            let is_terminal = plan.stdio == crate::sys::process::Stdio::Terminal;
            assert_eq!(argv.contains(&"BatchMode=no".to_owned()), is_terminal);
            assert_eq!(argv.contains(&"BatchMode=yes".to_owned()), !is_terminal);
            is_terminal
        };
        let new = || SshOptions::new("h");
        let checking = |check_host_keys| SshOptions { check_host_keys, ..new() };
        assert!(on_terminal(SshOptions { password: Some("x".into()), ..new() }, false));
        assert!(on_terminal(SshOptions { passphrase: Some("x".into()), ..new() }, false));
        assert!(on_terminal(checking(CheckHostKeys::Accept), false));
        assert!(on_terminal(new(), true));
        for check_host_keys in [CheckHostKeys::Config, CheckHostKeys::Enforce, CheckHostKeys::Ignore] {
            assert!(!on_terminal(checking(check_host_keys), false));
        }
    }

    #[test]
    fn a_port_that_is_among_the_arguments_is_given_once() {
        let ports = |args: &[&str]| {
            let ssh_args = args.iter().map(|word| (*word).to_owned()).collect();
            let options = SshOptions { ssh_args, port: Some(22922), ..SshOptions::new("web1") };
            options.argv("c", TEN, false).unwrap().iter().filter(|word| *word == "22922").count()
        };
        assert_eq!((ports(&[]), ports(&["-p", "22922"]), ports(&["-v", "-p", "22"])), (1, 1, 1));
    }

    #[test]
    fn names_leave_out_the_default_port() {
        let name = |port| SshOptions { port, ..SshOptions::new("web1") }.name();
        assert_eq!(name(None), "ssh.web1");
        assert_eq!(name(Some(22)), "ssh.web1");
        assert_eq!(name(Some(2222)), "ssh.web1:2222");
    }

    #[test]
    fn arguments_that_have_ssh_run_no_command_are_refused_by_name() {
        let argv = |args: &[&str]| {
            let ssh_args = args.iter().map(|word| (*word).to_owned()).collect();
            SshOptions { ssh_args, ..SshOptions::new("h") }.argv("c", TEN, false)
        };
        for args in [
            &["-N"][..],
            &["-s"],
            &["-v", "-o", "SessionType=none"],
            &["-oSessionType none"],
            &["-osessiontype = none"],
            &["-o", "SessionType=subsystem"],
        ] {
            let error = argv(args).unwrap_err();
            assert!(error.contains(args[args.len() - 1]) && error.contains("run no command"), "{error}");
        }
        for args in [&["-o", "SessionType=default"][..], &["-n"], &["-oUser=none"]] {
            assert!(argv(args).is_ok(), "{args:?}");
        }
    }

    #[test]
    fn what_a_shell_or_ssh_could_take_for_something_else_is_refused() {
        for host in ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "a\nb", "[]", "[-x]"] {
            let error = SshOptions::new(host).argv("c", TEN, false).unwrap_err();
            assert!(error.starts_with("ssh hostname ") && error.contains("not a host name"), "{error}");
        }
        for user in ["", "-x", "a;b", "`x`"] {
            let options = SshOptions { username: Some(user.into()), ..SshOptions::new("h") };
            assert!(options.argv("c", TEN, false).unwrap_err().contains("is not a user name"), "{user}");
        }
        let options = SshOptions { username: Some("DOMAIN\\user".into()), ..SshOptions::new("h") };
        assert!(options.argv("c", TEN, false).is_ok());
        assert!(SshOptions { port: Some(0), ..SshOptions::new("h") }.argv("c", TEN, false).is_err());
        assert!(SshOptions { ssh_args: vec!["a\0".into()], ..SshOptions::new("h") }.argv("c", TEN, false).is_err());
    }
}
