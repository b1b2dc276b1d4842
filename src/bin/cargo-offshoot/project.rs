//! The packages that are built: what `cargo metadata` and `[package.metadata.offshoot]` say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use cargo_metadata::{DependencyKind, Metadata, Package, PackageId};
use serde::Deserialize;

use super::target;

/// The crates by which build scripts compile C.
const COMPILERS: [&str; 4] = ["cc", "cmake", "openssl-src", "autotools"];

/// What `[package.metadata.offshoot]` has.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    targets: Option<Vec<String>>,
    budget: Option<String>,
}

/// The packages of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Project {
    /// The directory of the workspace.
    pub(crate) root: PathBuf,
    /// The directory of cargo's results.
    pub(crate) target_directory: PathBuf,
    /// The name and version of each package.
    pub(crate) names: Vec<String>,
    /// The program that is run if none is named.
    pub(crate) default_run: Option<String>,
    /// The targets that the manifests name.
    pub(crate) targets: Option<Vec<String>>,
    /// The most bytes of an image as it travels.
    pub(crate) budget: Option<u64>,
    /// The packages that compile C for the program.
    pub(crate) in_c: Vec<String>,
    /// The directories of packages whose sources are on this machine and may change.
    pub(crate) sources: Vec<PathBuf>,
    /// The version of the library, and the features that it is built with. `None` if no package uses it.
    pub(crate) library: Option<(String, Vec<String>)>,
}

impl Project {
    /// Reads what is known of the packages that `wanted` names, or of those that cargo takes by default.
    pub(crate) fn of(metadata: &Metadata, wanted: &[String]) -> Result<Self> {
        let selected = selected(metadata, wanted)?;
        let (mut targets, mut budget) = (Vec::new(), None);
        let mut is_named = false;
        for settings in settings(metadata, &selected)? {
            for word in settings.targets.iter().flatten() {
                let target = target::named(word).context("[package.metadata.offshoot] targets")?;
                is_named = true;
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
            if let Some(text) = &settings.budget {
                let bytes = bytes(text).with_context(|| format!("[package.metadata.offshoot] budget = {text:?}"))?;
                budget = budget.max(Some(bytes));
            }
        }
        let reached = reached(metadata, &selected);
        let library = reached.iter().find(|id| metadata[*id].name.as_str() == "offshoot");
        let library = library.map(|id| (metadata[id].version.to_string(), features_of(metadata, id)));
        let local = metadata.packages.iter().filter(|package| package.source.is_none());
        let mut sources: Vec<_> = local.filter_map(directory).collect();
        sources.sort();
        Ok(Self {
            root: metadata.workspace_root.clone().into(),
            target_directory: metadata.target_directory.clone().into(),
            names: selected.iter().map(|package| format!("{}-{}", package.name, package.version)).collect(),
            default_run: selected.iter().find_map(|package| package.default_run.clone()),
            targets: is_named.then_some(targets),
            budget,
            in_c: in_c(metadata, &reached),
            sources,
            library,
        })
    }
}

fn directory(package: &Package) -> Option<PathBuf> {
    package.manifest_path.parent().map(|directory| directory.as_std_path().to_owned())
}

/// The packages of the workspace that cargo would build.
fn selected<'a>(metadata: &'a Metadata, wanted: &[String]) -> Result<Vec<&'a Package>> {
    let members = metadata.workspace_packages();
    if wanted.is_empty() {
        // The package of the directory, as cargo takes it, or those that the workspace names.
        let root = metadata.root_package().map(|package| vec![package]);
        let defaults = || metadata.workspace_default_packages();
        return Ok(root
            .unwrap_or_else(|| if metadata.workspace_default_members.is_available() { defaults() } else { members }));
    }
    wanted
        .iter()
        .map(|name| {
            let found = members.iter().find(|package| package.name.as_str() == name);
            let names: Vec<_> = members.iter().map(|package| package.name.as_str()).collect();
            found.copied().with_context(|| format!("the workspace has no package {name}; it has {}", names.join(", ")))
        })
        .collect()
}

/// The settings of each package, or else those of the workspace.
fn settings(metadata: &Metadata, selected: &[&Package]) -> Result<Vec<Settings>> {
    let read = |value: &serde_json::Value, whose: &str| -> Result<Option<Settings>> {
        match value.get("offshoot") {
            None => Ok(None),
            Some(value) => Ok(Some(
                Settings::deserialize(value).with_context(|| format!("[{whose}.metadata.offshoot] of the manifest"))?,
            )),
        }
    };
    let mut all = Vec::new();
    for package in selected {
        all.extend(read(&package.metadata, "package")?);
    }
    if all.is_empty() {
        all.extend(read(&metadata.workspace_metadata, "workspace")?);
    }
    Ok(all)
}

/// The packages whose code is in the programs.
fn reached(metadata: &Metadata, selected: &[&Package]) -> BTreeSet<PackageId> {
    let mut reached: BTreeSet<_> = selected.iter().map(|package| package.id.clone()).collect();
    let mut next: Vec<_> = reached.iter().cloned().collect();
    let edges = edges(metadata, DependencyKind::Normal);
    while let Some(id) = next.pop() {
        next.extend(edges.get(&id).into_iter().flatten().filter(|id| reached.insert((*id).clone())).cloned());
    }
    reached
}

fn edges(metadata: &Metadata, kind: DependencyKind) -> BTreeMap<PackageId, Vec<PackageId>> {
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let of = |node: &cargo_metadata::Node| {
        let deps = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|dep| dep.kind == kind));
        (node.id.clone(), deps.map(|dep| dep.pkg.clone()).collect())
    };
    nodes.map(of).collect()
}

fn in_c(metadata: &Metadata, reached: &BTreeSet<PackageId>) -> Vec<String> {
    let edges = edges(metadata, DependencyKind::Build);
    let compiles = |id: &&PackageId| {
        let tools = edges.get(*id).into_iter().flatten();
        tools.into_iter().any(|tool| COMPILERS.contains(&metadata[tool].name.as_str()))
    };
    let mut names: Vec<_> = reached.iter().filter(compiles).map(|id| metadata[id].name.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn features_of(metadata: &Metadata, id: &PackageId) -> Vec<String> {
    let mut nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    let node = nodes.find(|node| node.id == *id);
    node.map(|node| node.features.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// The bytes that a text such as `4 MiB` names.
pub(crate) fn bytes(text: &str) -> Result<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (text[..end].parse::<u64>(), text[end..].trim());
    let factor: u64 = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => bail!("a size is a number of bytes, or of KiB or MiB, such as 4 MiB"),
    };
    let bytes = number.ok().and_then(|number| number.checked_mul(factor)).filter(|bytes| *bytes > 0);
    ensure!(bytes.is_some(), "a size is a positive number, such as 4 MiB");
    Ok(bytes.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with a program that has a library in C, and a build script that needs another one on this machine.
    fn metadata(settings: &str) -> Metadata {
        let id = |name: &str| format!("path+file:///w/{name}#0.1.0");
        let package = |name: &str, source: &str, metadata: &str| {
            format!(
                r#"{{"name":"{name}","version":"0.1.0","id":"{}","source":{source},"dependencies":[],"targets":[],
                "features":{{}},"manifest_path":"/w/{name}/Cargo.toml","metadata":{metadata}}}"#,
                id(name)
            )
        };
        let node = |name: &str, deps: &[(&str, &str)], features: &str| {
            let deps: Vec<_> = deps
                .iter()
                .map(|(dep, kind)| {
                    let id = id(dep);
                    format!(r#"{{"name":"{dep}","pkg":"{id}","dep_kinds":[{{"kind":{kind},"target":null}}]}}"#)
                })
                .collect();
            let deps = deps.join(",");
            format!(r#"{{"id":"{}","dependencies":[],"deps":[{deps}],"features":[{features}]}}"#, id(name))
        };
        let registry = r#""registry+https://example.invalid/index""#;
        let packages = [
            package("disk", "null", settings),
            package("other", "null", "null"),
            package("offshoot", registry, "null"),
            package("sqlite", registry, "null"),
            package("codegen", registry, "null"),
            package("zlib", registry, "null"),
            package("cc", registry, "null"),
        ];
        let nodes = [
            node("disk", &[("offshoot", "null"), ("sqlite", "null"), ("codegen", "\"build\"")], ""),
            node("other", &[("cc", "\"dev\"")], ""),
            node("offshoot", &[], r#""cli""#),
            node("sqlite", &[("cc", "\"build\"")], ""),
            node("codegen", &[("zlib", "null")], ""),
            node("zlib", &[("cc", "\"build\"")], ""),
            node("cc", &[], ""),
        ];
        let (packages, nodes) = (packages.join(","), nodes.join(","));
        let members = format!(r#""{}","{}""#, id("disk"), id("other"));
        let text = format!(
            r#"{{"packages":[{packages}],"workspace_members":[{members}],"workspace_default_members":[{members}],
            "resolve":{{"nodes":[{nodes}],"root":null}},"target_directory":"/w/target","version":1,"workspace_root":"/w",
            "metadata":{{"offshoot":{{"budget":"5 MiB"}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_a_manifest_says_is_read() {
        let metadata = metadata(r#"{"offshoot":{"targets":["aarch64","x86_64-unknown-linux-musl"],"budget":"2 MiB"}}"#);
        let project = Project::of(&metadata, &["disk".into()]).unwrap();
        assert_eq!(project.targets.unwrap(), ["aarch64-unknown-linux-musl", "x86_64-unknown-linux-musl"]);
        assert_eq!(project.budget, Some(2 << 20));
        assert_eq!(project.names, ["disk-0.1.0"]);
        assert_eq!(project.library, Some(("0.1.0".into(), vec!["cli".into()])));
        assert_eq!(project.sources, [PathBuf::from("/w/disk"), PathBuf::from("/w/other")]);
    }

    #[test]
    fn a_package_without_settings_has_those_of_the_workspace() {
        let project = Project::of(&metadata("null"), &["other".into()]).unwrap();
        assert_eq!((project.targets, project.budget, project.library), (None, Some(5 << 20), None));
    }

    #[test]
    fn c_is_compiled_for_the_program_and_not_for_its_build_scripts() {
        let project = Project::of(&metadata("null"), &["disk".into()]).unwrap();
        assert_eq!(project.in_c, ["sqlite"]);
        assert!(Project::of(&metadata("null"), &["other".into()]).unwrap().in_c.is_empty());
    }

    #[test]
    fn what_a_manifest_misspells_is_named() {
        for (settings, says) in [
            (r#"{"offshoot":{"target":["aarch64"]}}"#, "unknown field `target`"),
            (r#"{"offshoot":{"targets":["vax"]}}"#, "vax is no target"),
            (r#"{"offshoot":{"budget":"2 MB"}}"#, "budget = \"2 MB\": a size is"),
        ] {
            let why = format!("{:#}", Project::of(&metadata(settings), &["disk".into()]).unwrap_err());
            assert!(why.contains(says), "{why}");
        }
        let why = Project::of(&metadata("null"), &["dsk".into()]).unwrap_err().to_string();
        assert_eq!(why, "the workspace has no package dsk; it has disk, other");
    }

    #[test]
    fn sizes_have_units() {
        for (text, size) in [("4 MiB", 4 << 20), ("900KiB", 900 << 10), ("17", 17)] {
            assert_eq!(bytes(text).unwrap(), size);
        }
        for text in ["", "0", "-1", "MiB", "1 GB", "99999999999999999999", "18446744073709551615 MiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
