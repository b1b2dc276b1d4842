//! Tests of `cargo offshoot` with real packages: they are made, built with the cargo of this machine, and run.
//!
//! The packages have the dependencies of this repository, so nothing is downloaded for them; those of `with_c` have others.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]
#![expect(clippy::print_stderr, reason = "the progress of a test of minutes")]

mod package;
mod page;
mod with_c;
mod wrong_images;

use package::{Package, said};

/// The commands of the page, in their order; then what the page says of the result. One test, because each part needs what
/// the one before it has built.
#[test]
fn the_commands_of_the_guide_make_a_program_that_reaches_machines_of_other_kinds() {
    let mut commands = page::commands().into_iter();
    assert_eq!(commands.next().unwrap(), ["new", "disk", "--library", "../offshoot"]);
    let package = Package::new("disk");
    let mut ran = Vec::new();
    for args in commands {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        eprintln!("cargo offshoot {}", args.join(" "));
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

    said(&package.offshoot(&["build", "--also", "Linux-i686"]));
    let file = package.file("target/offshoot/release/disk");
    let program = std::fs::read(&file).unwrap();
    let home = std::env::var_os("CARGO_HOME").map_or_else(|| std::env::home_dir().unwrap().join(".cargo"), Into::into);
    for place in [env!("CARGO_MANIFEST_DIR").as_bytes(), b"own packages ", home.as_os_str().as_encoded_bytes()] {
        let has = program.windows(place.len()).any(|window| window == place);
        assert!(!has, "the program names {} of this machine", String::from_utf8_lossy(place));
    }
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
fn a_workspace_with_several_programs_features_and_examples_gives_one_file_for_each_program() {
    let package = Package::in_workspace("two-programs");
    let append = |path: &str, text: &str| {
        let file = package.file(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        std::fs::write(file, before + text).unwrap();
    };
    append("Cargo.toml", "\n[features]\nloud = []\n");
    let manifest = std::fs::read_to_string(package.file("Cargo.toml")).unwrap();
    std::fs::write(package.file("Cargo.toml"), manifest.replace("\"2024\"", "\"2021\"")).unwrap();
    append(
        "build.rs",
        "fn main() {\n    println!(\"cargo:rustc-env=FOR={}\", std::env::var(\"TARGET\").unwrap());\n}\n",
    );
    let main = "fn main() -> std::process::ExitCode {\n    offshoot::run(app)\n}\n\
                async fn app(router: offshoot::Router) -> Result<(), offshoot::Error> {\n    \
                let child = router.local().connect().await?;\n    child.call(two_programs::uptime, ()).await?;\n    \
                println!(\"NAME {} {}\", cfg!(feature = \"loud\"), env!(\"FOR\"));\n    Ok(())\n}\n";
    append("src/bin/second.rs", &main.replace("NAME", "second"));
    append("examples/shown.rs", &main.replace("NAME", "shown"));
    append("src/bin/plain.rs", "fn main() {}\n");

    let built =
        package.offshoot(&["build", "--profile", "dev", "--targets", "x86_64", "-p", "two-programs", "-F", "loud"]);
    let files: Vec<_> = said(&built).lines().filter(|line| !line.starts_with(' ')).collect();
    assert!(files.len() == 2 && files[0].ends_with("/second") && files[1].ends_with("/two-programs"), "{built:?}");
    assert!(files.iter().all(|file| file.starts_with(env!("CARGO_TARGET_TMPDIR"))), "{built:?}");
    let note = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(note.contains("plain does not use the library offshoot, and is left out"), "{note}");
    let second = package.run_on("Linux x86_64", files[0].as_ref(), "");
    assert_eq!(said(&second), "second true x86_64-unknown-linux-musl\n");

    let shown = package.offshoot(&["run", "--targets", "x86_64", "--example", "shown"]);
    assert_eq!(said(&shown), "shown false x86_64-unknown-linux-musl\n");
    let which = package.offshoot(&["run", "--targets", "x86_64"]);
    let why = String::from_utf8_lossy(&which.stderr).into_owned();
    assert!(
        !which.status.success() && why.contains("there are several programs, plain, second, two-programs"),
        "{why}"
    );
    let alone = package.offshoot(&["build", "--profile", "dev", "--targets", "x86_64", "--bin", "plain"]);
    let why = String::from_utf8_lossy(&alone.stderr).into_owned();
    assert!(!alone.status.success() && why.contains("plain does not use the library offshoot"), "{why}");
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
