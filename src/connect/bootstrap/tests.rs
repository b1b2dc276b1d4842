//! Tests of the whole dialogue, with its input split at every byte.

use super::*;
use crate::connect::bootstrap::hello_parser::hello_bytes;
use crate::image::executable::Compression;
use crate::wire::error::Reader;

const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";
const ANNOUNCEMENT: &str = "000102030405060708090a0b0c0d0e0f Linux x86_64 zstd head perl |/dev/shm/.offshoot-0-1\n";

#[test]
fn a_first_stage_becomes_a_child() {
    let mut dialogue = staged();
    assert_eq!(dialogue.phase(), Phase::Login);
    let actions = dialogue.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
    let [Action::Note(note), Action::ChooseImage(announcement)] = &actions[..] else { panic!("{actions:?}") };
    assert!(note.starts_with("first stage on Linux x86_64: image goes to /dev/shm"), "{note}");
    assert_eq!((announcement.machine.as_str(), announcement.compression), ("x86_64", Compression::Zstd));
    assert_eq!(dialogue.phase(), Phase::FirstStage);

    let actions = dialogue.input(Input::Image(Ok((image(), [7; 32]))));
    assert_eq!(
        actions,
        [
            Action::Write(Bytes::from_static(b"9 zstd 319 1000 offshoot:op@laptop:1\n")),
            Action::Write(Bytes::from_static(b"the image")),
        ]
    );
    assert_eq!(dialogue.phase(), Phase::Upload);
    assert_eq!(dialogue.input(Input::Sent), []);
    assert_eq!(dialogue.phase(), Phase::Exec);

    assert_eq!(dialogue.input(Input::Stdout(format!("{TOKEN}\n").as_bytes())), []);
    assert_eq!(dialogue.phase(), Phase::Handshake);
    let mut bytes = hello_bytes(&nonce(), b"hello").split_off(33);
    bytes.extend_from_slice(b"first frames");
    assert_eq!(
        dialogue.input(Input::Stdout(&bytes)),
        [Action::Hello { hello: b"hello".to_vec(), rest: b"first frames".to_vec() }]
    );
    // Everything after this belongs to another layer.
    assert_eq!(dialogue.input(Input::Stdout(b"more")), []);
    assert_eq!(dialogue.input(Input::Deadline(Duration::from_secs(1))), []);
}

#[test]
fn every_split_of_a_noisy_conversation_gives_the_same_actions() {
    let before =
        format!("Welcome!\r\n\x1b[32mLast login\x1b[0m\n{}x\n{TOKEN}\nno newline here: {ANNOUNCEMENT}", &TOKEN[..31]);
    let mut after = format!("sh: {TOKEN}/x: odd\n{}{TOKEN} so\nLD_PRELOAD is set ", &TOKEN[..5]).into_bytes();
    after.extend(hello_bytes(&nonce(), b"hello\n\x00"));
    after.extend_from_slice(b"rest");

    let run = |pieces: &dyn Fn(&mut Dialogue, &[u8]) -> Vec<Action>| {
        let mut dialogue = staged();
        let mut actions = pieces(&mut dialogue, before.as_bytes());
        actions.extend(dialogue.input(Input::Image(Ok((image(), [7; 32])))));
        actions.extend(pieces(&mut dialogue, &after));
        // The bytes after the hello come in separate pieces.
        if let Some(Action::Hello { rest, .. }) = actions.last_mut() {
            rest.clear();
        }
        actions
    };
    let whole = run(&|dialogue, bytes| dialogue.input(Input::Stdout(bytes)));
    assert!(matches!(&whole[..], [.., Action::Hello { hello, .. }] if hello == b"hello\n\x00"), "{whole:?}");
    assert!(whole.contains(&Action::Note("Last login".into())), "{whole:?}");
    let longest = before.len().max(after.len());
    for at in 0..=longest {
        let split = run(&|dialogue, bytes| {
            let (head, tail) = bytes.split_at(at.min(bytes.len()));
            let mut actions = dialogue.input(Input::Stdout(head));
            actions.extend(dialogue.input(Input::Stdout(tail)));
            actions
        });
        assert_eq!(split, whole, "split at {at}");
    }
    for size in [1, 2, 3, 7, 31, 32, 33] {
        let split =
            run(&|dialogue, bytes| bytes.chunks(size).flat_map(|piece| dialogue.input(Input::Stdout(piece))).collect());
        assert_eq!(split, whole, "pieces of {size}");
    }
}

#[test]
fn a_direct_child_may_be_preceded_by_noise() {
    let mut bytes = format!("\nrunning 1 test\n{TOKEN} so it goes\n").into_bytes();
    bytes.extend(hello_bytes(&nonce(), b"hi"));
    for size in 1..=bytes.len() {
        let mut dialogue = Dialogue::direct(nonce(), "local".into(), Phase::Exec, no_interpretation);
        let actions: Vec<_> = bytes
            .chunks(size)
            .flat_map(|piece| dialogue.input(Input::Stdout(piece)))
            .filter(|action| !matches!(action, Action::Note(_)))
            .collect();
        let [Action::Hello { hello, rest }] = &actions[..] else { panic!("{actions:?}") };
        assert_eq!((&hello[..], &rest[..]), (&b"hi"[..], &b""[..]));
    }
}

#[test]
fn a_machine_without_any_place_is_told_what_was_tried() {
    let line = format!(
        "{TOKEN} Linux x86_64 - dd none |none|/dev/shm|sh: 1: /dev/shm/.offshoot-0-1/t: Permission denied|/root|mkdir: cannot create directory ‘/root/.offshoot-0-1’: Read-only file system\n"
    );
    let error = failure(&mut staged(), Input::Stdout(line.as_bytes()));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::NoPlace, Phase::FirstStage));
    assert!(
        error.text_with_advice().contains(
            "/dev/shm does not allow execution (Permission denied); /root cannot be written (Read-only file system)"
        ),
        "{}",
        error.text
    );
    assert!(
        error.text_with_advice().contains("neither perl") && error.text_with_advice().contains("XDG_RUNTIME_DIR"),
        "{}",
        error.text
    );
}

#[test]
fn a_machine_that_does_not_say_what_it_is_is_unsupported() {
    let mut silent = staged();
    let asked = silent.input(Input::Stdout(format!("{TOKEN} - - zstd head perl |/tmp/x\n").as_bytes()));
    assert_eq!(asked.last(), Some(&Action::Write(Bytes::from_static(b"\n"))), "it is to end, and so say why");
    let error = failure(&mut silent, exited(1));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Unsupported, Phase::FirstStage));
    let error = failure(&mut staged(), Input::Stdout(format!("{TOKEN} Linux x86_64 - none none |/tmp/x\n").as_bytes()));
    assert!(
        error.kind == ConnectErrorKind::Unsupported && error.text_with_advice().contains("neither `head -c` nor `dd`")
    );
    let error = failure(&mut staged(), Input::Stdout(format!("{TOKEN} what is this\n").as_bytes()));
    assert_eq!(
        (error.kind, error.text.as_str()),
        (ConnectErrorKind::Corrupt, "cannot read what the first stage announced: what is this")
    );
}

#[test]
fn a_program_that_makes_a_router_instead_of_becoming_the_child_is_told_what_to_call() {
    let mut direct = Dialogue::direct(nonce(), "local".into(), Phase::Exec, no_interpretation);
    for dialogue in [&mut direct, &mut uploading()] {
        dialogue.input(Input::Stdout(b"starting\n"));
        let error = failure(dialogue, Input::Stdout(format!("{TOKEN}!\n").as_bytes()));
        assert_eq!(error.kind, ConnectErrorKind::Mismatch);
        assert!(error.text.contains("makes a router") && error.advice.contains("offshoot::child()"), "{error}");
    }
}

#[test]
fn an_ssh_that_ends_without_naming_a_cause_is_unexplained() {
    let ended = || Input::Ended { status: "exited with return code 255".into(), code: Some(255), lingered: false };
    let error = failure(&mut staged(), ended());
    assert_eq!(error.cause, ConnectCause::Unexplained, "{error}");
    let mut dialogue = staged();
    dialogue.input(Input::Stderr(b"ssh: something\n"));
    assert_eq!(failure(&mut dialogue, ended()).cause, ConnectCause::Plain);
}

#[test]
fn a_launcher_that_closes_its_output_and_goes_on_may_have_been_told_to_run_nothing() {
    let status = "exited due to signal 9 (SIGKILL)";
    let error = failure(&mut staged(), Input::Ended { status: status.into(), code: None, lingered: true });
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Eof, Phase::Login));
    assert!(error.advice.contains("SessionType") && error.advice.contains("goes on"), "{error}");
}

#[test]
fn an_image_that_was_killed_and_a_start_up_file_that_ends_the_shell_have_advice_of_their_own() {
    let mut dialogue = uploading();
    dialogue.input(Input::Sent);
    let error = failure(&mut dialogue, exited(137));
    assert_eq!((error.phase, error.cause), (Phase::Exec, ConnectCause::Killed), "{error}");
    assert!(error.advice.contains("SIGKILL") && error.advice.contains("memory"), "{error}");
    let error = failure(&mut staged(), exited(0));
    assert!(error.advice.contains("a start-up file (.bashrc, .profile)"), "{error}");
}

#[test]
fn an_image_whose_loader_the_machine_lacks_is_told_from_a_missing_command() {
    for (code, said) in [
        // busybox and dash say this of a program that is linked to glibc, and of a command that is not there.
        (127, "sh: exec: line 0: offshoot:op@laptop:1: not found\n"),
        (127, "sh: 1: exec: offshoot:op@laptop:1: not found\n"),
        // The loader of an older glibc.
        (
            1,
            "offshoot:op@laptop:1: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.39' not found (required by /tmp/i)\n",
        ),
    ] {
        // What launchers know of these words is about a command.
        let interpret: Interpret = |_| Some(Diagnosis::plain(ConnectErrorKind::Eof, "a command was not found"));
        let mut dialogue = Dialogue::staged(nonce(), "ssh.web1".into(), "op@laptop:1".into(), false, interpret);
        dialogue.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
        dialogue.input(Input::Image(Ok((image(), [7; 32]))));
        dialogue.input(Input::Sent);
        dialogue.input(Input::Stderr(said.as_bytes()));
        let error = failure(&mut dialogue, exited(code));
        assert_eq!((error.kind, error.phase), (ConnectErrorKind::Unsupported, Phase::Exec), "{error}");
        assert!(error.text.contains("not the loader") && error.advice.contains("-musl"), "{error}");
    }
}

#[test]
fn a_first_stage_that_may_execute_nothing_is_told_from_one_without_uname() {
    for (said, kind, part) in [
        // sudo 1.9.13 with NOEXEC, under dash.
        ("sh: 1: uname: Permission denied\nsh: 1: uname: Permission denied", ConnectErrorKind::Unsupported, "NOEXEC"),
        ("sh: 1: Cannot fork", ConnectErrorKind::Start, "ulimit -u"),
        ("sh: 1: uname: not found", ConnectErrorKind::Unsupported, "put `uname` on its PATH"),
    ] {
        for said_first in [true, false] {
            let mut dialogue = staged();
            let said = format!("{said}\n");
            let line = format!("{TOKEN} - - - none none |none\n");
            let (stderr, stdout) = (Input::Stderr(said.as_bytes()), Input::Stdout(line.as_bytes()));
            let inputs = if said_first { [stderr, stdout] } else { [stdout, stderr] };
            inputs.into_iter().for_each(|input| drop(dialogue.input(input)));
            // If a process holds the output open, the launcher's output does not end.
            let last = if said_first { exited(1) } else { Input::Deadline(Duration::from_secs(9)) };
            let error = failure(&mut dialogue, last);
            assert_eq!((error.kind, error.phase), (kind, Phase::FirstStage), "{error}");
            assert!(error.text_with_advice().contains(part), "{error}");
        }
    }
}

#[test]
fn failed_uploads_say_why() {
    for (said, kind, text) in [
        (
            "zstd: /*stdin*\\: unexpected end of file \nTOKEN failed -\n",
            ConnectErrorKind::Corrupt,
            "the machine could not unpack the image: zstd: /*stdin*\\: unexpected end of file",
        ),
        // busybox in a container with --pids-limit, and zstd with `ulimit -v`.
        (
            "sh: eval: line 0: can't fork: Resource temporarily unavailable\nTOKEN failed -\n",
            ConnectErrorKind::Start,
            "the machine could not start the programs that take the image: sh: eval: line 0: can't fork: Resource \
             temporarily unavailable",
        ),
        (
            "zstd: error 104 : Failed creating I/O thread pool\nTOKEN failed -\n",
            ConnectErrorKind::Start,
            "the machine could not start the programs that take the image: zstd: error 104 : Failed creating I/O thread \
             pool",
        ),
        ("TOKEN failed 999\r\n", ConnectErrorKind::Corrupt, "the image arrived with size 999 instead of 1000"),
    ] {
        let mut dialogue = uploading();
        let error = failure(&mut dialogue, Input::Stdout(said.replace("TOKEN", TOKEN).as_bytes()));
        assert_eq!((error.kind, error.text.as_str()), (kind, text));
    }
    let mut dialogue = staged();
    dialogue.input(Input::Stdout(format!("motd\n{TOKEN} Linux x86_64 - dd perl |none|/tmp|\n").as_bytes()));
    dialogue.input(Input::Image(Ok((image(), [7; 32]))));
    let error = failure(
        &mut dialogue,
        Input::Stdout(format!("{TOKEN} failed - memfd_create: Function not implemented\n").as_bytes()),
    );
    assert_eq!(error.kind, ConnectErrorKind::NoPlace);
    assert!(
        error.text_with_advice().contains("from memory either: memfd_create: Function not implemented; "),
        "{}",
        error.text
    );
    assert_eq!(error.tail, ["motd"]);
}

#[test]
fn a_place_that_is_full_leads_to_the_next_one_and_at_last_to_memory() {
    let mut dialogue = uploading();
    dialogue.input(Input::Sent);
    let full = "|/dev/shm|cat: write error: No space left on device";
    let again = format!("head: complaint\n{TOKEN} Linux x86_64 zstd head perl |/tmp/.offshoot-0-1{full}\n");
    let actions = dialogue.input(Input::Stdout(again.as_bytes()));
    let [Action::Note(_), Action::Note(note), Action::Write(line), Action::Write(image)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert!(note.contains("image goes to /tmp") && note.contains("No space left"), "{note}");
    assert_eq!((&line[..], &image[..]), (&b"9 zstd 319 1000 offshoot:op@laptop:1\n"[..], &b"the image"[..]));
    assert_eq!(dialogue.phase(), Phase::Upload);
    // The same announcement once more does not count as new; otherwise the dialogue could go on for ever.
    assert_eq!(dialogue.input(Input::Stdout(again.as_bytes())), [Action::Note("head: complaint".into())]);
    let last = format!("{TOKEN} Linux x86_64 zstd head perl |none{full}{full}\n");
    assert!(matches!(&dialogue.input(Input::Stdout(last.as_bytes()))[..], [_, Action::Write(_), Action::Write(_)]));
    assert_eq!((dialogue.trace().announced.len(), dialogue.trace().sent.len()), (3, 3));

    let mut dialogue = uploading();
    let nowhere = format!("{TOKEN} Linux x86_64 zstd head none |none{full}\n");
    let error = failure(&mut dialogue, Input::Stdout(nowhere.as_bytes()));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::NoPlace, Phase::FirstStage));
    assert!(error.text_with_advice().contains("/dev/shm cannot be used (No space left on device)"), "{}", error.text);
    assert_eq!(error.trace.announced.len(), 2);
}

#[test]
fn a_machine_gets_as_many_uploads_as_there_are_places_and_no_more() {
    let mut dialogue = uploading();
    for refused in 1..1000 {
        let line = format!("{TOKEN} Linux x86_64 zstd head perl |/tmp/x{}\n", "|/p|No space left".repeat(refused));
        dialogue.input(Input::Stdout(line.as_bytes()));
        if dialogue.phase() != Phase::Upload {
            break;
        }
    }
    assert_eq!(dialogue.trace().sent.len(), 1 + announcement::MAX_REFUSED);
}

#[test]
fn a_first_stage_without_input_is_told_from_one_that_ended() {
    for at_once in [true, false] {
        let mut dialogue = staged();
        dialogue.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
        if !at_once {
            dialogue.input(Input::Image(Ok((image(), [7; 32]))));
        }
        let error = failure(&mut dialogue, Input::Stdout(format!("{TOKEN} failed eof\n").as_bytes()));
        assert_eq!((error.kind, error.phase), (ConnectErrorKind::Eof, Phase::FirstStage));
        assert!(
            error.text_with_advice().contains("had no input") && error.text_with_advice().contains("StdinNull"),
            "{}",
            error.text
        );
    }
}

#[test]
fn a_terminal_in_between_is_named_before_anything_is_sent() {
    let error = failure(&mut staged(), Input::Stdout(ANNOUNCEMENT.replace('\n', "\r\n").as_bytes()));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Corrupt, Phase::FirstStage));
    assert!(
        error.text_with_advice().contains("a terminal is between") && error.trace.sent.is_empty(),
        "{}",
        error.text
    );
}

#[test]
fn a_start_up_file_that_does_not_return_is_named_with_what_it_printed() {
    let after = Duration::from_secs(30);
    let mut dialogue = staged();
    dialogue.input(Input::Stderr(b"banner\n"));
    dialogue.input(Input::Stdout(b"Which project? "));
    let error = failure(&mut dialogue, Input::Deadline(after));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Timeout, Phase::Login));
    assert!(error.text_with_advice().contains(r#""Which project?" was printed last"#), "{}", error.text);
    assert!(error.text_with_advice().contains("start-up file of the login shell"), "{}", error.text);
    let error = failure(&mut staged(), Input::Deadline(after));
    assert!(
        error.text_with_advice().contains("start-up file of the login shell")
            && error.text_with_advice().contains("slow"),
        "{}",
        error.text
    );
}

#[test]
fn what_happens_when_the_input_is_closed_shows_what_keeps_the_first_stage_from_coming() {
    let after = Duration::from_secs(30);
    let closed = |stderr: &[u8]| {
        let mut dialogue = staged();
        assert!(dialogue.awaits_first_stage());
        dialogue.input(Input::Stderr(stderr));
        let at = after - Duration::from_millis(500);
        assert_eq!(dialogue.input(Input::StdinClosed(Closing { at, limit: after })), []);
        dialogue
    };
    let said = |mut dialogue: Dialogue, input: Input<'_>| {
        let error = failure(&mut dialogue, input);
        assert_eq!((error.kind, error.phase), (ConnectErrorKind::Timeout, Phase::Login), "{error}");
        assert!(error.text.starts_with("connection timed out after 30s in phase login: "), "{error}");
        Reader::Tool.words(&error.text_with_advice())
    };
    let text = said(closed(b""), Input::Stdout(ANNOUNCEMENT.as_bytes()));
    assert!(text.contains("came only when its input was closed, after 29.5s of 30s; a start-up file"), "{text}");
    assert!(text.contains("only slow, raise --connect-timeout"), "{text}");
    let text = said(closed(b""), exited(0));
    assert!(text.contains("ended when its input was closed (exited with return code 0)"), "{text}");
    let text = said(closed(b"Authenticated to web1 ([10.0.0.1]:22) using \"publickey\".\n"), Input::Deadline(after));
    assert!(text.contains("ssh has logged in"), "{text}");
    let mut dialogue = staged();
    assert_eq!(dialogue.stalled(after), None);
    dialogue.input(Input::Stdout(b"Which project?\n"));
    let text = dialogue.stalled(after).unwrap();
    assert!(text.contains("has printed \"Which project?\" and then nothing for 30s"), "{text}");
    // An ssh that fails at that moment fails as ever.
    let error = failure(&mut closed(b"Connection timed out during banner exchange\r\n"), exited(255));
    assert!(!error.text.contains("input"), "{error}");
}

#[test]
fn an_image_that_was_kept_is_asked_for_and_sent_if_it_is_not_there() {
    let digest = "07".repeat(32);
    let mut dialogue = Dialogue::staged(nonce(), "ssh.web1".into(), "n".into(), true, no_interpretation);
    dialogue.input(Input::Stdout(ANNOUNCEMENT.replace("zstd", "zstd+").as_bytes()));
    let actions = dialogue.input(Input::Image(Ok((image(), [7; 32]))));
    assert_eq!(actions, [Action::Write(format!("0 zstd 319 1000 {digest} offshoot:n\n").into())]);
    let actions = dialogue.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
    let [Action::Note(_), Action::Write(line), Action::Write(_)] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(&line[..], format!("9 zstd 319 1000 {digest} offshoot:n\n").as_bytes());
    // The machine does not keep images, or would keep the image in memory.
    for announcement in [ANNOUNCEMENT.to_owned(), ANNOUNCEMENT.replace("zstd", "zstd+").replace("|/dev", "|none|/dev")]
    {
        let mut dialogue = Dialogue::staged(nonce(), "ssh.web1".into(), "n".into(), true, no_interpretation);
        dialogue.input(Input::Stdout(announcement.as_bytes()));
        assert_eq!(dialogue.input(Input::Image(Ok((image(), [7; 32])))).len(), 2);
    }
}

#[test]
fn an_image_that_must_not_be_sent_is_asked_for_all_the_same() {
    let begun = |announcement: &str| {
        let dialogue = Dialogue::staged(nonce(), "ssh.web1".into(), "n".into(), true, no_interpretation);
        let mut dialogue = dialogue.with_upload(false);
        dialogue.input(Input::Stdout(announcement.as_bytes()));
        dialogue
    };
    let mut keeps = begun(&ANNOUNCEMENT.replace("zstd", "zstd+"));
    let actions = keeps.input(Input::Image(Ok((image(), [7; 32]))));
    assert!(matches!(&actions[..], [Action::Write(line)] if line.starts_with(b"0 zstd")), "{actions:?}");
    for (mut dialogue, input) in
        [(keeps, Input::Stdout(ANNOUNCEMENT.as_bytes())), (begun(ANNOUNCEMENT), Input::Image(Ok((image(), [7; 32]))))]
    {
        let actions = dialogue.input(input);
        let [.., Action::Fail(error)] = &actions[..] else { panic!("{actions:?}") };
        assert!(!actions.iter().any(|action| matches!(action, Action::Write(_))), "{actions:?}");
        assert_eq!((error.kind, error.phase), (ConnectErrorKind::Image, Phase::FirstStage));
    }
}

#[test]
fn complaints_on_stderr_explain_a_failed_upload_too() {
    let mut dialogue = uploading();
    dialogue.input(Input::Stderr(b"head: I/O error"));
    let error = failure(&mut dialogue, Input::Stdout(format!("{TOKEN} failed 3\n").as_bytes()));
    assert_eq!(error.text, "the image arrived with size 3 instead of 1000: head: I/O error");
}

#[test]
fn an_early_end_keeps_the_known_text_and_adds_phase_and_status() {
    let mut dialogue = staged();
    dialogue.input(Input::Stdout(b"out"));
    dialogue.input(Input::Stderr(b"fatal: no such thing\n"));
    let error = failure(&mut dialogue, exited(3));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Eof, Phase::Login));
    assert!(
        error
            .text_with_advice()
            .starts_with("EOF on stream; last 100 lines received: (phase login, exited with return code 3); "),
        "{}",
        error.text
    );
    assert_eq!(error.tail, ["fatal: no such thing", "out"]);

    let error = failure(
        &mut staged(),
        Input::Ended { status: "exited due to signal 9 (SIGKILL)".into(), code: None, lingered: false },
    );
    assert!(
        error
            .text_with_advice()
            .starts_with("EOF on stream; last 100 lines received: none (phase login, exited due to signal 9 (SIGKILL)"),
        "{}",
        error.text
    );

    let mut dialogue = uploading();
    dialogue.input(Input::Sent);
    let error = failure(&mut dialogue, exited(126));
    assert_eq!(error.phase, Phase::Exec);
    assert!(error.text_with_advice().contains("for another processor"), "{}", error.text);
}

#[test]
fn what_a_launcher_says_is_interpreted() {
    fn interpret(lines: &[String]) -> Option<Diagnosis> {
        lines
            .iter()
            .find(|line| line.starts_with("Permission denied"))
            .map(|_| Diagnosis::new(ConnectErrorKind::Auth, "refused", "give up"))
    }
    for make in [
        || Dialogue::staged(nonce(), "ssh.web1".into(), "n".into(), false, interpret),
        || Dialogue::direct(nonce(), "ssh.web1".into(), Phase::Exec, interpret),
    ] {
        let mut dialogue = make();
        dialogue.input(Input::Stderr(b"Permission denied (publickey)."));
        let error = failure(&mut dialogue, exited(255));
        assert_eq!((error.kind, error.phase, error.text.as_str()), (ConnectErrorKind::Auth, Phase::Login, "refused"));
    }
    // After a successful login, the login cannot have been refused.
    let mut dialogue = Dialogue::staged(nonce(), "ssh.web1".into(), "n".into(), false, interpret);
    dialogue.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
    dialogue.input(Input::Stderr(b"Permission denied by something else\n"));
    let error = failure(&mut dialogue, exited(1));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Eof, Phase::FirstStage));
}

#[test]
fn a_deadline_names_the_phase_and_the_time() {
    let after = Duration::from_secs(30);
    let error = failure(&mut staged(), Input::Deadline(after));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Timeout, Phase::Login));
    assert!(error.text_with_advice().starts_with("connection timed out after 30s in phase login;"), "{}", error.text);
    let error = failure(&mut uploading(), Input::Deadline(after));
    assert!(error.text_with_advice().contains("in phase upload;"), "{}", error.text);

    let mut dialogue = uploading();
    dialogue.input(Input::Stdout(format!("{TOKEN}\n\x5cx").as_bytes()));
    assert_eq!(dialogue.input(Input::Deadline(after)), [], "wrong magic has already failed");
    let mut dialogue = uploading();
    dialogue.input(Input::Stdout(format!("{TOKEN}\n").as_bytes()));
    assert!(failure(&mut dialogue, Input::Deadline(after)).text_with_advice().contains("in phase handshake;"));
}

#[test]
fn cancelling_and_a_missing_image_end_it() {
    let error = failure(&mut staged(), Input::Cancelled);
    assert_eq!((error.kind, error.text.as_str()), (ConnectErrorKind::Cancelled, CANCELLED));

    let mut dialogue = staged();
    dialogue.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
    let missing = ConnectError::new(ConnectErrorKind::Unsupported, Phase::FirstStage, "", "no image for Linux x86_64");
    let error = failure(&mut dialogue, Input::Image(Err(missing)));
    assert_eq!((error.kind, error.hop.as_str()), (ConnectErrorKind::Unsupported, "ssh.web1"));
}

#[test]
fn a_stream_of_noise_is_cut_off() {
    let noise = vec![b'x'; 1 << 16];
    let refused = |mut dialogue: Dialogue| {
        (0..17).flat_map(|_| dialogue.input(Input::Stdout(&noise))).find_map(|action| match action {
            Action::Fail(error) => Some(error),
            _ => None,
        })
    };
    assert_eq!(refused(staged()).unwrap().kind, ConnectErrorKind::Oversize);
    assert_eq!(refused(uploading()).unwrap().kind, ConnectErrorKind::Oversize);
    assert_eq!(
        refused(Dialogue::direct(nonce(), "local".into(), Phase::Exec, no_interpretation)).unwrap().kind,
        ConnectErrorKind::Oversize
    );
    let mut choosing = staged();
    choosing.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
    assert_eq!(refused(choosing).unwrap().kind, ConnectErrorKind::Oversize);

    let mut endless = TOKEN.as_bytes().to_vec();
    endless.resize(20_000, b' ');
    assert_eq!(failure(&mut staged(), Input::Stdout(&endless)).kind, ConnectErrorKind::Oversize);
}

#[test]
fn nothing_may_come_between_token_and_magic() {
    let error = failure(&mut uploading(), Input::Stdout(format!("{TOKEN}\nIllegal instruction\n").as_bytes()));
    assert_eq!((error.kind, error.phase), (ConnectErrorKind::Corrupt, Phase::Handshake));
    assert!(error.text_with_advice().contains(r#""Illegal instruction\n""#), "{}", error.text);
}

#[test]
fn lines_for_the_log_come_as_they_are_finished() {
    let mut dialogue = staged();
    assert_eq!(dialogue.input(Input::Stderr(b"debug1: Reading config")), []);
    assert_eq!(dialogue.input(Input::Stderr(b"uration\nban")), [Action::Note("debug1: Reading configuration".into())]);
    assert_eq!(dialogue.input(Input::Stdout(b"motd\n")), [Action::Note("motd".into())]);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_grow(pieces in proptest::collection::vec(piece(), 0..40), size in 1_usize..50) {
        let bytes: Vec<u8> = pieces.concat();
        let mut dialogue = staged();
        for piece in bytes.chunks(size) {
            for action in dialogue.input(Input::Stdout(piece)) {
                if matches!(action, Action::ChooseImage(_)) {
                    dialogue.input(Input::Image(Ok((image(), [7; 32]))));
                }
            }
            assert!(dialogue.buffer.len() <= MAX_LINE + MAX_HELLO + size);
        }
        dialogue.input(exited(0));
        assert_eq!(dialogue.input(Input::Stdout(&bytes)), []);
    }
}

/// Parts of what a hostile machine might print.
fn piece() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    use proptest::prelude::*;
    prop_oneof![
        Just(TOKEN.as_bytes().to_vec()),
        Just(TOKEN.as_bytes()[..20].to_vec()),
        Just(ANNOUNCEMENT.as_bytes().to_vec()),
        Just(format!("{TOKEN} failed 7\n").into_bytes()),
        Just(hello_bytes(&nonce(), b"hello")),
        Just(MAGIC.to_vec()),
        Just(b" \n".to_vec()),
        Just(b"\r".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..60),
    ]
}

fn nonce() -> Nonce {
    Nonce::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15])
}

fn image() -> Packed {
    Packed { compression: Compression::Zstd, bytes: Bytes::from_static(b"the image"), unpacked: 1000, checksum: 0 }
}

fn no_interpretation(_: &[String]) -> Option<Diagnosis> {
    None
}

fn exited(code: i32) -> Input<'static> {
    Input::Ended { status: format!("exited with return code {code}"), code: Some(code), lingered: false }
}

fn staged() -> Dialogue {
    Dialogue::staged(nonce(), "ssh.web1".into(), "op@laptop:1".into(), false, no_interpretation)
}

fn uploading() -> Dialogue {
    let mut dialogue = staged();
    dialogue.input(Input::Stdout(ANNOUNCEMENT.as_bytes()));
    dialogue.input(Input::Image(Ok((image(), [7; 32]))));
    dialogue
}

#[track_caller]
fn failure(dialogue: &mut Dialogue, input: Input<'_>) -> ConnectError {
    let mut actions = dialogue.input(input);
    match actions.pop() {
        Some(Action::Fail(error)) => error,
        last => panic!("{actions:?} {last:?}"),
    }
}

#[test]
fn what_to_do_is_a_field_of_its_own_and_stays_with_its_cause() {
    let mut dialogue = staged();
    let line = format!("{TOKEN} Linux - zstd none perl |/tmp/.offshoot-1-2\n");
    dialogue.input(Input::Stdout(line.as_bytes()));
    let error = failure(&mut dialogue, exited(1));
    assert_eq!((error.cause, error.advice.as_str()), (ConnectCause::NoTool, "put `uname` on its PATH"));
    assert!(is_helpless(&error) && !error.text.contains("PATH"), "{error:?}");
    // The same kind and phase, but the first stage does not lack anything.
    let no_image = ConnectError::new(ConnectErrorKind::Unsupported, Phase::FirstStage, "", "the machine is odd");
    assert!(!is_helpless(&no_image));

    let mut dialogue = staged();
    dialogue.input(Input::Stderr(b"sh: 1: 1: Invalid argument\n"));
    let error = failure(&mut dialogue, exited(2));
    assert!(error.advice.contains("ulimit -n"), "{error:?}");
    let full = format!("{TOKEN} Linux x86_64 zstd head none |none|/tmp|sh: File size limit exceeded\n");
    let error = failure(&mut staged(), Input::Stdout(full.as_bytes()));
    assert!(error.kind == ConnectErrorKind::NoPlace && error.advice.contains("ulimit -f"), "{error:?}");
}
