//! Checks the messages for the most common mistakes of developers: every message says what to write instead.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A program of `tests/mistakes`, and the message of the compiler or of the program itself.
enum Says {
    Compiler(&'static [&'static str]),
    Program(&'static [&'static str]),
}
use Says::{Compiler, Program};

const MISTAKES: [(&str, Says); 15] = [
    ("not_exported", Program(&["add `offshoot::export!(double)` beside it"])),
    ("closure", Program(&["a closure cannot be exported: make it a `fn name(..)`"])),
    ("capturing_closure", Compiler(&["only plain functions can be called", "write a `fn` and `offshoot::export!` it"])),
    (
        "borrowed_argument",
        Compiler(&[
            "cannot borrow an argument: `&str` ends before the function runs",
            "cannot borrow an argument: `&Path` ends before the function runs",
            "`String` instead of `&str`",
        ]),
    ),
    ("no_argument", Compiler(&["`Disk` cannot be an argument of an exported function", "derive `serde::Serialize`"])),
    ("many_arguments", Compiler(&["with at most 12 arguments", "more of them go into one struct"])),
    ("wrong_type", Compiler(&["mismatched types", "expected `u32`, found `&str`"])),
    ("wrong_number", Compiler(&["mismatched types", "expected a tuple with 1 element, found one with 2 elements"])),
    ("dropped_member", Compiler(&["unused `Result` that must be used"])),
    ("no_value", Compiler(&["fn() -> Facts {facts}", "impl offshoot::Value for T {}"])),
    ("no_error", Compiler(&["Result<(), Broken> {check}", "impl std::error::Error for E {}"])),
    ("same_name", Program(&["two exported functions are called", "rename one of them, or export it only once"])),
    ("no_child", Program(&["offshoot::child()", "first"])),
    ("late_child", Program(&["offshoot::child()", "first", "offshoot::testing!()"])),
    ("own_arguments", Program(&["reads its arguments before it becomes a child: call offshoot::child() first"])),
];

fn cargo(command: &str, program: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([command, "--quiet", "--offline", "--keep-going", "--bin", program]);
    cargo.arg("--manifest-path").arg(root.join("tests/mistakes/Cargo.toml"));
    // The lock file is in the repository, so nothing has to be downloaded.
    cargo.env("CARGO_TARGET_DIR", target()).env_remove("RUSTFLAGS").env("CARGO_TERM_COLOR", "never");
    cargo
}

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("mistakes")
}

#[test]
fn every_message_says_what_to_write_instead() {
    let mut wrong = Vec::new();
    for (program, says) in MISTAKES {
        let built = cargo("build", program).output().unwrap();
        let (words, said) = match says {
            Compiler(words) => {
                assert!(!built.status.success(), "{program} is built");
                (words, built.stderr)
            }
            Program(words) => {
                assert!(built.status.success(), "{program}: {}", String::from_utf8_lossy(&built.stderr));
                let run = cargo("run", program).output().unwrap();
                (words, [run.stdout, run.stderr].concat())
            }
        };
        let said = String::from_utf8_lossy(&said).into_owned();
        // rustc does not break lines, but a program may.
        let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            if !flat.contains(word) {
                wrong.push(format!("{program}: there is no {word:?} in\n{said}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
