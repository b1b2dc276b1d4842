//! Commands on terminals.

use offshoot::process::WindowSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Tree, block_on, eventually, is_alive};

#[test]
fn a_command_has_a_terminal_of_the_size_that_it_is_told() {
    let tree = Tree::new();
    let far = tree.behind(&tree.child());
    block_on(async {
        let size = WindowSize { rows: 33, columns: 99 };
        let mut child = far.shell("stty size; read -r a; stty size; exit 4").terminal(size).spawn();
        let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut text = vec![0; 7];
        stdout.read_exact(&mut text).await.unwrap();
        assert_eq!(text, b"33 99\r\n");
        let pid = child.pid().await.unwrap();
        child.resize(WindowSize { rows: 7, columns: 8 }).await.unwrap();
        let sized = || {
            let terminal = std::fs::File::open(format!("/proc/{pid}/fd/0")).unwrap();
            let size = std::process::Command::new("stty").arg("size").stdin(terminal).output().unwrap();
            size.stdout == b"7 8\n"
        };
        eventually("the new size", sized);
        stdin.write_all(b"\n").await.unwrap();
        text.clear();
        stdout.read_to_end(&mut text).await.unwrap();
        assert!(text.ends_with(b"\n7 8\r\n"), "{}", text.escape_ascii());
        assert_eq!(child.wait().await.unwrap().code, Some(4));
    });
}

#[test]
fn what_stands_on_a_terminal_ends_with_it() {
    let tree = Tree::new();
    let child = tree.child();
    block_on(async {
        // A job of its own group, which gets no signal but that of the terminal.
        let mut child = child.shell("set -m; sleep 1000").terminal(WindowSize::default()).spawn();
        let leader = child.pid().await.unwrap();
        let job = || std::fs::read_to_string(format!("/proc/{leader}/task/{leader}/children")).unwrap_or_default();
        eventually("the job", || !job().trim().is_empty());
        let job: u32 = job().trim().parse().unwrap();
        child.kill().await.unwrap();
        eventually("the end of the job", || !is_alive(job));
    });
}
