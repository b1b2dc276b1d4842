//! The hosts that `scripts/hosts` has started.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use offshoot::Router;
use offshoot::connect::{Connect, Ssh};

use crate::support::Missing;
use crate::support::trace::Trace;

/// The time for a connect. It is far more than a connect takes, because many trials run at once.
pub(crate) const CONNECT: Duration = Duration::from_secs(30);

/// The hosts.
#[derive(Debug, Clone)]
pub(crate) struct Fleet {
    /// ssh_config for root.
    pub(crate) config: PathBuf,
    /// The ordinary user, and the copy of ssh_config for that user.
    pub(crate) user: String,
    pub(crate) user_config: PathBuf,
    pub(crate) homes: PathBuf,
    /// The passwords that sudo, doas and ssh ask for on the hosts where they ask.
    pub(crate) password: String,
    pub(crate) root_password: String,
    pub(crate) passphrase: String,
    /// Another kind of su.
    pub(crate) busybox_su: String,
    /// Clients of the container engines, for use on this side.
    pub(crate) engines: PathBuf,
    /// Where Ansible is installed.
    pub(crate) ansible: PathBuf,
    /// The engines that the host `boxes` has.
    pub(crate) boxes: String,
    /// The number of a job of Slurm there, if it is up.
    pub(crate) job: Option<String>,
    roots: PathBuf,
    run: PathBuf,
    /// What each sshd says.
    pub(crate) logs: PathBuf,
    /// Login names by alias.
    logins: BTreeMap<String, String>,
    /// The directories in which first stages may leave something, on all hosts.
    pub(crate) places: Vec<PathBuf>,
}

impl Fleet {
    /// Finds the hosts, or the reason why there are none.
    pub(crate) fn find() -> Result<Self, Missing> {
        if !cfg!(target_env = "musl") {
            return Err(Missing("needs a static binary: run make test".into()));
        }
        let directory =
            std::env::var_os("OFS_HOSTS_DIR").ok_or_else(|| Missing("needs hosts: run make test".into()))?;
        Self::read(Path::new(&directory)).map_err(|error| Missing(format!("needs hosts (scripts/hosts up): {error:#}")))
    }

    fn read(directory: &Path) -> Result<Self> {
        let file = directory.join("env");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let variables: BTreeMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name, value.trim_matches('\'')))
            .collect();
        let variable = |name: &str| variables.get(name).copied().with_context(|| format!("no {name}"));
        let config = PathBuf::from(variable("OFS_SSH_CONFIG")?);
        let text = fs::read_to_string(&config).with_context(|| config.display().to_string())?;
        let mut fleet = Self {
            logins: logins(&text),
            config,
            user: variable("OFS_USER")?.into(),
            user_config: variable("OFS_USER_SSH_CONFIG")?.into(),
            homes: variable("OFS_HOMES")?.into(),
            password: variable("OFS_PASSWORD")?.into(),
            root_password: variable("OFS_ROOT_PASSWORD")?.into(),
            passphrase: variable("OFS_PASSPHRASE")?.into(),
            busybox_su: variable("OFS_BUSYBOX_SU")?.into(),
            engines: variable("OFS_ENGINES")?.into(),
            ansible: variable("OFS_ANSIBLE")?.into(),
            boxes: variable("OFS_BOXES")?.into(),
            job: Some(variable("OFS_JOB")?.to_owned()).filter(|job| !job.is_empty()),
            roots: variable("OFS_ROOTS")?.into(),
            run: variable("OFS_RUN")?.into(),
            logs: Path::new(variable("OFS_RUN")?).with_file_name("log"),
            places: Vec::new(),
        };
        fleet.places = fleet.find_places()?;
        Ok(fleet)
    }

    /// The user who logs in to a host.
    pub(crate) fn login(&self, alias: &str) -> Result<&str> {
        let login = self.logins.get(alias).map(String::as_str);
        // Some systems lack some of the login shells.
        login.ok_or_else(|| Missing(format!("this system has no {alias}")).into())
    }

    /// A connect to a host. What it leaves behind can be found by this name.
    pub(crate) fn ssh(&self, router: &Router, alias: &str, mark: &str) -> Connect<Ssh> {
        ssh(router, alias, &self.config, mark)
    }

    /// A trace that looks at all hosts.
    pub(crate) fn trace(&self, mark: &str) -> Trace {
        Trace::new(mark).with_places(&self.places)
    }

    /// The pid of a host's sshd.
    pub(crate) fn server(&self, name: &str) -> Result<i32> {
        pid_in(&self.run.join(format!("{name}.pid")))
    }

    /// Every such directory on every host. A host may have mounts that only it sees, so they are looked up
    /// through its sshd.
    fn find_places(&self) -> Result<Vec<PathBuf>> {
        let mut places = Vec::new();
        for entry in fs::read_dir(&self.run)? {
            let file = entry?.path();
            if file.extension().is_none_or(|extension| extension != "pid") {
                continue;
            }
            let server = file.file_stem().context("a name")?;
            let outside = PathBuf::from(format!("/proc/{}/root", pid_in(&file)?));
            let within = |path: &Path| outside.join(path.strip_prefix("/").unwrap_or(path));
            let root = self.roots.join(server);
            if root.is_dir() {
                let root = within(&root);
                places
                    .extend(["dev/shm", "tmp", "var/tmp", "root", "home/ofs-user", "."].map(|place| root.join(place)));
            } else {
                places.extend(["/dev/shm", "/tmp", "/var/tmp", "/root", "/"].map(|place| within(Path::new(place))));
                let homes = fs::read_dir(&self.homes)?.chain(fs::read_dir("/run/user").into_iter().flatten());
                places.extend(homes.flatten().map(|home| within(&home.path())));
            }
        }
        places.extend(self.container_places()?);
        Ok(places)
    }

    /// Those in containers, which have their own roots. Their processes are counted by the host that they are
    /// on.
    fn container_places(&self) -> Result<Vec<PathBuf>> {
        let mut places = Vec::new();
        for server in ["engines", "boxes"] {
            let host = pid_in(&self.run.join(format!("{server}.inside")))?;
            for pid in fs::read_to_string(self.run.join(format!("{server}.containers")))?.lines() {
                let root = PathBuf::from(format!("/proc/{host}/root/proc/{pid}/root"));
                places.extend(
                    ["dev/shm", "tmp", "var/tmp", "run", "data", "root", "home/amy", "."].map(|place| root.join(place)),
                );
            }
        }
        Ok(places)
    }
}

/// A connect for a user who may read `config`. The mark is an option without effect, and the name of the
/// child.
pub(crate) fn ssh(router: &Router, alias: &str, config: &Path, mark: &str) -> Connect<Ssh> {
    let ignored = format!("IgnoreUnknown={mark}");
    let args = ["-F".to_owned(), config.display().to_string(), "-o".to_owned(), ignored];
    router.ssh(alias).ssh_args(args).remote_name(mark).connect_timeout(CONNECT)
}

/// Such a file contains a pid, and the time when the process was started.
fn pid_in(file: &Path) -> Result<i32> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    Ok(text.split_ascii_whitespace().next().context("no pid")?.parse()?)
}

/// The user of each host of an ssh_config.
fn logins(config: &str) -> BTreeMap<String, String> {
    let mut logins = BTreeMap::new();
    let mut host = None;
    for line in config.lines() {
        match line.trim().split_once(' ') {
            Some(("Host", alias)) => host = Some(alias.to_owned()),
            Some(("User", user)) => logins.extend(host.take().map(|host| (host, user.to_owned()))),
            _ => {}
        }
    }
    logins
}
