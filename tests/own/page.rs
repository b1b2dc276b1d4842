//! The commands that the guide shows.

use std::path::Path;

/// The arguments of each `cargo offshoot` in a block of shell, in their order.
pub(crate) fn commands() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide/own-programs.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut is_shell = false;
    let mut commands = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            is_shell = line == "```sh";
        } else if let Some(args) = line.strip_prefix("cargo offshoot ").filter(|_| is_shell) {
            commands.push(args.split(' ').map(str::to_owned).collect());
        }
    }
    commands
}
