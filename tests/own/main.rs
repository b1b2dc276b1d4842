//! Tests of `cargo offshoot` with real packages: they are made, built with the cargo of this machine, and run.
//!
//! Nothing is downloaded: the packages have the dependencies of this repository.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

mod package;
mod page;
mod wrong_images;

use package::{Package, said};

/// The commands of the page, in their order; then what the page says of the result. One test, because each part needs what
/// the one before it has built.
#[test]
fn the_commands_of_the_guide_make_a_program_that_reaches_machines_of_other_kinds() {
    let mut commands = page::commands().into_iter();
    assert_eq!(commands.next().unwrap(), ["new", "disk"]);
    let package = Package::new("disk");
    let mut ran = Vec::new();
    for args in commands {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = package.offshoot(&args);
        let text = said(&ended).to_owned();
        let expected: &[&str] = match args[..] {
            ["run"] => &["this machine: up for "],
            ["run", "--", "web1"] => &["web1: up for "],
            ["test"] => &["a_child_says_how_long_the_machine_has_been_up ... ok"],
            ["build"] => {
                &["target/offshoot/release/disk\n", "  x86_64-unknown-linux-musl: ", "  aarch64-unknown-linux-musl: "]
            }
            ["size"] => &["disk for aarch64-unknown-linux-musl: ", " of at most 2.0 MiB", "  offshoot\n", "  tokio\n"],
            ["doctor"] => &["ok       aarch64-unknown-linux-musl: standard library, linked by rust-lld"],
            _ => panic!("no test knows what `cargo offshoot {}` prints", args.join(" ")),
        };
        for part in expected {
            assert!(text.contains(part), "{args:?}: there is no {part:?} in {text}");
        }
        ran.push(args.join(" "));
    }
    assert_eq!(ran, ["run", "run -- web1", "test", "build", "size", "doctor"]);

    said(&package.offshoot(&["build", "--profile", "dev", "--also", "Linux-i686"]));
    let file = package.file("target/offshoot/debug/disk");
    // The image for i686 runs on this machine, too.
    let reached = package.run_on("Linux i686", &file, "web1");
    assert!(said(&reached).starts_with("web1: up for "), "{reached:?}");
    let refused = package.run_on("Linux armv7l", &file, "web1");
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("there is no image for Linux armv7l"), "{text}");
    assert!(text.contains("`cargo offshoot build --also Linux-armv7l` adds one"), "{text}");

    wrong_images::another_program_is_refused_by_its_name(&package, &file);
}

#[test]
fn plain_cargo_builds_for_another_processor_without_a_compiler_of_c() {
    let package = Package::new("plain");
    let built = package.cargo_without_c(&["build", "--target", "aarch64-unknown-linux-musl"]);
    said(&built);
    let file = std::fs::read(package.file("target/aarch64-unknown-linux-musl/debug/plain")).unwrap();
    assert_eq!(offshoot::bundle::machine_of(&file), Some(("Linux", "aarch64")));
    assert!(offshoot::cli::own::has_library(&file));
}

#[test]
fn the_doctor_says_what_is_missing_and_how_to_get_it() {
    let package = Package::new("ill");
    let well = package.offshoot(&["doctor", "--targets", "x86_64"]);
    assert!(
        said(&well).contains("ok       x86_64-unknown-linux-musl: standard library, linked by rust-lld"),
        "{well:?}"
    );
    // Nobody has one for this.
    let ill = package.offshoot(&["doctor", "--targets", "sparc-unknown-linux-gnu"]);
    let text = String::from_utf8_lossy(&ill.stdout).into_owned();
    assert_eq!(ill.status.code(), Some(1), "{text}");
    assert!(text.contains("MISSING  sparc-unknown-linux-gnu: there is no standard library for it"), "{text}");
}
