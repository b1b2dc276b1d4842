//! Reads the inventory at a place, whatever it consists of.

use std::ffi::OsStr;
use std::path::Path;

use crate::cli::inventory::files::{Budget, MAX_ENTRIES, is_program, names};
use crate::cli::inventory::find::Place;
use crate::cli::inventory::format::Format;
use crate::cli::inventory::model::{GroupId, Inventory};
use crate::cli::inventory::program::{self, Task};
use crate::cli::inventory::tree::{self, Dialect};
use crate::cli::inventory::vars_files::{VarsFiles, is_encrypted};
use crate::cli::inventory::{genders, groups, ini, json, ssh_config, yaml};

/// How deep directories may stand in each other.
const MAX_LEVELS: usize = 8;
/// Ends of names that Ansible passes over in a directory.
const NOT_READ: [&str; 12] =
    [".pyc", ".pyo", ".swp", ".bak", "~", ".rpm", ".md", ".txt", ".rst", ".orig", ".cfg", ".retry"];

/// What was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) inventory: Inventory,
    pub(crate) group_vars: Vec<VarsFiles>,
    pub(crate) host_vars: Vec<VarsFiles>,
    pub(crate) groups: groups::Sources,
    pub(crate) budget: Budget,
    pub(crate) notes: Vec<String>,
}

impl Loaded {
    /// Reads all places.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which inventory.
    pub(crate) fn read(places: &[Place]) -> Result<Self, String> {
        let mut loaded = Self {
            inventory: Inventory::new(),
            group_vars: Vec::new(),
            host_vars: Vec::new(),
            groups: groups::Sources::default(),
            budget: Budget::new(),
            notes: Vec::new(),
        };
        for place in places {
            let before = loaded.inventory.sources.len();
            loaded.place(place)?;
            let directory = if place.path.is_dir() { Some(place.path.as_path()) } else { place.path.parent() };
            // Some formats have no variables in files, and no directories that would be meant for them.
            if loaded.inventory.sources.len() > before
                && let Some(directory) = directory
            {
                loaded.group_vars.extend(VarsFiles::of(directory.join("group_vars"))?);
                loaded.host_vars.extend(VarsFiles::of(directory.join("host_vars"))?);
            }
        }
        loaded.inventory.arrange()?;
        Ok(loaded)
    }

    /// Reads what files say. Inventories and sources of groups that are programs have nothing.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which inventory.
    pub(crate) fn read_files_only(places: &[Place]) -> Result<Self, String> {
        let found: Vec<Place> = places.iter().map(|place| Place { is_named: false, ..place.clone() }).collect();
        let mut loaded = Self::read(&found)?;
        loaded.groups.commands.clear();
        Ok(loaded)
    }

    /// What a text says, as an inventory of its own. Sources of groups that are commands are left out.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of_text(format: Format, text: &str) -> Result<Self, String> {
        let mut loaded = Self::read(&[])?;
        let source = loaded.inventory.add_source("hosts".into());
        loaded.text(Path::new("/nowhere/hosts"), source, format, text)?;
        loaded.groups.commands.clear();
        loaded.inventory.arrange()?;
        Ok(loaded)
    }

    fn place(&mut self, place: &Place) -> Result<(), String> {
        let is_dsh = || place.format.is_none() && place.path.join("machines.list").is_file();
        if place.path.is_dir() && (place.format == Some(Format::Dsh) || is_dsh()) {
            return self.dsh(&place.path);
        }
        if place.path.is_dir() {
            return self.directory(&place.path, place.is_named, MAX_LEVELS).map_err(|why| {
                format!(
                    "{why}; the inventory {} is a directory, so each file in it is read as one; to read only some, name \
                     these files",
                    place.path.display()
                )
            });
        }
        self.file(&place.path, place.format, place.is_named)
    }

    fn directory(&mut self, path: &Path, is_named: bool, levels: usize) -> Result<(), String> {
        let wrong = |why: &str| format!("{}: {why}", path.display());
        if levels == 0 {
            return Err(wrong(&format!("directories stand more than {MAX_LEVELS} deep in each other")));
        }
        for name in names(path, MAX_ENTRIES).map_err(|why| wrong(&why))? {
            if ["group_vars", "host_vars", "vars_plugins"].contains(&name.as_str())
                || NOT_READ.iter().any(|end| name.ends_with(end))
            {
                continue;
            }
            let inner = path.join(&name);
            match inner.is_dir() {
                true => self.directory(&inner, is_named, levels - 1)?,
                false => self.file(&inner, None, is_named)?,
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, format: Option<Format>, is_named: bool) -> Result<(), String> {
        let shown = path.display().to_string();
        let wrong = |why: String| format!("{shown}: {why}");
        if self.inventory.sources.len() >= MAX_ENTRIES {
            return Err(wrong(format!("inventories have more than {MAX_ENTRIES} files")));
        }
        if format.is_none() && is_program(path) {
            if !is_named {
                self.notes.push(format!("{shown} is a program, and is run only if -I names it"));
                return Ok(());
            }
            return self.program(path).map_err(wrong);
        }
        let text = self.budget.read(path, is_named).map_err(wrong)?;
        if is_encrypted(&text) {
            return Err(wrong(
                "it is encrypted by ansible-vault, which is not read here; let Ansible print the hosts: ansible-inventory -i \
                 FILE --list --ask-vault-pass > hosts.json"
                    .into(),
            ));
        }
        let format = format.unwrap_or_else(|| Format::detect(path, &text));
        let source = self.inventory.add_source(shown.clone());
        self.text(path, source, format, &text).map_err(|why| wrong(format!("(read as {format}) {why}")))
    }

    fn text(&mut self, path: &Path, source: u32, format: Format, text: &str) -> Result<(), String> {
        let inventory = &mut self.inventory;
        match format {
            Format::Plain => plain(inventory, 0, path, text),
            Format::Ini => ini::load(inventory, source, text),
            Format::Yaml | Format::Json => {
                let document = if format == Format::Json { json::parse(text)? } else { yaml::parse(text)? };
                if groups::is_of_sources(&document) {
                    return groups::of_yaml(inventory, &document);
                }
                if document.get("plugin").is_some() {
                    return Err("it configures a plugin of Ansible, and plugins are not run here; let Ansible print \
                                the hosts: ansible-inventory -i FILE --list > hosts.json"
                        .into());
                }
                tree::load(inventory, source, &document, Dialect::File)
            }
            Format::Groups => groups::load(inventory, &mut self.groups, &mut self.budget, path, text),
            Format::Genders => genders::load(inventory, text),
            Format::Dsh => plain(inventory, 0, path, text),
            Format::SshConfig => {
                let directory = path.parent().unwrap_or_else(|| Path::new(".")).to_owned();
                let (budget, files) = (&mut self.budget, 0);
                ssh_config::Loader { inventory, budget, directory, files }.load(source, text, 0)
            }
        }
    }

    /// Reads the directory of dsh: all machines, and a file for each group.
    fn dsh(&mut self, path: &Path) -> Result<(), String> {
        let mut files = vec![(0, path.join("machines.list"))];
        let below = path.join("group");
        if below.is_dir() {
            for name in names(&below, MAX_ENTRIES).map_err(|why| format!("{}: {why}", below.display()))? {
                files.push((self.inventory.add_group(&name)?, below.join(&name)));
            }
        }
        for (group, file) in files.iter().filter(|(_, file)| file.is_file()) {
            let shown = file.display().to_string();
            let text = self.budget.read(file, false).map_err(|why| format!("{shown}: {why}"))?;
            self.inventory.add_source(shown);
            plain(&mut self.inventory, *group, file, &text)?;
        }
        Ok(())
    }

    /// Runs a program and adds what it prints.
    fn program(&mut self, path: &Path) -> Result<(), String> {
        // A name without a slash would be looked for in PATH.
        let program = if path.components().count() == 1 { Path::new(".").join(path) } else { path.to_owned() };
        let args = [OsStr::new("--list")];
        let task = Task { program: program.as_os_str(), args: &args, most: self.budget.left() };
        let text = program::output(&task)?;
        self.budget.take(text.len())?;
        let source = self.inventory.add_source(path.display().to_string());
        let document = json::parse(&text).map_err(|why| format!("its output is {why}"))?;
        if document.get("_meta").is_none() {
            let note = "prints no _meta, so its hosts have no variables of their own: it is not run once for each host";
            self.notes.push(format!("{} {note}", path.display()));
        }
        tree::load(&mut self.inventory, source, &document, Dialect::Program)
    }
}

/// Adds the hosts of a list to a group.
fn plain(inventory: &mut Inventory, group: GroupId, path: &Path, text: &str) -> Result<(), String> {
    // Named as a file, so that errors have its name and the line. A pipe can be read only once.
    let shown = path.display().to_string();
    let is_named = path.is_file() && !shown.contains(['{', '}']);
    inventory.add_text(group, if is_named { format!("^{{{shown}}}") } else { text.to_owned() });
    Ok(())
}
