//! Programs that contain C, which zig compiles for each target.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::package::{Package, said, with_first};

/// What the program prints of SQLite: the result of a query, so that more than the library's name is asked.
const SQLITE: &str = r#"
#[cfg(feature = "sqlite")]
fn answer() -> String {
    let database = rusqlite::Connection::open_in_memory().expect("a database");
    database.query_row("SELECT 'SQLite says ' || (6 * 7)", [], |row| row.get(0)).expect("an answer")
}
"#;

/// And of OpenSSL.
const OPENSSL: &str = r#"
#[cfg(feature = "openssl")]
fn answer() -> String {
    let digest = openssl::sha::sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("OpenSSL says {digest}")
}
"#;

const FUNCTION: &str = "
pub fn asked() -> String {
    answer()
}
offshoot::export!(asked);
";

/// With an argument it answers itself, so that an emulator can run it, which starts no child of another processor.
const MAIN: &str = r#"
fn main() -> std::process::ExitCode {
    if std::env::args().nth(1).as_deref() == Some("here") {
        println!("{}", in_c::asked());
        return std::process::ExitCode::SUCCESS;
    }
    offshoot::run(async |router| {
        let child = router.ssh("web1").connect().await?;
        println!("web1: {}", child.call(in_c::asked, ()).await?);
        Ok::<(), offshoot::Error>(())
    })
}
"#;

const DEPENDENCIES: &str = r#"[dependencies]
rusqlite = { version = "RUSQLITE", features = ["bundled"], optional = true }
openssl = { version = "OPENSSL", features = ["vendored"], optional = true }
"#;

const FEATURES: &str = r#"
[features]
sqlite = ["dep:rusqlite"]
openssl = ["dep:openssl"]
"#;

#[test]
fn a_program_with_sqlite_in_it_is_built_for_two_processors() {
    built_and_run("sqlite", "SQLite says 42");
}

#[test]
#[ignore = "OpenSSL takes minutes to compile: make own-openssl"]
fn a_program_with_openssl_in_it_is_built_for_two_processors() {
    built_and_run("openssl", "OpenSSL says ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/// Builds a package with one of the features, and runs it here, and under an emulator, if there is one.
fn built_and_run(feature: &str, answer: &str) {
    let Some(tools) = Tools::find() else { return };
    let package = Package::online("in-c", &tools.env());
    let manifest = std::fs::read_to_string(package.file("Cargo.toml")).unwrap();
    let dependencies = DEPENDENCIES.replace("RUSQLITE", "0.37").replace("OPENSSL", "0.10");
    let manifest = manifest.replace("[dependencies]\n", &dependencies) + FEATURES;
    std::fs::write(package.file("Cargo.toml"), manifest).unwrap();
    std::fs::write(package.file("src/lib.rs"), [SQLITE, OPENSSL, FUNCTION].concat()).unwrap();
    std::fs::write(package.file("src/main.rs"), MAIN).unwrap();
    std::fs::remove_file(package.file("tests/children.rs")).unwrap();

    let doctor = package.offshoot(&["doctor", "--features", feature]);
    let compiled = said(&doctor).lines().find(|line| line.contains("C is compiled for "));
    assert!(compiled.is_some_and(|line| line.ends_with("-sys; zig compiles it")), "{doctor:?}");

    said(&package.offshoot(&["build", "--features", feature]));
    let bundle = package.file("target/offshoot/release/in-c");
    let reached = package.run_on("Linux x86_64", &bundle, "");
    assert_eq!(said(&reached), format!("web1: {answer}\n"));

    let image = package.file("target/aarch64-unknown-linux-musl/offshoot-release/in-c");
    let bytes = std::fs::read(&image).unwrap();
    assert_eq!(offshoot::bundle::machine_of(&bytes), Some(("Linux", "aarch64")));
    match ["qemu-aarch64-static", "qemu-aarch64"].iter().find(|name| is_on_path(name)) {
        Some(emulator) => {
            let ran = Command::new(emulator).arg(&image).arg("here").output().unwrap();
            assert_eq!(said(&ran), format!("{answer}\n"));
        }
        None => eprintln!("NOT RUN: the image with {feature} for aarch64, as qemu-aarch64 is not here"),
    }
}

fn is_on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// zig and its driver, where `cargo xtask zig` puts them.
struct Tools {
    directory: PathBuf,
}

impl Tools {
    /// Finds them. Without them the test is skipped, which is a failure in CI.
    fn find() -> Option<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
        if directory.join("bin/cargo-zigbuild").exists() {
            return Some(Self { directory });
        }
        let why = "there is no zig in target/tools: run `cargo xtask zig`, which downloads it";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("SKIPPED: {why}");
        None
    }

    /// What makes them the tools of a user who has installed them by pip.
    fn env(&self) -> [(&'static str, std::ffi::OsString); 4] {
        let caches = self.directory.with_file_name("tools-cache");
        [
            ("PATH", with_first(&self.directory.join("bin"))),
            ("PYTHONPATH", self.directory.clone().into()),
            ("CARGO_ZIGBUILD_CACHE_DIR", caches.clone().into()),
            ("ZIG_GLOBAL_CACHE_DIR", caches.join("zig").into()),
        ]
    }
}
