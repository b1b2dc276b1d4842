//! Existing containers, pods and jails, and temporary containers, by the client of the engine that runs them.
//!
//! They differ only in one line of `engines!`. None gets a terminal, because a terminal would change the bytes.

use serde::{Deserialize, Serialize};

use crate::api::router::Router;
use crate::connect::bootstrap::tool_words::cannot_fork;
use crate::connect::bootstrap::{Diagnosis, Nonce, is_helpless};
use crate::connect::methods::remote_command::{RemoteCommand, check_user};
use crate::connect::methods::{AnyMethod, Connect, Plan, Run, Variant};
use crate::sys::quote::quote;
use crate::wire::error::{ConnectCause, ConnectError, ConnectErrorKind};

/// A process in a container: what every engine needs to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Container {
    engine: Engine,
    /// Name of the container, pod or jail; empty for a temporary one.
    target: String,
    /// The container image of a temporary container.
    image: Option<String>,
    username: Option<String>,
    program: Option<String>,
    args: Vec<String>,
}

const TEMPORARY: &str = "run --interactive --user=USER --rm TARGET";

/// What differs between the engines: the type of their method, the option for their client, the name, the
/// client, the client's arguments up to the command, and what kind of thing they run. In the arguments, TARGET
/// is the container, ARGS are the caller's additional arguments, and USER begins the option for a user and is
/// left out if no user is given. An engine without users has no `username`.
macro_rules! engines {
    ($($method:ident $path:ident: $name:literal $client:literal $arguments:literal, $of:literal;)*) => {
        /// The engine that runs a container.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub(crate) enum Engine {
            $($method,)*
        }

        impl Engine {
            pub(crate) const ALL: &[Self] = &[$(Self::$method,)*];

            fn facts(self) -> (&'static str, &'static str, &'static str) {
                match self {
                    $(Self::$method => ($name, $client, $arguments),)*
                }
            }
        }

        $(
            #[doc = concat!("How to get into ", $of, "; see [`Router`](crate::Router).")]
            #[derive(Clone, Debug)]
            pub struct $method(Container);

            impl $method {
                pub(crate) fn new(target: String) -> Self {
                    Self(Container::new(Engine::$method, target))
                }
            }

            impl From<$method> for AnyMethod {
                fn from(method: $method) -> Self {
                    method.0.into()
                }
            }

            impl Connect<$method> {
                #[doc = concat!("The program to run. Default: `", $client, "`.")]
                pub fn $path(mut self, path: impl Into<String>) -> Self {
                    self.method.0.program = Some(path.into());
                    self
                }
            }
        )*
    };
}

// kubectl accepts `-t`, too, and then warns that it has no terminal to pass on (it prints: "input is not a
// terminal"). If it had a terminal, the terminal would change the bytes.
engines! {
    Docker docker_path: "docker" "docker" "exec --interactive --user=USER TARGET", "a docker container";
    Podman podman_path: "podman" "podman" "exec --user=USER --interactive -- TARGET", "a podman container";
    Buildah buildah_path: "buildah" "buildah" "run --user=USER -- TARGET", "a working container of buildah";
    Kubectl kubectl_path: "kubectl" "kubectl" "ARGS exec -i TARGET --", "a pod of Kubernetes";
    Lxc lxc_attach_path: "lxc" "lxc-attach" "--clear-env --name TARGET --", "a classic LXC container";
    Lxd lxc_path: "lxd" "lxc" "exec --mode=noninteractive TARGET --", "an LXD instance";
    Incus incus_path: "incus" "incus" "exec --mode=non-interactive TARGET --", "an Incus instance";
    Jail jexec_path: "jail" "/usr/sbin/jexec" "-U=USER TARGET", "a FreeBSD jail";
}

/// For paths, which use the names of the engines.
impl Engine {
    pub(crate) fn name(self) -> &'static str {
        self.facts().0
    }

    pub(crate) fn takes_user(self) -> bool {
        self.facts().2.contains("USER")
    }

    pub(crate) fn connect(self, router: &Router, target: &str, user: Option<&String>) -> Connect<AnyMethod> {
        let username = user.cloned();
        let container = Container { username, ..Container::new(self, target.to_owned()) };
        Connect::new(router, AnyMethod(Variant::Container(container)))
    }
}

impl From<Container> for AnyMethod {
    fn from(container: Container) -> Self {
        Self(Variant::Container(container))
    }
}

macro_rules! users {
    ($($name:ident)*) => { $(
        impl Connect<$name> {
            /// User to become in the container. Default: the user that the container sets.
            pub fn username(mut self, user: impl Into<String>) -> Self {
                self.method.0.username = Some(user.into());
                self
            }
        }
    )* };
}

users! { Docker Podman Buildah Jail }

impl Docker {
    /// A temporary container of `image`. It is removed when the context ends.
    pub(crate) fn of_image(image: String) -> Self {
        let Self(container) = Self::new(String::new());
        Self(Container { image: Some(image), ..container })
    }
}

impl Connect<Kubectl> {
    /// Options for kubectl, such as `["-n", "prod", "-c", "app"]`. Default:
    /// none.
    pub fn kubectl_args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.method.0.args.extend(args.into_iter().map(Into::into));
        self
    }
}

impl Container {
    fn new(engine: Engine, target: String) -> Self {
        Self { engine, target, image: None, username: None, program: None, args: Vec::new() }
    }

    /// Such as `docker.app`. Pods with the same name differ in the options.
    pub(super) fn name(&self) -> String {
        let (name, ..) = self.engine.facts();
        let args = self.args.join(" ");
        let args = if args.is_empty() { args } else { format!("[{args}]") };
        format!("{name}.{}{args}", self.what())
    }

    /// Advice for a connect that has ended without a known reason.
    pub(super) fn note(&self) -> &'static str {
        match self.engine {
            Engine::Lxc | Engine::Lxd => {
                "Note: many versions of LXC do not report program execution failure meaningfully. \
                 Please check the host logs (/var/log) for more information."
            }
            Engine::Incus => {
                "Note: many versions of Incus do not report program execution failure meaningfully. \
                 Please check the host logs (/var/log) for more information."
            }
            _ => "",
        }
    }

    pub(super) fn plan(&self, remote: &RemoteCommand) -> Result<Plan, String> {
        let mut argv = self.argv()?;
        argv.extend(remote.words());
        Ok(Plan::new(Run::Command(argv), interpret))
    }

    /// Whether the error shows that files have to be copied in, and the engine has a client for that. The
    /// client of kubectl would run `tar` in the container.
    pub(super) fn may_copy(&self, error: &ConnectError) -> bool {
        let copies = matches!(self.engine, Engine::Docker | Engine::Podman | Engine::Buildah) && self.image.is_none();
        copies && (error.cause == ConnectCause::NoShell || is_helpless(error))
    }

    /// The plan for a container where no first stage can run.
    pub(super) fn plan_copying(&self, nonce: &Nonce) -> Result<Plan, String> {
        let quoted = |argv: Vec<String>| argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ");
        let enter = quoted(self.argv()?);
        let enter_as_root = quoted(Self { username: Some("0".into()), ..self.clone() }.argv()?);
        let (_, program, _) = self.engine.facts();
        let client = quote(self.program.as_deref().unwrap_or(program));
        let target = quote(&self.target);
        let (machine, copy) = match self.engine {
            Engine::Buildah => (
                format!(r#"u="Linux $({client} inspect --format {{{{.OCIv1.Architecture}}}} {target})""#),
                format!(r#"{client} copy --quiet --chmod 0755 {target} "$p" "/$f""#),
            ),
            engine => {
                let temporary = if engine == Engine::Podman { TMPFS } else { "" };
                (
                    format!(
                        r#"b=$({client} inspect --format "{}{temporary}{}" {target});v=${{b#*|}};v=${{v%%|*}};"#,
                        WRITABLE[0], WRITABLE[1],
                    ) + &format!(r#"u="Linux $({client} image inspect --format {{{{.Architecture}}}} "${{b%%|*}}")""#),
                    format!(r#"{client} cp "$p" {target}:"$v/""#),
                )
            }
        };
        let functions =
            format!(r#"m(){{ {machine};}};y(){{ {copy};}};e(){{ exec {enter} "$@";}};r(){{ {enter_as_root} "$@";}};"#);
        Ok(Plan::new(Run::Command(RemoteCommand::copied(nonce, &functions).words()), interpret))
    }

    fn what(&self) -> &str {
        self.image.as_deref().unwrap_or(&self.target)
    }

    /// The client's command line, without the command that it runs in the container.
    fn argv(&self) -> Result<Vec<String>, String> {
        let (name, program, arguments) = self.engine.facts();
        match (self.target.is_empty(), &self.image) {
            (true, None) => return Err(format!("{name} needs the name of a container")),
            (false, Some(_)) => return Err(format!("{name} takes a container or an image, not both")),
            _ => {}
        }
        if self.what().starts_with('-') || self.what().contains(char::is_control) {
            return Err(format!("{name} has no container called {:?}", self.what()));
        }
        if let Some(user) = &self.username {
            check_user(name, user)?;
        }
        let mut argv = vec![self.program.as_deref().unwrap_or(program).to_owned()];
        for word in if self.image.is_some() { TEMPORARY } else { arguments }.split(' ') {
            match (word.strip_suffix("USER"), &self.username) {
                (None, _) if word == "TARGET" => argv.push(self.what().to_owned()),
                (None, _) if word == "ARGS" => argv.extend_from_slice(&self.args),
                (None, _) => argv.push(word.to_owned()),
                (Some(option), Some(user)) if option.starts_with("--") => argv.push(option.to_owned() + user),
                (Some(option), Some(user)) => argv.extend([option.trim_end_matches('=').to_owned(), user.clone()]),
                (Some(_), None) => {}
            }
        }
        Ok(argv)
    }
}

/// A template, in double quotes of a shell. It prints the image of a container and, if the container's root is
/// read-only, the places that are writable, each followed by `|`. For podman, [`TMPFS`] stands between the two
/// parts, because only podman can copy to temporary file systems.
const WRITABLE: [&str; 2] = [
    "{{.Image}}|{{if .HostConfig.ReadonlyRootfs}}",
    "{{range .Mounts}}{{if .RW}}{{.Destination}}|{{end}}{{end}}{{end}}",
];
const TMPFS: &str = r"{{range \$k,\$o := .HostConfig.Tmpfs}}{{\$k}}|{{end}}";

/// Messages of engines, in lower case, with their meaning and the advice. Messages that name a cause come
/// before messages that may only follow from it.
const FAULTS: [(ConnectErrorKind, &str, &str, &[&str]); 11] = [
    (
        ConnectErrorKind::Auth,
        "permission denied on the engine's socket",
        "become root or one of the group that may use it",
        &[
            "permission denied while trying to connect",
            ": connect: permission denied",
            "not accessible: permission denied",
            "privileges to control",
            "needed permissions to talk to",
            "you lack access to",
        ],
    ),
    (
        ConnectErrorKind::Start,
        "the engine is not running",
        "start it, or tell its client where it listens",
        &[
            "cannot connect to the docker daemon",
            "failed to connect to the docker api",
            ": connect: connection refused",
            ": connect: no such file or directory",
            "unable to connect to the server",
            "did you specify the right host or port",
        ],
    ),
    (
        ConnectErrorKind::Auth,
        "the API server refuses",
        "see `kubectl auth can-i create pods/exec`",
        &["(forbidden)", "(unauthorized)"],
    ),
    (
        ConnectErrorKind::Start,
        "no such container",
        "look at the list of those that there are",
        &[
            "no such container",
            "container not known",
            "instance not found",
            "error: not found",
            "is not defined",
            "(notfound)",
            "container not found",
            "is not valid for pod",
            "jexec: jail ",
        ],
    ),
    (
        ConnectErrorKind::Start,
        "the container is not running, or there is none of that name",
        "start it, or look at the list of those that there are",
        &["failed to get init pid"],
    ),
    (ConnectErrorKind::Start, "the container is paused", "unpause it", &["is paused", "is frozen"]),
    (
        ConnectErrorKind::Start,
        "the container is not running",
        "start it, or unpause it",
        &["is not running", "container state improper", "in a completed pod", "is stopped"],
    ),
    (
        ConnectErrorKind::Auth,
        "no such user in the container",
        "name one that its /etc/passwd has",
        &["unable to find user", "no matching entries in passwd", "unknown user"],
    ),
    (
        ConnectErrorKind::Start,
        "no such image",
        "pull or build it first",
        &["no such image", "unable to find image", "pull access denied"],
    ),
    (
        ConnectErrorKind::NoPlace,
        "the container is read-only, so no image can be copied into it",
        "give it a volume that can be written to, or a shell and such a place",
        &["rootfs is marked read-only", "copier: put: error creating"],
    ),
    (
        ConnectErrorKind::Unsupported,
        "there is no shell in the container",
        "give the path of one by shell, or that of a copy of this program by binary",
        &[
            "executable file not found",
            "executable file `",
            "failed to exec \"",
            "error: command not found",
            "jexec: exec",
        ],
    ),
];

/// What the last lines of an engine's client mean.
pub(super) fn interpret(lines: &[String]) -> Option<Diagnosis> {
    if let Some(line) = cannot_fork(lines) {
        return Some(Diagnosis::no_processes(line));
    }
    FAULTS.iter().find_map(|(kind, meaning, remedy, words)| {
        let says = |line: &&String| words.iter().any(|words| line.to_lowercase().contains(words));
        let line = lines.iter().rev().find(says)?;
        let cause = if *kind == ConnectErrorKind::Unsupported { ConnectCause::NoShell } else { ConnectCause::Plain };
        Some(Diagnosis { cause, ..Diagnosis::new(*kind, format!("{meaning} ({line})"), *remedy) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::methods::remote_command::for_tests;

    fn argv(method: impl Into<AnyMethod>) -> String {
        match method.into().0 {
            Variant::Container(container) => match container.plan(&for_tests()) {
                Ok(Plan { run: Run::Command(argv), .. }) => argv.join(" "),
                other => format!("{other:?}"),
            },
            other => format!("{other:?}"),
        }
    }

    macro_rules! with {
        ($name:ident $target:literal $(, $field:ident = $value:expr)*) => {
            $name(Container { $($field: $value.into(),)* ..$name::new($target.into()).0 })
        };
    }

    #[test]
    fn the_command_lines_are_those_that_each_client_takes() {
        let user = || Some("bob".to_owned());
        let at = |path: &str| Some(path.to_owned());
        for (line, expected) in [
            (argv(with!(Docker "app")), "docker exec --interactive app B x"),
            (argv(with!(Docker "app", username = user())), "docker exec --interactive --user=bob app B x"),
            (argv(with!(Docker "", image = at("r/i:1"))), "docker run --interactive --rm r/i:1 B x"),
            (
                argv(with!(Docker "", image = at("i"), username = user(), program = at("/opt/docker"))),
                "/opt/docker run --interactive --user=bob --rm i B x",
            ),
            (argv(with!(Podman "app")), "podman exec --interactive -- app B x"),
            (argv(with!(Podman "app", username = user())), "podman exec --user=bob --interactive -- app B x"),
            (argv(with!(Buildah "w")), "buildah run -- w B x"),
            (argv(with!(Buildah "w", username = user())), "buildah run --user=bob -- w B x"),
            (argv(with!(Kubectl "web")), "kubectl exec -i web -- B x"),
            (argv(with!(Kubectl "web", args = ["-n".to_owned(), "prod".into()])), "kubectl -n prod exec -i web -- B x"),
            (argv(with!(Lxc "c1")), "lxc-attach --clear-env --name c1 -- B x"),
            (argv(with!(Lxd "c1")), "lxc exec --mode=noninteractive c1 -- B x"),
            (argv(with!(Incus "c1")), "incus exec --mode=non-interactive c1 -- B x"),
            (argv(with!(Jail "j")), "/usr/sbin/jexec j B x"),
            (argv(with!(Jail "j", username = user())), "/usr/sbin/jexec -U bob j B x"),
            (argv(with!(Jail "j", program = at("jexec"))), "jexec j B x"),
        ] {
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_context_is_called_by_its_container() {
        let name = |method: AnyMethod| match method.0 {
            Variant::Container(container) => container.name(),
            other => format!("{other:?}"),
        };
        assert_eq!(name(with!(Docker "app").into()), "docker.app");
        assert_eq!(name(with!(Docker "", image = Some("r/i:1".to_owned())).into()), "docker.r/i:1");
        assert_eq!(name(with!(Kubectl "web", args = ["-n".to_owned(), "prod".into()]).into()), "kubectl.web[-n prod]");
        assert_eq!(name(with!(Lxd "c1").into()), "lxd.c1");
    }

    #[test]
    fn where_there_is_no_shell_the_client_copies_and_words_of_others_stay_words() {
        let functions = |container: Container| {
            let plan = container.plan_copying(&Nonce::from_bytes([7; 16])).unwrap();
            let Run::Command(argv) = plan.run else { panic!("a command") };
            assert_eq!(argv[..2], ["sh", "-c"]);
            argv[2].split_once(';').unwrap().1.split_once("set +C").unwrap().0.to_owned()
        };
        let docker = with!(Docker "app", username = Some("bob".to_owned())).0;
        let expected = concat!(
            r#"m(){ b=$(docker inspect --format "{{.Image}}|{{if .HostConfig.ReadonlyRootfs}}"#,
            r#"{{range .Mounts}}{{if .RW}}{{.Destination}}|{{end}}{{end}}{{end}}" app);v=${b#*|};v=${v%%|*};"#,
            r#"u="Linux $(docker image inspect --format {{.Architecture}} "${b%%|*}")";};"#,
            r#"y(){ docker cp "$p" app:"$v/";};e(){ exec docker exec --interactive --user=bob app "$@";};"#,
            r#"r(){ docker exec --interactive --user=0 app "$@";};"#,
        );
        assert_eq!(functions(docker), expected);
        let buildah = with!(Buildah "w").0;
        let expected = concat!(
            r#"m(){ u="Linux $(buildah inspect --format {{.OCIv1.Architecture}} w)";};"#,
            r#"y(){ buildah copy --quiet --chmod 0755 w "$p" "/$f";};e(){ exec buildah run -- w "$@";};"#,
            r#"r(){ buildah run --user=0 -- w "$@";};"#,
        );
        assert_eq!(functions(buildah), expected);
        let nasty = functions(with!(Podman "a;id '$(id)' @X@").0);
        assert!(nasty.contains(r#"y(){ podman cp "$p" 'a;id '\''$(id)'\'' @X@':"$v/";};"#), "{nasty}");
        assert!(
            nasty.contains(r#"ReadonlyRootfs}}{{range \$k,\$o := .HostConfig.Tmpfs}}{{\$k}}|{{end}}{{range"#),
            "{nasty}"
        );
    }

    #[test]
    fn what_is_no_container_is_refused_before_anything_is_run() {
        for (line, part) in [
            (argv(with!(Docker "")), "docker needs the name of a container"),
            (argv(with!(Docker "a", image = Some("i".to_owned()))), "not both"),
            (argv(with!(Lxc "-n")), "no container called"),
            (argv(with!(Docker "", image = Some("--privileged".to_owned()))), "no container called"),
            (argv(with!(Podman "a\nb")), "no container called"),
            (argv(with!(Podman "a", username = Some("-x".to_owned()))), "is not a user name"),
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn what_engines_complain_of_is_understood() {
        for (said, kind, meaning) in [
            ("Error: No such container: app", ConnectErrorKind::Start, "no such container"),
            (
                "Error: no container with name or ID \"app\" found: no such container",
                ConnectErrorKind::Start,
                "no such",
            ),
            ("Error response from daemon: Container 1f is not running", ConnectErrorKind::Start, "is not running"),
            (
                "Error response from daemon: Container app is paused, unpause the container before exec",
                ConnectErrorKind::Start,
                "is paused",
            ),
            (
                "Got permission denied while trying to connect to the Docker daemon socket at unix:///s: Get \"x\": dial unix /s: connect: permission denied",
                ConnectErrorKind::Auth,
                "permission denied on the engine's socket",
            ),
            (
                "Cannot connect to the Docker daemon at unix:///s. Is the docker daemon running?",
                ConnectErrorKind::Start,
                "the engine is not running",
            ),
            ("Error from server (NotFound): pods \"web\" not found", ConnectErrorKind::Start, "no such container"),
            (
                "The connection to the server localhost:8080 was refused - did you specify the right host or port?",
                ConnectErrorKind::Start,
                "the engine is not running",
            ),
            (
                "OCI runtime exec failed: exec failed: unable to start container process: exec: \"sh\": executable file not found in $PATH: unknown",
                ConnectErrorKind::Unsupported,
                "there is no shell",
            ),
            (
                "OCI runtime exec failed: exec failed: unable to start container process: fork/exec /proc/self/fd/6: resource temporarily unavailable: unknown",
                ConnectErrorKind::Start,
                "no more processes",
            ),
        ] {
            let found = interpret(&[said.to_owned(), "exit status 1".into()]).unwrap();
            let (text, no_shell) = (&found.text, found.cause == ConnectCause::NoShell);
            assert_eq!((found.kind, no_shell), (kind, kind == ConnectErrorKind::Unsupported), "{said}");
            assert!(!found.advice.is_empty(), "{said}");
            assert!(text.starts_with(meaning) || text.contains(meaning), "{text}");
        }
        assert_eq!(interpret(&["hello".to_owned()]), None);
    }
}
