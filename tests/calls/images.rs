//! Images that children ask for: what is asked for without end costs nobody else anything.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use offshoot::error::ConnectErrorKind;
use offshoot::{Error, Handle, Router, export};

use super::frame::frame;
use super::{Tree, block_on, pid, resident};

/// Plays a child of this context that asks for images and never reads. Says by how many KiB this process has grown.
fn asked_for_images(router: &Router, requests: u32) -> std::io::Result<u64> {
    let (mut stream, theirs) = UnixStream::pair()?;
    let id = block_on(router.allocate_id()).map_err(std::io::Error::other)?;
    let child = router.context_by_id(id);
    block_on(router.register(&child, theirs, None)).map_err(std::io::Error::other)?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let (me, here) = (id.0, router.myself().id().0);
    let before = resident()?;
    for number in 0..requests {
        // The image that is here, which is sent, and others, for which the parent is asked.
        let machine = if number % 50 == 0 { std::env::consts::ARCH.to_owned() } else { format!("m{number}") };
        let mut words = Vec::new();
        for word in ["Linux", &machine] {
            words.push(u8::try_from(word.len()).unwrap());
            words.extend_from_slice(word.as_bytes());
        }
        stream.write_all(&frame(1, [here, me, me, Handle::GET_IMAGE.0, 0], &words))?;
    }
    let grown = resident()?.saturating_sub(before);
    // It stays, as it is, for as long as this process does.
    std::mem::forget(stream);
    Ok(grown)
}
export!(concurrent asked_for_images);

/// A stand-in for ssh that leads to a machine of which nobody has heard.
fn odd_machine(directory: &std::path::Path) -> String {
    let write = |name: &str, text: String| {
        std::fs::write(directory.join(name), text).unwrap();
        std::fs::set_permissions(directory.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("uname", "#!/bin/sh\necho Linux vax\n".into());
    let line = format!("for last; do :; done\nPATH='{}':$PATH exec sh -c \"$last\"", directory.display());
    write("ssh", format!("#!/bin/sh\n{line}\n"));
    directory.join("ssh").display().to_string()
}

#[test]
fn requests_for_images_without_end_are_bounded_and_keep_nobody_from_anything() {
    const REQUESTS: u32 = 20_000;
    let tree = Tree::new();
    let directory = tempfile::tempdir().unwrap();
    let ssh = odd_machine(directory.path());
    let hop = tree.child();
    let floods: Vec<_> = (0..3).map(|_| hop.call(asked_for_images, (REQUESTS,))).collect();
    let here = {
        let router = tree.0.clone();
        std::thread::spawn(move || asked_for_images(&router, REQUESTS))
    };
    let mut most = 0;
    for round in 0..30 {
        let start = Instant::now();
        assert!(hop.blocking_call(pid, ()).is_ok());
        for stats in [block_on(hop.stats()), block_on(tree.0.stats())] {
            most = most.max(stats.unwrap().tasks);
        }
        if round % 10 == 5 {
            assert!(tree.behind(&hop).blocking_call(pid, ()).is_ok());
            // What the parent must be asked for, too.
            let error = tree.0.ssh("vax").ssh_path(ssh.as_str()).via(&hop).blocking_connect().unwrap_err();
            let Error::Connect(error) = error else { panic!("{error:?}") };
            assert_eq!(error.kind, ConnectErrorKind::Unsupported, "{error:?}");
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
    // Of one child sixteen wait, and there are four.
    assert!(most < 100, "{most} tasks");
    let grown: Vec<u64> = floods.into_iter().map(|flood| block_on(flood).unwrap()).collect();
    here.join().unwrap().unwrap();
    // Each may leave 8 MiB unread, and the image on top of them; 400 are asked for.
    let image = std::fs::metadata("/proc/self/exe").unwrap().len() / 1024;
    let grown = grown.into_iter().max().unwrap();
    assert!(grown < 3 * (8 * 1024 + 3 * image), "{grown} KiB with an image of {image} KiB");
    assert!(hop.blocking_call(pid, ()).is_ok());
}
