//! The functions that start a child, one for each method.

use crate::api::router::Router;
use crate::connect::methods::{
    Buildah, Connect, Doas, Docker, Fork, Incus, Jail, Kubectl, Launcher, Local, Lxc, Lxd, Podman, Setns, SetnsKind,
    Ssh, Su, Sudo,
};

impl Router {
    /// A child on this machine, without a shell.
    ///
    /// ```
    /// # offshoot::child();
    /// let router = offshoot::Router::new()?;
    /// let child = router.local().name("worker").blocking_connect()?;
    /// assert_eq!(child.name(), "worker");
    /// router.blocking_shutdown();
    /// # Ok::<(), offshoot::Error>(())
    /// ```
    pub fn local(&self) -> Connect<Local> {
        Connect::new(self, Local::default())
    }

    /// As [`Router::local`], under the name that users of Mitogen know. [`Connect::on_start`] sets the function
    /// that runs first in the child.
    ///
    /// ```
    /// # offshoot::child();
    /// # let router = offshoot::Router::new()?;
    /// let child = router.fork().blocking_connect()?;
    /// assert!(child.name().starts_with("fork."));
    /// # router.blocking_shutdown();
    /// # Ok::<(), offshoot::Error>(())
    /// ```
    pub fn fork(&self) -> Connect<Fork> {
        Connect::new(self, Fork::default())
    }

    /// A child on another machine, by the user's own `ssh` with the user's configuration.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let web = router.ssh("web1").username("deploy").port(2222).await?;
    /// # Ok(()) }
    /// ```
    pub fn ssh(&self, hostname: impl Into<String>) -> Connect<Ssh> {
        Connect::new(self, Ssh::new(hostname.into()))
    }

    /// A child of another user on this machine, by `sudo`.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let root = router.sudo().password("secret").await?;
    /// let app = router.sudo().username("app").via(&root).await?;
    /// # Ok(()) }
    /// ```
    pub fn sudo(&self) -> Connect<Sudo> {
        Connect::new(self, Sudo::default())
    }

    /// A child of another user on this machine, by `su`, which asks for that user's password.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let other = router.su().username("other").password("secret").await?;
    /// # Ok(()) }
    /// ```
    pub fn su(&self) -> Connect<Su> {
        Connect::new(self, Su::default())
    }

    /// A child of another user on this machine, by `doas`.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let root = router.doas().await?;
    /// # Ok(()) }
    /// ```
    pub fn doas(&self) -> Connect<Doas> {
        Connect::new(self, Doas::default())
    }

    /// A child in a running docker container; see [`Router::docker_image`] for a temporary container. If the
    /// container has no shell, docker copies the image into it, and the child removes the copy as soon as it
    /// runs. podman and buildah do the same.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let app = router.docker("app").username("www-data").await?;
    /// # Ok(()) }
    /// ```
    pub fn docker(&self, container: impl Into<String>) -> Connect<Docker> {
        Connect::new(self, Docker::new(container.into()))
    }

    /// A child in a temporary docker container of this container image, such as `alpine`. The container is
    /// removed when the context ends.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let clean = router.docker_image("debian:13").await?;
    /// # Ok(()) }
    /// ```
    pub fn docker_image(&self, image: impl Into<String>) -> Connect<Docker> {
        Connect::new(self, Docker::of_image(image.into()))
    }

    /// A child in a running podman container.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let app = router.podman("app").await?;
    /// # Ok(()) }
    /// ```
    pub fn podman(&self, container: impl Into<String>) -> Connect<Podman> {
        Connect::new(self, Podman::new(container.into()))
    }

    /// A child in a working container of buildah.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let work = router.buildah("alpine-working-container").await?;
    /// # Ok(()) }
    /// ```
    pub fn buildah(&self, container: impl Into<String>) -> Connect<Buildah> {
        Connect::new(self, Buildah::new(container.into()))
    }

    /// A child in a pod of Kubernetes.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let pod = router.kubectl("web-0").kubectl_args(["--namespace", "shop"]).await?;
    /// # Ok(()) }
    /// ```
    pub fn kubectl(&self, pod: impl Into<String>) -> Connect<Kubectl> {
        Connect::new(self, Kubectl::new(pod.into()))
    }

    /// A child in a running container of classic LXC.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let app = router.lxc("app").await?;
    /// # Ok(()) }
    /// ```
    pub fn lxc(&self, container: impl Into<String>) -> Connect<Lxc> {
        Connect::new(self, Lxc::new(container.into()))
    }

    /// A child in a running LXD instance.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let app = router.lxd("app").await?;
    /// # Ok(()) }
    /// ```
    pub fn lxd(&self, container: impl Into<String>) -> Connect<Lxd> {
        Connect::new(self, Lxd::new(container.into()))
    }

    /// A child in a running Incus instance.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let app = router.incus("app").await?;
    /// # Ok(()) }
    /// ```
    pub fn incus(&self, container: impl Into<String>) -> Connect<Incus> {
        Connect::new(self, Incus::new(container.into()))
    }

    /// A child in a FreeBSD jail.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let www = router.jail("www").await?;
    /// # Ok(()) }
    /// ```
    pub fn jail(&self, container: impl Into<String>) -> Connect<Jail> {
        Connect::new(self, Jail::new(container.into()))
    }

    /// A child in a container, by joining the namespaces of the container's first process. This needs no shell,
    /// no upload, and nothing from the engine but the number of that process. `kind` says which engine to ask
    /// for it. Needs root, and Linux.
    ///
    /// The child has the user's groups, `HOME`, `SHELL`, `LOGNAME` and `USER`. Of the environment it keeps only
    /// `PATH`, `TERM`, `TZ`, `LANG` and `LC_*`. The container's other confinement (cgroup, capabilities,
    /// seccomp) does not hold for it.
    ///
    /// ```no_run
    /// use offshoot::connect::SetnsKind;
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// let app = router.setns("app", SetnsKind::Docker).username("www-data").await?;
    /// # Ok(()) }
    /// ```
    ///
    /// The connect fails if the engine's client cannot be executed (`could not execute`) or fails (`exitted
    /// with status`), if its output has no process number (`could not find PID`), if the container is not
    /// running, or if it does not have the user.
    pub fn setns(&self, container: impl Into<String>, kind: SetnsKind) -> Connect<Setns> {
        Connect::new(self, Setns::new(container.into(), kind))
    }

    /// A child by any program that runs a command somewhere: the program and its arguments. In them,
    /// `{target}`, `{user}` and `{user@}` are the places of what [`Connect::target`] and
    /// [`Connect::username`] set. The argument `{command}` is the place of the command; without it, the command
    /// comes last. [`Connect::passes`] says how the command is passed.
    ///
    /// The program has to connect its stdin and stdout with those of the command, without a terminal in between.
    ///
    /// ```no_run
    /// # async fn demo(router: offshoot::Router) -> Result<(), offshoot::Error> {
    /// use offshoot::connect::Passes;
    /// use offshoot::error::ConnectErrorKind;
    ///
    /// let job = router.launcher(["srun", "--jobid={target}", "--overlap"]).target("42");
    /// let job = job.text("invalid job id", ConnectErrorKind::Auth, "squeue lists the jobs").await?;
    /// let web = router.launcher(["tsh", "ssh", "{user@}{target}", "{command}"]).target("web1").passes(Passes::String).await?;
    /// # Ok(()) }
    /// ```
    pub fn launcher<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Connect<Launcher> {
        Connect::new(self, Launcher::new(argv.into_iter().map(Into::into).collect()))
    }
}
