//! Whether what the lock files name has known faults, and has the sources and licences that `deny.toml` allows.
//!
//! `xtask/advisories.toml` is the part of the RustSec advisory database that is about these crates. The database is in the
//! public domain. So this check needs no network, and no program that is not there. cargo-deny checks the same with the whole
//! database, if it is installed.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use semver::{Version, VersionReq};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use spdx::{Expression, ParseMode};
use toml::de::{DeTable, DeValue};

use super::toolchain::{check, on_path};

const TABLE: &str = "xtask/advisories.toml";
/// What stands above the table.
const ABOUT: &str = "\
# Known faults of the crates that the lock files name, from the RustSec advisory database, https://rustsec.org, which is in the
# public domain (CC0). `cargo xtask advisories DIRECTORY` writes this from a checkout of https://github.com/RustSec/advisory-db.
";
const LOCKS: [&str; 3] = ["Cargo.lock", "fuzz/Cargo.lock", "tests/mistakes/Cargo.lock"];
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// From this age on, a table is called old.
const OLD_DAYS: u64 = 90;

/// The faults that are known.
#[derive(Debug, Deserialize)]
struct Table {
    /// The commit of the database, and its date.
    commit: String,
    date: String,
    /// The date in seconds since 1970.
    seconds: u64,
    /// The crates that were looked up.
    crates: BTreeSet<String>,
    #[serde(default)]
    advisory: Vec<Advisory>,
}

/// As in the database.
#[derive(Debug, Deserialize)]
struct Advisory {
    id: String,
    package: String,
    title: String,
    #[serde(default)]
    patched: Vec<VersionReq>,
    #[serde(default)]
    unaffected: Vec<VersionReq>,
}

impl Advisory {
    fn concerns(&self, package: &Package) -> bool {
        let is_safe = || self.patched.iter().chain(&self.unaffected).any(|safe| safe.matches(&package.version));
        self.package == package.name && !is_safe()
    }
}

#[derive(Debug, Deserialize)]
struct Lock {
    package: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: Version,
    source: Option<String>,
}

/// The parts of `deny.toml` that are checked here.
#[derive(Debug, Deserialize)]
struct Rules {
    licenses: Licenses,
    advisories: Ignored,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Ignored {
    ignore: Vec<Ignore>,
}

#[derive(Debug, Deserialize)]
struct Ignore {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

/// Checks the lock files; then cargo-deny does, if it is installed.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what the command is for")]
pub(super) fn advisories() -> Result<()> {
    let rules: Rules = read("deny.toml")?;
    let table: Table = read(TABLE)?;
    let (mut packages, mut faults) = (Vec::new(), BTreeSet::new());
    for lock in LOCKS {
        let Lock { package } = read(lock)?;
        for package in &package {
            faults.extend(package.faults(&rules, &table).into_iter().map(|fault| format!("{lock}: {fault}")));
        }
        packages.extend(package);
    }
    faults.extend(unlicensed(&rules.licenses)?);
    let names: BTreeSet<&str> = packages.iter().filter(|package| package.source.is_some()).map(|p| &*p.name).collect();
    let Table { commit, date, advisory, .. } = &table;
    println!("advisories: {} crates, {} advisories, of {date} ({commit})", names.len(), advisory.len());
    let unknown: Vec<&str> = names.into_iter().filter(|name| !table.crates.contains(*name)).collect();
    if !unknown.is_empty() {
        eprintln!("advisories: NOT CHECKED, as {TABLE} is older than they are here: {}", unknown.join(", "));
    }
    let days = days_since(table.seconds);
    if days > OLD_DAYS {
        eprintln!("advisories: {TABLE} is {days} days old; `cargo xtask advisories DIRECTORY` renews it");
    }
    ensure!(faults.is_empty(), "{}", faults.into_iter().collect::<Vec<_>>().join("\n"));
    by_cargo_deny()
}

/// Runs cargo-deny. Its database comes from the network, and a network that is not there is no fault of a crate.
#[expect(clippy::print_stderr, reason = "nobody should take a skipped check for a clean one")]
fn by_cargo_deny() -> Result<()> {
    if on_path("cargo-deny").is_none() {
        eprintln!("advisories: SKIPPED cargo-deny, which is not installed: only {TABLE} was looked at");
        return Ok(());
    }
    check(Command::new("cargo-deny").args(["--locked", "check", "bans", "licenses", "sources"]))?;
    let fetched = Command::new("cargo-deny").args(["--locked", "fetch", "db"]).status()?.success();
    if !fetched {
        eprintln!("advisories: SKIPPED the advisories of cargo-deny: its database cannot be fetched");
        return Ok(());
    }
    check(Command::new("cargo-deny").args(["--locked", "check", "--disable-fetch", "advisories"]))
}

impl Package {
    /// What is wrong with it.
    fn faults(&self, rules: &Rules, table: &Table) -> Vec<String> {
        let Self { name, version, source } = self;
        let mut faults = Vec::new();
        if source.as_ref().is_some_and(|source| source != CRATES_IO) {
            faults.push(format!("{name} {version} is not from crates.io"));
        }
        let banned = rules.bans.deny.iter().filter(|ban| ban.name == *name);
        faults.extend(banned.map(|ban| format!("{name} {version} is banned: {}", ban.reason)));
        let is_ignored = |advisory: &Advisory| rules.advisories.ignore.iter().any(|ignore| ignore.id == advisory.id);
        let known = table.advisory.iter().filter(|advisory| advisory.concerns(self) && !is_ignored(advisory));
        faults.extend(known.map(|advisory| {
            let Advisory { id, title, patched, .. } = advisory;
            let patched: Vec<String> = patched.iter().map(ToString::to_string).collect();
            let remedy = if patched.is_empty() { "no version mends it".into() } else { patched.join(" or ") };
            format!("{name} {version}: {title} (https://rustsec.org/advisories/{id}; versions that mend it: {remedy})")
        }));
        faults
    }
}

/// The crates of the shipped targets whose licence is not allowed.
fn unlicensed(licenses: &Licenses) -> Result<Vec<String>> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    cargo.args(super::DEFAULT_TARGETS.iter().flat_map(|target| ["--filter-platform", target]));
    let output = cargo.output().context("cargo metadata cannot be run")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let mut faults = Vec::new();
    for package in metadata["packages"].as_array().context("cargo metadata names no packages")? {
        let text = |key: &str| package[key].as_str().unwrap_or("none");
        let (name, license) = (text("name"), text("license"));
        if !is_allowed(license, &licenses.allow) {
            faults.push(format!("{name}: its licence, {license}, is not one that deny.toml allows"));
        }
    }
    Ok(faults)
}

/// Whether one may use by the allowed licences what has this one.
fn is_allowed(license: &str, allowed: &[String]) -> bool {
    // Some crates write `MIT/Apache-2.0`.
    let Ok(expression) = Expression::parse_mode(license, ParseMode::LAX) else { return false };
    expression.evaluate(|required| allowed.contains(&required.to_string()))
}

/// Writes the table again, from a checkout of the database.
#[expect(clippy::print_stdout, reason = "it is what the command is for")]
pub(super) fn renew(database: &str) -> Result<()> {
    let git = |args: &[&str]| -> Result<String> {
        let output = Command::new("git").args(["-C", database]).args(args).output().context("git cannot be run")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    };
    let mut crates = BTreeSet::new();
    for lock in LOCKS {
        let Lock { package } = read(lock)?;
        crates.extend(package.into_iter().filter(|package| package.source.is_some()).map(|package| package.name));
    }
    let commit = git(&["log", "-1", "--format=%H %ct %cs"])?;
    let [commit, seconds, date] = commit.split_whitespace().collect::<Vec<_>>()[..] else { bail!("no commit") };
    let mut table = format!("{ABOUT}commit = {commit:?}\ndate = {date:?}\nseconds = {seconds}\ncrates = [\n");
    crates.iter().for_each(|name| table += &format!("    {name:?},\n"));
    table += "]\n";
    let mut count = 0;
    for path in git(&["ls-tree", "-r", "--name-only", "HEAD", "crates/"])?.lines() {
        if !path.split('/').nth(1).is_some_and(|name| crates.contains(name)) {
            continue;
        }
        if let Some(advisory) = advisory(&git(&["show", &format!("HEAD:{path}")])?).context(path.to_owned())? {
            count += 1;
            table += &advisory.to_string();
        }
    }
    fs::write(TABLE, table)?;
    println!("{TABLE} has {count} advisories about {} crates", crates.len());
    Ok(())
}

impl fmt::Display for Advisory {
    /// A row of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, package, title, patched, unaffected } = self;
        write!(f, "\n[[advisory]]\nid = {id:?}\npackage = {package:?}\ntitle = {title:?}\n")?;
        for (key, versions) in [("patched", patched), ("unaffected", unaffected)] {
            let versions: Vec<String> = versions.iter().map(ToString::to_string).collect();
            if !versions.is_empty() {
                writeln!(f, "{key} = {versions:?}")?;
            }
        }
        Ok(())
    }
}

/// An advisory as the database has it: TOML in a block of Markdown, and a heading. `None` if it was withdrawn.
fn advisory(text: &str) -> Result<Option<Advisory>> {
    #[derive(Deserialize)]
    struct File {
        advisory: Head,
        versions: Versions,
    }
    #[derive(Deserialize)]
    struct Head {
        id: String,
        package: String,
        withdrawn: Option<String>,
    }
    #[derive(Deserialize)]
    struct Versions {
        #[serde(default)]
        patched: Vec<VersionReq>,
        #[serde(default)]
        unaffected: Vec<VersionReq>,
    }
    let (front, rest) =
        text.trim_start().strip_prefix("```toml").and_then(|rest| rest.split_once("```")).context("no TOML")?;
    let File { advisory: Head { id, package, withdrawn }, versions: Versions { patched, unaffected } } = parse(front)?;
    let title = rest.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or("a fault").trim().to_owned();
    Ok(withdrawn.is_none().then_some(Advisory { id, package, title, patched, unaffected }))
}

fn read<T: DeserializeOwned>(path: &str) -> Result<T> {
    let text = fs::read_to_string(path).context(path.to_owned())?;
    parse(&text).context(path.to_owned())
}

/// Reads TOML. The library is built without what makes it know serde, as for the tool, so that it is built once.
fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let table = DeTable::parse(text).map_err(|error| anyhow::anyhow!("{}", error.message()))?;
    Ok(serde_json::from_value(json_of_table(table.get_ref()))?)
}

fn json_of_table(table: &DeTable<'_>) -> Value {
    let entries = table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())));
    Value::Object(entries.collect::<Map<_, _>>())
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Array(list) => list.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => json_of_table(table),
        // No file here has others that matter.
        DeValue::Float(_) | DeValue::Datetime(_) => Value::Null,
    }
}

/// How old something is, in days.
fn days_since(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(seconds) / 86_400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_allowed_if_one_may_choose_an_allowed_one() {
        let allowed = ["MIT", "Apache-2.0"].map(str::to_owned);
        for license in ["MIT", "MIT/Apache-2.0", "GPL-3.0-only OR MIT", "(MIT OR Zlib) AND Apache-2.0"] {
            assert!(is_allowed(license, &allowed), "{license}");
        }
        for license in ["none", "", "GPL-3.0-only", "MIT AND Zlib", "Apache-2.0 WITH LLVM-exception"] {
            assert!(!is_allowed(license, &allowed), "{license}");
        }
    }

    #[test]
    fn a_version_has_the_faults_that_it_has() {
        let text = "```toml\n[advisory]\nid = \"RUSTSEC-1\"\npackage = \"a\"\n[versions]\npatched = [\">= 1.2, < 2\", \">= 2.1\"]\n\
                    unaffected = [\"< 1\"]\n```\n\n# It breaks\n\nText.\n";
        let known = advisory(text).unwrap().unwrap();
        assert_eq!(known.title, "It breaks");
        let concerns = |name: &str, version: &str| {
            known.concerns(&Package { name: name.into(), version: version.parse().unwrap(), source: None })
        };
        assert!(["1.0.0", "1.1.9", "2.0.3"].iter().all(|version| concerns("a", version)));
        assert!(["0.9.0", "1.2.0", "2.1.0"].iter().all(|version| !concerns("a", version)));
        assert!(!concerns("b", "1.0.0"));
        let withdrawn = text.replace("package", "withdrawn = \"2020-01-01\"\npackage");
        assert!(advisory(&withdrawn).unwrap().is_none());
    }
}
