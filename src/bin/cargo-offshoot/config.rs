//! What the user has configured for the targets, in files that cargo reads and in the environment.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use cargo_config2::Config;

/// The linker that `cargo offshoot` takes anyway, so that a configuration which names it changes nothing.
const OURS: &str = "rust-lld";

/// What is configured for one target.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Configured {
    /// The linker, unless it is `rust-lld`.
    pub(crate) linker: Option<String>,
    /// The flags for rustc, from the one source of them that cargo would take.
    pub(crate) flags: Vec<String>,
}

/// Reads it for each target, as cargo would in this directory. Also says whether the environment of rustc, which cargo adds to,
/// has a variable.
pub(crate) fn of(targets: &[&String], variable: &str) -> Result<(BTreeMap<String, Configured>, bool)> {
    let config = Config::load().context("the configuration of cargo cannot be read")?;
    let configured = targets.iter().map(|target| Ok(((*target).clone(), one(&config, target)?)));
    let is_set = std::env::var_os(variable).is_some() || config.env.contains_key(variable);
    Ok((configured.collect::<Result<_>>()?, is_set))
}

fn one(config: &Config, target: &str) -> Result<Configured> {
    let linker = config.linker(target)?.filter(|linker| linker.file_name() != Some(OURS.as_ref()));
    let flags = config.rustflags(target)?.map(|flags| flags.flags);
    Ok(Configured { linker: linker.map(|linker| linker.display().to_string()), flags: flags.unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use cargo_config2::{PathAndArgs, ResolveOptions};

    use super::*;

    const AARCH64: &str = "aarch64-unknown-linux-musl";

    /// What is configured in a directory with this file, without the home of cargo.
    fn configured(text: &str, env: &[(&str, &str)]) -> Configured {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join(".cargo")).unwrap();
        fs::write(directory.path().join(".cargo/config.toml"), text).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let options = ResolveOptions::default().env(env).cargo_home(None).rustc(PathAndArgs::new("rustc"));
        one(&Config::load_with_options(Path::new(directory.path()), options).unwrap(), AARCH64).unwrap()
    }

    #[test]
    fn flags_come_from_where_cargo_takes_them() {
        let flags = |text: &str, env: &[(&str, &str)]| configured(text, env).flags;
        let build = "[build]\nrustflags = [\"--cfg\", \"tokio_unstable\"]\n";
        let target = format!("[target.{AARCH64}]\nrustflags = \"-Ca -Cb\"\n");
        assert_eq!(flags("", &[]), [""; 0]);
        assert_eq!(flags(build, &[]), ["--cfg", "tokio_unstable"]);
        assert_eq!(flags(&format!("{build}{target}"), &[]), ["-Ca", "-Cb"]);
        assert_eq!(flags(&target, &[("RUSTFLAGS", "-Cc  -Cd")]), ["-Cc", "-Cd"]);
        let both = [("RUSTFLAGS", "-Cc"), ("CARGO_ENCODED_RUSTFLAGS", "-Ce f\x1f-Cg")];
        assert_eq!(flags(&target, &both), ["-Ce f", "-Cg"]);
    }

    #[test]
    fn a_linker_is_that_of_a_file_or_of_the_environment() {
        let linker = |name: &str| format!("[target.{AARCH64}]\nlinker = \"{name}\"\n");
        assert_eq!(configured(&linker("my-ld"), &[]).linker.as_deref(), Some("my-ld"));
        for ours in ["rust-lld", "/toolchain/bin/rust-lld"] {
            assert_eq!(configured(&linker(ours), &[]).linker, None);
        }
        let env = [("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER", "other-ld")];
        assert_eq!(configured(&linker("rust-lld"), &env).linker.as_deref(), Some("other-ld"));
    }
}
