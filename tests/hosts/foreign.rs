//! Hosts with another processor than this machine. They are reached by a bundle that has an image for each of
//! them, made by `cargo xtask foreign`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::OnHosts;
use crate::fleet::Fleet;
use crate::launcher::Launcher;
use crate::support::tool::{Ended, program, run};
use crate::support::trace::Trace;
use crate::support::{A_WHILE, Missing};

/// Alias, and the processor of the image for it. It is the processor that the kernel reports.
const HOSTS: [(&str, &str); 4] =
    [("aarch64", "aarch64"), ("aarch64-user", "aarch64"), ("i686", "x86"), ("i686-on-x86_64", "x86_64")];

/// Hosts whose images need the C library of the host, and the processor of each image.
const WITH_LIBC: [(&str, &str); 4] =
    [("armv7", "arm"), ("s390x", "s390x"), ("ppc64le", "powerpc64"), ("riscv64", "riscv64")];

/// The most bytes of an image as it travels.
const BUDGET: u64 = 850 * 1024;

pub(crate) fn trials() -> Vec<OnHosts> {
    let mut trials: Vec<OnHosts> = Vec::new();
    for (bundle, (alias, processor)) in
        HOSTS.map(|host| ("offshoot", host)).into_iter().chain(WITH_LIBC.map(|host| ("with-libc", host)))
    {
        let name = format!("the bundle's image for {processor} works on {alias} and leaves nothing (foreign)");
        trials.push((name, Box::new(move |fleet| visit(fleet, bundle, alias, processor))));
    }
    let mut add = |name: &str, trial: fn(&Fleet) -> Result<()>| trials.push((name.into(), Box::new(trial)));
    add("behind a hop, an image for another processor comes from further up (foreign)", behind_a_hop);
    add("an image crosses a link once, and the hop's own not at all (foreign)", once_over_a_link);
    add("a machine for which there is no image is told which there are (foreign)", unsupported);
    add("a bundle lists its images, each within the budget and with its digest (foreign)", listing);
    add("any program's bundle works on another processor (foreign)", example);
    trials
}

/// The bundle of this name, if it was built from the same sources as this test.
pub(crate) fn bundle(name: &str) -> Result<PathBuf> {
    let bundles = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bundles");
    let missing = || Missing("needs bundles of these sources: run cargo xtask foreign".into());
    let version = Command::new(bundles.join("offshoot")).arg("--version").output().map_err(|_| missing())?;
    if String::from_utf8_lossy(&version.stdout).contains(env!("OFFSHOOT_OWN_BUILD")) {
        Ok(bundles.join(name))
    } else {
        Err(missing().into())
    }
}

/// The bundled tool with the hosts' configuration.
fn tool(fleet: &Fleet, name: &str, args: &[&str]) -> Result<(Command, Trace, Launcher)> {
    let (what, args) = args.split_first().context("a subcommand")?;
    let config = fleet.config.display().to_string();
    let (mut command, trace) = program(&bundle(name)?, &[&[what, "-F", &config], args].concat());
    let launcher = Launcher::that_notes()?;
    launcher.lead(&mut command);
    let trace = trace.with_places(&fleet.places).with_notes(launcher.notes());
    Ok((command, trace, launcher))
}

fn to_the_end(fleet: &Fleet, name: &str, args: &[&str]) -> Result<Ended> {
    let (mut command, mut trace, _launcher) = tool(fleet, name, args)?;
    let ended = run(&mut command)?;
    // A program under an emulator ends slowly.
    trace.expect_nothing_left(A_WHILE)?;
    Ok(ended)
}

fn document(ended: &Ended) -> Result<Value> {
    serde_json::from_str(&ended.stdout.concat()).with_context(|| format!("{ended:?}"))
}

fn visit(fleet: &Fleet, bundle: &str, alias: &str, processor: &str) -> Result<()> {
    fleet.login(alias)?;
    let line = "echo out; echo err >&2; seq 20000; exit 7";
    let ended = to_the_end(fleet, bundle, &["run", "--json", "-w", alias, "-s", line])?;
    let host = &document(&ended)?["hosts"][alias];
    ensure!(ended.code == Some(2) && host["code"] == 7, "{ended:?}");
    let stdout = host["stdout"].as_str().context("an output")?;
    ensure!(stdout.starts_with("out\n1\n2\n") && stdout.ends_with("\n19999\n20000\n"), "{stdout:.100}");
    ensure!(host["stderr"] == "err\n", "{host}");
    // Numbers of every size cross in both directions, and a child of the child starts from its own image.
    let below = format!("{alias}/local1");
    for path in [alias, &below] {
        let ended = to_the_end(fleet, bundle, &["call", "--json", "-w", path, "host_facts"])?;
        let facts = &document(&ended)?["hosts"][path]["result"];
        ensure!(facts["arch"] == processor && facts["os"] == "linux", "{ended:?}");
        let memory = facts["memory"].as_u64().context("a size")?;
        ensure!((1 << 28..1 << 48).contains(&memory), "{facts}");
        ensure!(facts["uid"].as_u64() == Some(0) || alias.ends_with("-user"), "{facts}");
    }
    Ok(())
}

fn behind_a_hop(fleet: &Fleet) -> Result<()> {
    for (path, processor) in [
        ("here/aarch64", "aarch64"),
        ("here/web1/aarch64/local1", "aarch64"),
        // A container without a shell. Only the engine knows its processor.
        ("engines/docker:foreign", "aarch64"),
    ] {
        let ended = to_the_end(fleet, "offshoot", &["call", "--json", "-w", path, "host_facts"])?;
        let facts = &document(&ended)?["hosts"][path]["result"];
        ensure!(facts["arch"] == processor, "{ended:?}");
    }
    Ok(())
}

/// The bytes that go to the host `here` when others are reached through it.
fn bytes_to_here(fleet: &Fleet, hosts: &str) -> Result<u64> {
    let launcher = Launcher::that_counts()?;
    let (mut command, mut trace, _) = tool(fleet, "offshoot", &["run", "-w", hosts, "--", "true"])?;
    launcher.lead(&mut command);
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(0), "{ended:?}");
    trace.expect_nothing_left(A_WHILE)?;
    launcher.counted()
}

fn once_over_a_link(fleet: &Fleet) -> Result<()> {
    let (mut command, _) = program(&bundle("offshoot")?, &["images", "--json"]);
    let images = document(&run(&mut command)?)?["images"].clone();
    let is_wanted = |image: &&Value| image["triple"] == "aarch64-unknown-linux-musl";
    let image = images.as_array().and_then(|images| images.iter().find(is_wanted)).context("an image")?;
    let packed = image["packed"].as_u64().context("a size")?;
    // The image of the hop itself, and little else.
    let alone = bytes_to_here(fleet, "here/local1")?;
    let little = 64 * 1024;
    let own = bytes_to_here(fleet, "here/web1,here/web2,here/web3")?;
    ensure!(own < alone + little, "the hop has its own image: {alone}, then {own} bytes");
    // At the same time, so that requests are shared, and under several names.
    let foreign = bytes_to_here(fleet, "here/aarch64,here/aarch64-user,here/root@aarch64")?;
    ensure!(
        (alone + packed..alone + packed + little).contains(&foreign),
        "an image of {packed} bytes crosses once: {alone}, then {foreign} bytes"
    );
    Ok(())
}

fn unsupported(fleet: &Fleet) -> Result<()> {
    for path in ["odd-machine", "here/odd-machine"] {
        let ended = to_the_end(fleet, "offshoot", &["run", "--json", "-w", path, "--", "true"])?;
        let error = document(&ended)?["hosts"][path]["error"].clone();
        ensure!(ended.code == Some(4) && error["kind"] == "unsupported", "{ended:?}");
        let text = error["text"].as_str().context("a text")?;
        for word in ["Plan9 vax", "x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"] {
            ensure!(text.contains(word), "{word:?} is not in {text:?}");
        }
    }
    Ok(())
}

fn listing(_: &Fleet) -> Result<()> {
    let bundle = bundle("offshoot")?;
    let (mut command, _) = program(&bundle, &["images", "--json"]);
    let images = document(&run(&mut command)?)?["images"].clone();
    let images = images.as_array().context("a list")?;
    ensure!(images.len() == 3, "{images:?}");
    for image in images {
        let (size, packed) = (image["size"].as_u64(), image["packed"].as_u64());
        ensure!(packed.is_some_and(|packed| packed <= BUDGET), "{image}");
        let triple = image["triple"].as_str().context("a target")?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(target).join(triple).join("image/offshoot");
        let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
        ensure!(size == Some(bytes.len() as u64), "{image}");
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        ensure!(image["sha256"] == digest, "{image}");
    }
    Ok(())
}

fn example(fleet: &Fleet) -> Result<()> {
    let lines = reached(fleet, "disk_usage", &["/bin", "aarch64", "here"])?;
    ensure!(lines[0].starts_with("ssh.aarch64: ") && lines[1].starts_with("ssh.here: "), "{lines:?}");
    Ok(())
}

/// What a program prints about two hosts. It does not use the tool, and has no option for the configuration of ssh.
fn reached(fleet: &Fleet, name: &str, args: &[&str]) -> Result<Vec<String>> {
    let wrapper = tempfile::Builder::new().prefix("ofs-test").tempdir()?;
    let launcher = Launcher::that_notes()?;
    let script = format!("#!/bin/sh\nexec '{}' -F '{}' \"$@\"\n", launcher.program(), fleet.config.display());
    std::fs::write(wrapper.path().join("ssh"), script)?;
    std::fs::set_permissions(wrapper.path().join("ssh"), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let (mut command, trace) = program(&bundle(name)?, args);
    let path = std::env::var("PATH")?;
    command.env("PATH", format!("{}:{path}", wrapper.path().display()));
    let mut trace = trace.with_places(&fleet.places).with_notes(launcher.notes());
    let ended = run(&mut command)?;
    ensure!(ended.code == Some(0) && ended.stdout.len() == 2, "{ended:?}");
    trace.expect_nothing_left(A_WHILE)?;
    Ok(ended.stdout)
}
