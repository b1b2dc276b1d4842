//! Files of variables beside an inventory: `group_vars` and `host_vars`.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::cli::inventory::files::{Budget, MAX_ENTRIES, names};
use crate::cli::inventory::tree::each_var;
use crate::cli::inventory::vars::Vars;
use crate::cli::inventory::yaml;

/// Most files in one `host_vars`. Their names are listed, and those of other hosts are not read.
const MAX_FILES: usize = 1_000_000;
/// How deep directories of variables may stand in each other.
const MAX_LEVELS: usize = 8;

const EXTENSIONS: [&str; 4] = ["", ".yml", ".yaml", ".json"];

/// The directory `group_vars` or `host_vars` of an inventory.
#[derive(Debug)]
pub(crate) struct VarsFiles {
    directory: PathBuf,
    names: HashSet<String>,
    read: HashMap<String, Vars>,
}

/// The files that `ansible-vault` has encrypted as a whole: the first one, and their number.
#[derive(Debug, Default)]
pub(crate) struct Encrypted {
    first: PathBuf,
    count: usize,
}

impl Encrypted {
    fn add(&mut self, path: &Path) {
        if self.count == 0 {
            self.first = path.to_owned();
        }
        self.count += 1;
    }

    /// A note about them, if there are any.
    pub(crate) fn note(&self) -> Option<String> {
        let (are, others) = match self.count {
            0 => return None,
            1 => ("is", String::new()),
            count => ("are", format!(" and {} more", count - 1)),
        };
        Some(format!(
            "{}{others} {are} encrypted by ansible-vault and not read; if hosts cannot be reached without, let Ansible \
             print them: ansible-inventory -i INVENTORY --list --ask-vault-pass > hosts.json",
            self.first.display()
        ))
    }
}

impl VarsFiles {
    /// `None` if there is no such directory.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(crate) fn of(directory: PathBuf) -> Result<Option<Self>, String> {
        if !directory.is_dir() {
            return Ok(None);
        }
        let names = names(&directory, MAX_FILES).map_err(|why| format!("{}: {why}", directory.display()))?;
        Ok(Some(Self { directory, names: names.into_iter().collect(), read: HashMap::new() }))
    }

    /// The variables of the group or host with this name.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub(crate) fn get(&mut self, name: &str, budget: &mut Budget, encrypted: &mut Encrypted) -> Result<Vars, String> {
        if let Some(vars) = self.read.get(name) {
            return Ok(vars.clone());
        }
        let mut vars = Vars::default();
        let file = EXTENSIONS.iter().map(|end| format!("{name}{end}")).find(|file| self.names.contains(file));
        if let Some(file) = file {
            let mut reader = Reader { budget, encrypted, vars: &mut vars };
            reader.read(&self.directory.join(file), MAX_LEVELS)?;
        }
        self.read.insert(name.to_owned(), vars.clone());
        Ok(vars)
    }
}

/// Whether `ansible-vault` has encrypted a whole file.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.starts_with("$ANSIBLE_VAULT;")
}

/// Reads the variables of one group or host.
struct Reader<'a> {
    budget: &'a mut Budget,
    encrypted: &'a mut Encrypted,
    vars: &'a mut Vars,
}

impl Reader<'_> {
    fn read(&mut self, path: &Path, levels: usize) -> Result<(), String> {
        let wrong = |why: String| format!("{}: {why}", path.display());
        if path.is_dir() {
            if levels == 0 {
                return Err(wrong(format!("directories stand more than {MAX_LEVELS} deep in each other")));
            }
            for name in names(path, MAX_ENTRIES).map_err(wrong)? {
                let inner = path.join(&name);
                let extension = inner.extension().and_then(std::ffi::OsStr::to_str).map(|end| format!(".{end}"));
                let is_read = extension.is_none_or(|end| EXTENSIONS.contains(&end.as_str())) && !name.ends_with('~');
                if is_read || inner.is_dir() {
                    self.read(&inner, levels - 1)?;
                }
            }
            return Ok(());
        }
        let text = self.budget.read(path, false).map_err(wrong)?;
        // It mostly has passwords, which are not used anyway.
        if is_encrypted(&text) {
            self.encrypted.add(path);
            return Ok(());
        }
        let document = yaml::parse(&text).map_err(wrong)?;
        let Some(entries) = document.entries() else {
            return Err(wrong(format!("variables are wanted, as `ansible_user: amy`, not {}", document.kind())));
        };
        each_var(entries, |var, value| self.vars.set(var, value));
        Ok(())
    }
}
