//! What a copy neither deletes nor replaces nor mixes.

use std::os::unix::fs::FileTypeExt;

use super::*;

/// Opens a target and changes nothing. These are the real root and what leads to it.
fn open_to_delete(path: &Path, place: Place) -> Result<(), Stop> {
    let mut world = World::new();
    (world.options.delete, world.options.dry_run) = (true, true);
    world.sink(place, path, MOST_ENTRIES).map(drop)
}

#[test]
fn nothing_is_deleted_in_the_root_however_it_is_called() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("link");
    symlink("/", &link).unwrap();
    for path in [Path::new("/"), Path::new("/usr/.."), Path::new("/usr/bin/../../"), &link, &link.join(".")] {
        let stop = open_to_delete(path, Place::Inside).unwrap_err();
        let says = format!("with --delete, {} would lose all", path.display());
        assert!(stop.reason == Reason::Permission && stop.text.contains(&says), "{stop:?}");
    }
    assert!(open_to_delete(place.path(), Place::Inside).is_ok());
    assert!(open_to_delete(Path::new("/name-of-a-file"), Place::Named).is_ok(), "nothing beside it is deleted");
}

#[test]
fn nothing_is_deleted_where_the_root_is_mounted_below_the_destination() {
    let mut world = World::new();
    world.options.delete = true;
    world.write("d/a", "a");
    for path in ["d/precious/x", "gone/deep/precious/x"] {
        fs::create_dir_all(world.to(path).parent().unwrap()).unwrap();
        fs::write(world.to(path), "").unwrap();
    }
    // The source has it.
    world.root = Some(world.to("d"));
    let tally = world.copy().unwrap();
    assert!(tally.failed == 1 && world.to("d/precious/x").exists(), "{tally:?}");
    assert!(format!("{:?}", world.told()).contains("nothing is deleted in it"));
    assert!(!world.to("gone").exists());
    // The source does not have it.
    world.root = Some(world.to("d/precious"));
    let tally = world.copy().unwrap();
    assert!(tally.failed == 1 && world.to("d/precious/x").exists(), "{tally:?}");
    // What is left out makes the sink go down itself.
    world.options.exclude = vec!["y".into()];
    fs::write(world.to("d/precious/y"), "").unwrap();
    let tally = world.copy().unwrap();
    assert!(tally.failed == 1 && world.to("d/precious/x").exists(), "{tally:?}");
}

#[test]
fn pipes_and_sockets_at_the_target_are_not_replaced() {
    let world = World::new();
    for name in ["pipe", "socket", "first", "dir/x"] {
        world.write(name, name);
    }
    fs::hard_link(world.from("first"), world.from("second")).unwrap();
    symlink("first", world.from("link")).unwrap();
    let pipe = |path: &str| nix::unistd::mkfifo(&world.to(path), nix::sys::stat::Mode::S_IRWXU).unwrap();
    ["pipe", "second", "first", "link", "dir"].into_iter().for_each(pipe);
    let _socket = std::os::unix::net::UnixListener::bind(world.to("socket")).unwrap();
    let tally = world.copy().unwrap();
    // The directory is told a second time, as it cannot be opened.
    assert_eq!((tally.written, tally.failed, tally.made), (0, 7, 0), "{tally:?} {:?}", world.told());
    let named = world.copy_as(&["from/first"], Place::Named, "to/pipe", |_| ()).unwrap();
    assert_eq!((named.written, named.failed), (0, 1), "{named:?}");
    for name in ["pipe", "second", "first", "link", "dir"] {
        assert!(fs::symlink_metadata(world.to(name)).unwrap().file_type().is_fifo(), "{name}");
    }
    assert!(fs::symlink_metadata(world.to("socket")).unwrap().file_type().is_socket());
    assert!(format!("{:?}", world.told()).contains("a device, a pipe or a socket is in its place"));
}

#[test]
fn a_file_that_changes_while_it_is_read_is_told_and_never_mixed() {
    let world = World::new();
    world.write("a", vec![b'a'; 300_000]);
    fs::write(world.to("a"), "old").unwrap();
    let copy = |change: &dyn Fn()| {
        age(&world.from("a"), 1_000_000_000);
        let mut has_begun = false;
        world.copy_as(&["from/"], Place::Inside, "to", |message| {
            if matches!(message, ToSink::Pieces(_)) && !std::mem::replace(&mut has_begun, true) {
                change();
            }
        })
    };
    let file = File::options().write(true).open(world.from("a")).unwrap();
    let tally = copy(&|| file.write_all_at(b"b", 0).unwrap()).unwrap();
    assert_eq!((tally.written, tally.failed, fs::read(world.to("a")).unwrap()), (0, 1, b"old".to_vec()), "{tally:?}");
    assert!(format!("{:?}", world.told()).contains("it changed while it was read"));
    // A log grows all the time, and what was in it stays.
    let tally = copy(&|| file.write_all_at(b"more", 300_000).unwrap()).unwrap();
    assert_eq!((tally.written, tally.failed, fs::metadata(world.to("a")).unwrap().len()), (1, 0, 300_000), "{tally:?}");
}

#[test]
fn with_delete_files_directories_and_links_take_the_places_of_each_other() {
    let mut world = World::new();
    world.write("to-directory/x", "x");
    world.write("to-file", "file");
    world.write("kept", "kept");
    symlink("to-file", world.from("to-link")).unwrap();
    fs::write(world.to("to-directory"), "").unwrap();
    for path in ["to-file/deep/x", "to-link/x", "kept/x.keep"] {
        fs::create_dir_all(world.to(path).parent().unwrap()).unwrap();
        fs::write(world.to(path), "").unwrap();
    }
    let before = world.all();
    let tally = world.copy().unwrap();
    // The directory is told a second time, as it cannot be opened.
    assert_eq!((tally.written, tally.failed, world.all()), (0, 5, before.clone()), "{tally:?}");
    assert!(format!("{:?}", world.told()).contains("--delete"));
    // Beside what the user has named, nothing is deleted.
    (world.options.delete, world.options.exclude) = (true, vec!["*.keep".into()]);
    let tally = world.copy_as(&["from/to-file"], Place::Named, "to", |_| ()).unwrap();
    assert_eq!((tally.failed, world.all()), (1, before.clone()));
    world.options.dry_run = true;
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.made, tally.deleted, tally.failed), (2, 2, 3, 1), "{tally:?}");
    assert_eq!(world.all(), before);
    world.options.dry_run = false;
    let tally = world.copy().unwrap();
    assert_eq!((tally.written, tally.made, tally.deleted, tally.failed), (2, 2, 3, 1), "{tally:?}");
    assert_eq!(world.all(), ["kept/", "kept/x.keep", "to-directory/", "to-directory/x", "to-file", "to-link"]);
    assert_eq!(fs::read(world.to("to-file")).unwrap(), b"file");
    // A link may lead to where the copies are meant to be.
    fs::remove_dir_all(world.to("to-directory")).unwrap();
    symlink("kept", world.to("to-directory")).unwrap();
    world.copy().unwrap();
    assert!(fs::symlink_metadata(world.to("to-directory")).unwrap().is_symlink());
}

#[test]
fn a_hard_link_leads_to_what_was_copied_and_to_nothing_else() {
    // One of the two is listed first. In its place is something that no copy replaces.
    for (in_the_way, delete) in [("a", false), ("b", false), ("a", true), ("b", true)] {
        let mut world = World::new();
        world.options.delete = delete;
        world.write("a", "new");
        fs::hard_link(world.from("a"), world.from("b")).unwrap();
        nix::unistd::mkfifo(&world.to(in_the_way), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let tally = world.copy().unwrap();
        let told = format!("{:?}", world.told());
        let is_pipe = |name: &str| {
            let stat = world.to(name).symlink_metadata();
            stat.is_ok_and(|stat| stat.file_type().is_fifo())
        };
        let other = if in_the_way == "a" { "b" } else { "a" };
        assert!(is_pipe(in_the_way) && !is_pipe(other), "{tally:?} {told}");
        match fs::read(world.to(other)) {
            Ok(content) => assert!(content == b"new" && tally.failed == 1, "{tally:?} {told}"),
            Err(_) => assert!(tally.failed == 2 && told.contains("under another name"), "{tally:?} {told}"),
        }
    }
}

#[test]
fn a_dry_run_tells_of_what_is_in_the_way_what_the_copy_does() {
    for delete in [false, true] {
        for kind in ["file", "pipe", "link"] {
            let mut world = World::new();
            world.write("a", "a");
            world.write("sub/f", "f");
            world.write("sub/deep/g", "g");
            fs::hard_link(world.from("a"), world.from("sub/linked")).unwrap();
            match kind {
                "file" => fs::write(world.to("sub"), "").unwrap(),
                "pipe" => nix::unistd::mkfifo(&world.to("sub"), nix::sys::stat::Mode::S_IRWXU).unwrap(),
                _ => symlink("elsewhere", world.to("sub")).unwrap(),
            }
            world.options.delete = delete;
            let tallies = [true, false].map(|dry_run| {
                world.options.dry_run = dry_run;
                let tally = world.copy().unwrap();
                (tally.written, tally.made, tally.failed, tally.deleted)
            });
            assert_eq!(tallies[0], tallies[1], "{kind}, delete: {delete}: {:?}", world.told());
        }
    }
}

#[test]
fn a_dry_run_tells_of_hard_links_what_the_copy_does() {
    for name in ["a", "b"] {
        let mut world = World::new();
        world.options.delete = true;
        world.write("a", "new");
        fs::hard_link(world.from("a"), world.from("b")).unwrap();
        // Whichever is listed first: it takes the place of something else.
        symlink("elsewhere", world.to(name)).unwrap();
        let tallies = [true, false].map(|dry_run| {
            world.options.dry_run = dry_run;
            let tally = world.copy().unwrap();
            (tally.written, tally.made, tally.deleted, tally.failed)
        });
        assert_eq!(tallies[0], tallies[1], "{:?}", world.told());
        assert_eq!(tallies[1].3, 0);
        assert_eq!(fs::read(world.to("a")).unwrap(), b"new");
    }
}

#[test]
fn a_hard_link_to_a_file_that_could_not_be_read_changes_nothing() {
    let world = World::new();
    world.write("a", "new");
    fs::hard_link(world.from("a"), world.from("b")).unwrap();
    for name in ["a", "b"] {
        fs::write(world.to(name), format!("old {name}")).unwrap();
    }
    // The source is cut while it is read.
    let cut = |message: &ToSink| {
        if matches!(message, ToSink::Entries(_)) {
            fs::write(world.from("a"), "n").unwrap();
        }
    };
    let tally = world.copy_as(&["from/"], Place::Inside, "to", cut).unwrap();
    assert_eq!((tally.written, tally.made, tally.failed), (0, 0, 2), "{tally:?} {:?}", world.told());
    for name in ["a", "b"] {
        assert_eq!(fs::read_to_string(world.to(name)).unwrap(), format!("old {name}"));
    }
}
