//! Checks that the documentation shows the real output of the tool.

#[path = "support/transcript.rs"]
mod transcript;

use transcript::{Block, ON_HOSTS, blocks, check};

/// Blocks that are not run: the page, the beginning of the first line, and the reason.
const NOT_RUN: [(&str, &str, &str); 69] = [
    ("README.md", "make && ", "builds the tool"),
    ("README.md", "make check", "runs all tests"),
    ("README.md", "dist/offshoot run -w 'web[01-40]!web07'", "shows options with hosts of nobody, and no output"),
    ("README.md", "fn disk_usage", "is Rust; the whole program is examples/disk_usage.rs, which is built and run"),
    ("docs/guide/shell.md", "offshoot shell web1", "needs hosts"),
    ("docs/guide/containers.md", "offshoot run -w web1/docker:app", "needs containers"),
    ("docs/guide/containers.md", "offshoot run -w web1/sudo/setns", "needs a container"),
    ("docs/guide/files.md", "offshoot push -w 'web[1-9]' -b", "writes on hosts of nobody"),
    ("docs/guide/files.md", "offshoot run -w 'web[1-9]' -s 'cat >", "writes on hosts of nobody"),
    ("docs/guide/files.md", "sum=$(sha256sum", "writes on hosts of nobody"),
    ("docs/guide/files.md", "tar -C site", "writes on hosts of nobody"),
    ("docs/guide/files.md", "offshoot run -w web1 -- cat", "needs a host"),
    ("docs/guide/files.md", "offshoot run -w web1 --json", "needs a host"),
    ("docs/guide/files.md", "use offshoot::{Error, Router}", "is Rust, and a test of the documentation"),
    ("docs/guide/file-services.md", "use offshoot::error", "is Rust, and a test of the documentation"),
    ("docs/guide/file-services.md", "use offshoot::service", "is Rust, and a test of the documentation"),
    ("docs/guide/services.md", "use offshoot::service", "is Rust, and a test of the documentation"),
    ("docs/guide/first-run.md", "export PATH", "changes the shell of the reader"),
    ("docs/guide/first-run.md", "offshoot run -w web1,web2", "needs hosts"),
    ("docs/guide/running.md", "offshoot run --keep 10m -w", "needs hosts"),
    ("docs/guide/hops.md", "offshoot run -w 'bastion/web[1-9]'", "needs hosts"),
    ("docs/guide/hops.md", "offshoot cache ls", "needs hosts"),
    ("docs/guide/privilege.md", "offshoot run -w 'web[1-9]' -b --become-pass-file", "needs hosts and a password"),
    ("docs/guide/observe.md", "offshoot run -w nosuchhost.invalid", "asks the network for a name"),
    ("docs/guide/coming-from.md", "offshoot run -I hosts.yml", "needs hosts"),
    ("docs/guide/rsync-git-scp.md", "offshoot with bastion", "needs hosts"),
    ("docs/guide/rsync-git-scp.md", "[hosts]", "is a configuration"),
    ("docs/guide/rsync-git-scp.md", "[all:vars]", "is an inventory of Ansible"),
    ("docs/guide/rsync-git-scp.md", "use std::process", "is Rust, and a test of the documentation"),
    ("docs/guide/rsync-git-scp.md", "rsync -a -e 'offshoot rsh' db-root", "needs a host"),
    ("docs/guide/forwarding.md", "offshoot forward", "needs hosts"),
    ("docs/guide/forwarding.md", "127.0.0.1:8080", "is what the block before it prints"),
    ("docs/guide/forwarding.md", "ssh -o", "needs a host"),
    ("docs/guide/forwarding.md", "use offshoot::Router", "is Rust, and a test of the documentation"),
    ("docs/guide/hosts.md", "[slurm]", "is a configuration"),
    ("docs/guide/own-methods.md", "[methods.srun]", "is a configuration"),
    ("docs/guide/own-methods.md", "[methods.nsenter]", "is a configuration"),
    ("docs/guide/own-methods.md", "let job", "is Rust; the example of Router::launcher is a test of the documentation"),
    ("docs/reference/configuration.md", "[groups]", "is a configuration; `offshoot help config` has it, too"),
    ("docs/reference/configuration.md", "[commands]", "is a configuration"),
    ("docs/reference/configuration.md", "[hosts]", "is a configuration"),
    ("docs/guide/packaging.md", "make release", "takes many minutes"),
    ("docs/guide/packaging.md", "cd dist/release", "needs a release"),
    ("docs/guide/packaging.md", "diff dist/release", "needs a release"),
    ("docs/guide/packaging.md", "apt install", "is done by make packaged, with dpkg"),
    ("docs/guide/packaging.md", "cargo vendor", "is done by make offline"),
    ("docs/guide/own-programs.md", "[target.aarch64", "is a configuration of cargo"),
    ("docs/guide/own-programs.md", "cargo install", "installs what is tested here"),
    ("docs/guide/own-programs.md", "cargo offshoot new", "is run by tests/own, with the rest of these commands"),
    ("docs/guide/own-programs.md", "cargo offshoot run", "is run by tests/own"),
    ("docs/guide/own-programs.md", "cargo offshoot build", "is run by tests/own"),
    ("docs/guide/own-programs.md", "cargo offshoot size", "is run by tests/own"),
    ("docs/guide/own-programs.md", "cargo offshoot doctor", "is run by tests/own"),
    ("docs/guide/own-programs.md", "[package.metadata", "is a part of a manifest"),
    ("docs/guide/own-programs.md", "offshoot bundle --program", "needs programs for other processors"),
    ("docs/guide/privilege.md", "offshoot call -w 'web[1-9]' -b --binary", "needs hosts with a rule of sudo"),
    ("docs/guide/privilege.md", "offshoot push -b -w 'web[1-9]' --no-owner", "writes as root on hosts"),
    ("docs/guide/privilege.md", "offshoot run -w local1/sudo", "needs sudo"),
    ("docs/guide/privilege.md", "local1/sudo:nobody: nobody", "is what the block before it prints"),
    ("docs/guide/install.md", "make bundle", "builds for other processors"),
    ("docs/guide/privilege.md", "offshoot run -w 'web[1-9]' -bK", "asks for a password of hosts of nobody"),
    ("docs/guide/your-own-functions.md", "cargo new disk", "makes a package"),
    ("docs/guide/your-own-functions.md", "use offshoot::{Error", "is Rust, and a test of the documentation"),
    ("docs/guide/your-own-functions.md", "cargo build", "builds that package"),
    ("docs/guide/your-own-functions.md", "use std::time::Duration;", "is Rust, and a test of the documentation"),
    ("docs/guide/your-own-functions.md", "use offshoot::connect::HostPath", "is Rust, and a test of the documentation"),
    ("docs/guide/your-own-functions.md", "use offshoot::{Value", "is Rust, and a test of the documentation"),
    ("docs/guide/your-own-functions.md", "use offshoot::{CallStream", "is Rust, and a test of the documentation"),
    ("docs/reference/blocking.md", "# use offshoot::{Error", "is Rust, and a test of the documentation"),
];

fn is_transcript(block: &Block) -> bool {
    block.lines.first().is_some_and(|line| line.starts_with("$ "))
}

#[test]
fn what_the_pages_show_is_what_is_printed() {
    let blocks: Vec<Block> =
        blocks().unwrap().into_iter().filter(|block| is_transcript(block) && !block.is_on_hosts()).collect();
    assert!(blocks.len() > 10, "{} transcripts are found", blocks.len());
    check(&blocks).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn a_block_that_is_not_run_has_a_reason() {
    let blocks = blocks().unwrap();
    for block in &blocks {
        let reasons = NOT_RUN.iter().filter(|(page, text, _)| block.begins_with(page, text)).count();
        let place = format!("{}:{}", block.page, block.at + 1);
        assert_eq!(reasons, usize::from(!is_transcript(block)), "{place}: a block is run, or has a reason why not");
    }
    let listed = NOT_RUN.iter().map(|(page, text, _)| (*page, *text)).chain(ON_HOSTS);
    for (page, text) in listed {
        assert!(blocks.iter().any(|block| block.begins_with(page, text)), "{page}: there is no block with {text}");
    }
}
