//! Where inventories are looked for if none is named.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::cli::inventory::files::Budget;
use crate::cli::inventory::format::Format;
use crate::cli::inventory::trust::Reader;

/// Names of inventories in the current directory. The first one counts.
const HERE: [&str; 9] = [
    "inventory",
    "inventory.ini",
    "inventory.yml",
    "inventory.yaml",
    "inventory.json",
    "hosts",
    "hosts.ini",
    "hosts.yml",
    "hosts.yaml",
];

/// A place of an inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    /// The format, if it does not depend on the file.
    pub(crate) format: Option<Format>,
    /// Whether the user has named it, so that programs in it are run.
    pub(crate) is_named: bool,
}

impl Place {
    fn found(path: PathBuf, format: Option<Format>) -> Self {
        Self { path, format, is_named: false }
    }

    /// The place as `-I` takes it, from any directory.
    pub(crate) fn text(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        match self.format {
            Some(format) => format!("{format}:{}", path.display()),
            None => path.display().to_string(),
        }
    }
}

/// What the process can see.
pub(crate) struct Surroundings<'a> {
    pub(crate) variable: &'a dyn Fn(&str) -> Option<OsString>,
    pub(crate) directory: PathBuf,
    /// In place of `/etc`.
    pub(crate) etc: PathBuf,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) places: Vec<Place>,
    /// The user's `ssh_config`, whose hosts are known if there is no inventory.
    pub(crate) ssh_config: Option<PathBuf>,
    pub(crate) notes: Vec<String>,
    /// Where was looked in vain, for an error.
    pub(crate) looked: Vec<String>,
}

/// Reads `PATH` or `FORMAT:PATH`.
pub(crate) fn named(text: &str) -> Place {
    let (format, path) = match text.split_once(':') {
        Some((name, path)) if Format::by_name(name).is_some() => (Format::by_name(name), path),
        _ => (None, text),
    };
    Place { path: PathBuf::from(path), format, is_named: true }
}

impl Surroundings<'_> {
    pub(crate) fn of_process<'a>(variable: &'a dyn Fn(&str) -> Option<OsString>) -> Surroundings<'a> {
        Surroundings {
            variable,
            directory: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            etc: PathBuf::from("/etc"),
        }
    }

    fn path(&self, variable: &str) -> Option<PathBuf> {
        (self.variable)(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn home(&self, below: &str) -> Option<PathBuf> {
        self.path("HOME").map(|home| home.join(below))
    }

    fn config(&self, below: &str) -> Option<PathBuf> {
        self.path("XDG_CONFIG_HOME").or_else(|| self.home(".config")).map(|config| config.join(below))
    }

    /// Looks for inventories: those that variables name; else that of the current directory; else all those of
    /// the user and of the system.
    pub(crate) fn find(&self) -> Found {
        let mut found =
            Found { ssh_config: self.home(".ssh/config").filter(|path| path.is_file()), ..Found::default() };
        for variable in ["OFFSHOOT_INVENTORY", "ANSIBLE_INVENTORY"] {
            let value = self.path(variable).unwrap_or_default().to_string_lossy().into_owned();
            found.places.extend(value.split(',').map(str::trim).filter(|path| !path.is_empty()).map(named));
            if !found.places.is_empty() {
                return found;
            }
            found.looked.push(format!("${variable}"));
        }
        self.find_here(&mut found);
        if found.places.is_empty()
            && let Some(config) = self.home(".ansible.cfg")
        {
            found.places = of_ansible_cfg(&config);
            found.looked.push(config.display().to_string());
        }
        if found.places.is_empty() {
            self.find_everywhere(&mut found);
        }
        found
    }

    fn find_here(&self, found: &mut Found) {
        found.looked.push(format!("./ansible.cfg, ./{} and ./{}", HERE[0], HERE[5]));
        if let Some(named) = self.path("ANSIBLE_CONFIG") {
            found.places = of_ansible_cfg(&named);
            if !found.places.is_empty() {
                return;
            }
        }
        match self.here() {
            Ok(places) => found.places = places,
            Err((file, why)) => {
                let shown = file.display();
                found
                    .notes
                    .push(format!("{shown} is not read, because {why}; if you trust it, name it with -I {shown}"));
            }
        }
    }

    /// The inventories of the current directory. The error is a file that is not read, and why: others than this user and
    /// root have a hand in it, or in the directory.
    fn here(&self) -> Result<Vec<Place>, (PathBuf, String)> {
        let reader = Reader::of_process();
        let cfg = self.directory.join("ansible.cfg");
        let named = if self.path("ANSIBLE_CONFIG").is_some() { Vec::new() } else { of_ansible_cfg(&cfg) };
        if let Some(first) = named.first()
            && let Some(why) = reader.doubts(&self.directory).or_else(|| reader.doubts(&cfg))
        {
            return Err((first.path.clone(), why));
        }
        // A relative path is what the user would write.
        let name = HERE.iter().find(|name| named.is_empty() && self.directory.join(name).exists());
        let here = name.map(|name| Place::found(Path::new(".").join(name), None));
        for place in named.iter().chain(&here) {
            if let Some(why) = reader.doubts_inventory(&self.directory.join(&place.path)) {
                return Err((place.path.clone(), why));
            }
        }
        Ok(named.into_iter().chain(here).collect())
    }

    fn find_everywhere(&self, found: &mut Found) {
        let mut places = Vec::new();
        places.extend(self.config("offshoot/hosts").map(|path| (path, None)));
        places.extend(self.config("offshoot/groups.conf").map(|path| (path, Some(Format::Groups))));
        let ansible = of_ansible_cfg(&self.etc.join("ansible/ansible.cfg"));
        if ansible.is_empty() {
            places.push((self.etc.join("ansible/hosts"), None));
        }
        let groups =
            [self.path("CLUSTERSHELL_CFGDIR"), self.config("clustershell"), Some(self.etc.join("clustershell"))];
        let groups = groups.into_iter().flatten().map(|directory| directory.join("groups.conf"));
        let groups: Vec<PathBuf> = groups.collect();
        match groups.iter().find(|path| path.exists()) {
            Some(path) => places.push((path.clone(), Some(Format::Groups))),
            None => found.looked.push("groups.conf of ClusterShell".into()),
        }
        places.push((self.etc.join("genders"), Some(Format::Genders)));
        let dsh = [self.home(".dsh"), Some(self.etc.join("dsh"))];
        places.extend(dsh.into_iter().flatten().map(|path| (path, Some(Format::Dsh))));
        for (path, format) in places {
            match path.exists() {
                true => found.places.push(Place::found(path, format)),
                false => found.looked.push(path.display().to_string()),
            }
        }
        found.places.extend(ansible);
    }
}

/// The inventories that a configuration of Ansible names.
fn of_ansible_cfg(path: &Path) -> Vec<Place> {
    if !path.is_file() {
        return Vec::new();
    }
    let text = Budget::new().read(path, false).unwrap_or_default();
    let mut is_defaults = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_defaults = line.starts_with("[defaults]");
        }
        let Some((key, value)) = line.split_once(['=', ':']) else { continue };
        if !is_defaults || key.trim() != "inventory" {
            continue;
        }
        let value = value.split(" ;").next().unwrap_or_default();
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        let home = std::env::var_os("HOME").map(PathBuf::from);
        return value
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(|name| match (name.strip_prefix("~/"), &home) {
                (Some(rest), Some(home)) => home.join(rest),
                _ => directory.join(name),
            })
            .map(|path| Place { path, format: None, is_named: true })
            .collect();
    }
    Vec::new()
}
