//! Images that the tool does not put into a program.

use std::path::Path;
use std::process::Command;

use crate::package::Package;

/// What somebody gets who makes a bundle by hand and names the wrong files.
pub(crate) fn another_program_is_refused_by_its_name(package: &Package, program: &Path) {
    let image = package.file("target/aarch64-unknown-linux-musl/offshoot-release/disk");
    let refused = |args: &[&str], says: &str| {
        let output = package.file("never");
        let mut bundle = Command::new(env!("CARGO_BIN_EXE_offshoot"));
        bundle.arg("bundle").args(args).arg("-o").arg(&output).arg(&image);
        let ended = bundle.output().unwrap();
        let text = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && text.contains(says), "{text}");
        assert!(!output.exists());
    };
    refused(&[], "an image of disk-0.1.0, and it cannot go into the tool `offshoot`; name the program");
    let plain = std::env::current_exe().unwrap();
    let program_without_id = plain.to_str().unwrap();
    refused(
        &["--program", program_without_id],
        "an image of disk-0.1.0, and the program is a program without a build id",
    );
    // The right one is taken, and nothing is noted.
    let mut bundle = Command::new(env!("CARGO_BIN_EXE_offshoot"));
    bundle.args(["bundle", "--program"]).arg(program).arg("-o").arg(package.file("by-hand")).arg(&image);
    let ended = bundle.output().unwrap();
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && !text.contains("is not checked"), "{text}");
}
