use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::cli::exit::Exit;

const NOW: SystemTime = UNIX_EPOCH;

fn style(format: Format) -> Style {
    let args = OutputArgs { json: format == Format::Json, jsonl: format == Format::Jsonl, ..OutputArgs::default() };
    Style::new(args, Color::Never, Surroundings::default())
}

fn output(host: usize, stream: Stream, text: &str) -> HostEvent {
    HostEvent::Output { host: HostIndex(host), stream, bytes: text.as_bytes().to_vec() }
}

fn out(host: usize, text: &str) -> HostEvent {
    output(host, Stream::Stdout, text)
}

fn exited(host: usize, code: i32) -> HostEvent {
    let status = if code == 0 { Status::Ok } else { Status::Failed };
    let exit = HostExit { status, code: Some(code), seconds: 1.0, ..HostExit::cancelled() };
    HostEvent::Exit { host: HostIndex(host), exit }
}

fn unreachable(host: usize) -> HostEvent {
    let error = ErrorInfo {
        kind: "start".into(),
        phase: "login".into(),
        hop: "ssh.web1".into(),
        text: "connection refused".into(),
        advice: String::new(),
        steps: String::new(),
    };
    let exit = HostExit { status: Status::Unreachable, error: Some(error), ..HostExit::cancelled() };
    HostEvent::Exit { host: HostIndex(host), exit }
}

/// The output for events on web1, web2, ...
fn shown(style: Style, count: usize, events: Vec<HostEvent>, end: End) -> (String, String, Summary) {
    let names = (1..=count).map(|n| format!("web{n}")).collect();
    let mut report = Report::new(style, names);
    let mut all: Vec<Shown> = events.into_iter().map(|event| report.handle(NOW, event)).collect();
    let rerun = |hosts: &str, caution: Option<&str>| {
        let caution = caution.map(|caution| format!(" # {caution}")).unwrap_or_default();
        format!("offshoot run -w '{hosts}' -- x{caution}")
    };
    let Finished { summary, shown, document } = report.finish(NOW, end, 2.0, &rerun);
    all.push(shown);
    let mut stdout = all.iter().flat_map(|shown| shown.stdout.clone()).collect();
    let stderr = all.iter().flat_map(|shown| shown.stderr.clone()).collect();
    document.into_iter().for_each(|document| document(&mut stdout).unwrap());
    (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap(), summary)
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn lines_are_shown_live_and_whole() {
    let mut report = Report::new(style(Format::Text), vec!["a".into(), "b".into()]);
    let mut show = |event| {
        let shown = report.handle(NOW, event);
        (String::from_utf8(shown.stdout).unwrap(), String::from_utf8(shown.stderr).unwrap())
    };
    assert_eq!(show(out(0, "one\ntw")), ("a: one\n".into(), String::new()));
    assert_eq!(show(out(1, "x\n")), ("b: x\n".into(), String::new()));
    assert_eq!(show(output(0, Stream::Stderr, "oops\n")), (String::new(), "a: oops\n".into()));
    assert_eq!(show(out(0, "o\nthree")), ("a: two\n".into(), String::new()));
}

#[test]
fn text_shows_failures_and_what_to_do() {
    let events = vec![out(0, "fine\n"), exited(0, 0), out(1, "no newline"), exited(1, 3), unreachable(2), exited(3, 4)];
    let (stdout, stderr, summary) = shown(style(Format::Text), 4, events, End::Complete);
    assert_eq!(stdout, "web1: fine\nweb2: no newline\n");
    assert_eq!(
        stderr,
        "web2: exited with return code 3\n\
         web3: unreachable: ssh.web1: connection refused\n\
         web4: exited with return code 4\n\
         offshoot: 4 hosts: 1 ok, 2 failed, 1 unreachable in 2.0 s\n  \
         failed: web[2,4]\n  unreachable: web3\n  rerun: offshoot run -w 'web[2-4]' -- x\n"
    );
    assert_eq!(summary.exit(false).code(), 6);
    assert_eq!(summary.exit(true).code(), 4);
}

#[test]
fn nothing_is_to_be_rerun_when_all_is_well() {
    let (_, stderr, summary) = shown(style(Format::Text), 1, vec![exited(0, 0)], End::Complete);
    assert_eq!(stderr, "offshoot: 1 host: 1 ok in 2.0 s\n");
    assert_eq!(summary.exit(false).code(), 0);
}

#[test]
fn an_interrupted_run_prints_what_arrived() {
    for format in [Format::Text, Format::Json, Format::Jsonl] {
        let events = vec![exited(0, 1), out(1, "half a li")];
        let (stdout, stderr, summary) = shown(style(format), 3, events, End::Interrupted);
        assert!(stdout.contains("half a li"), "{stdout}");
        assert_eq!(summary.exit(false), Exit::Interrupted);
        assert_eq!(summary.count(Status::Cancelled), 2);
        assert_eq!(stderr.contains("interrupted: 3 hosts"), format == Format::Text);
    }
}

#[test]
fn a_run_that_was_stopped_says_why() {
    let end = || End::Stopped("3 hosts failed".into());
    let (_, stderr, summary) = shown(style(Format::Text), 2, vec![exited(0, 1)], end());
    assert!(stderr.contains("stopped early: 3 hosts failed: 2 hosts: 1 failed, 1 cancelled"));
    assert!(stderr.contains("rerun: offshoot run -w 'web[1-2]' -- x"));
    assert_eq!(summary.exit(false).code(), 10);
    let (stdout, ..) = shown(style(Format::Jsonl), 2, vec![exited(0, 1)], end());
    assert_eq!(json_lines(&stdout).last().unwrap()["stopped"], "3 hosts failed");
}

#[test]
fn hosts_that_were_not_started_are_skipped() {
    for format in [Format::Text, Format::Jsonl] {
        let mut report = Report::new(style(format), (1..=4).map(|n| format!("web{n}")).collect());
        report.handle(NOW, exited(0, 0));
        assert!(report.is_cut_short());
        report.skip_from(2);
        let end = End::Stopped("enough".into());
        let Finished { summary, shown, .. } = report.finish(NOW, end, 1.0, &|hosts, _| hosts.to_owned());
        assert_eq!(
            (summary.folded(Status::Cancelled), summary.folded(Status::Skipped)),
            ("web2".into(), "web[3-4]".into())
        );
        assert_eq!((summary.not_ok(), summary.exit(false).code()), ("web[2-4]".into(), 8));
        let stderr = String::from_utf8(shown.stderr).unwrap();
        assert!(
            format != Format::Text || stderr.contains("4 hosts: 1 ok, 1 cancelled, 2 skipped in 1.0 s"),
            "{stderr}"
        );
        assert!(!stderr.contains("web4:"), "{stderr}");
    }
}

#[test]
fn an_attempt_that_is_not_the_last_is_told_and_its_output_is_not_kept() {
    let events = || {
        let HostEvent::Exit { host, exit } = exited(0, 3) else { unreachable!() };
        let again = HostEvent::Retry { host, exit, wait: Duration::from_millis(1_500) };
        let last =
            HostEvent::Exit { host, exit: HostExit { status: Status::Ok, attempts: 2, ..HostExit::cancelled() } };
        vec![out(0, "first"), again, out(0, "second\n"), last]
    };
    let (stdout, stderr, _) = shown(style(Format::Text), 1, events(), End::Complete);
    assert_eq!(stdout, "web1: first\nweb1: second\n");
    assert!(stderr.starts_with("web1: attempt 1: exited with return code 3; the next attempt begins in 1.5 s\n"));
    let (stdout, ..) = shown(style(Format::Json), 1, events(), End::Complete);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (&document["hosts"]["web1"]["stdout"], &document["hosts"]["web1"]["attempts"]),
        (&"second\n".into(), &2.into())
    );
    let (stdout, ..) = shown(style(Format::Jsonl), 1, events(), End::Complete);
    let lines = json_lines(&stdout);
    let events: Vec<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, ["line", "retry", "line", "exit", "summary"]);
    assert_eq!((&lines[1]["attempt"], &lines[1]["wait"], &lines[3]["attempts"]), (&1.into(), &1.5.into(), &2.into()));
}

#[test]
fn jsonl_has_one_exit_per_host_and_the_summary_last() {
    let events = vec![out(0, "a\nb"), exited(0, 0), exited(0, 9), out(1, "c\x1b\n")];
    let (stdout, stderr, _) = shown(style(Format::Jsonl), 3, events, End::Interrupted);
    let lines = json_lines(&stdout);
    let brief: Vec<String> = lines
        .iter()
        .map(|line| {
            let of = |key: &str| line[key].as_str().unwrap_or("").to_owned();
            [of("event"), of("host"), of("text"), of("status")].join(" ").trim_end().to_owned()
        })
        .collect();
    assert_eq!(
        brief,
        [
            "line web1 a",
            "line web1 b",
            "exit web1  ok",
            "line web2 c\x1b",
            "exit web2  cancelled",
            "exit web3  cancelled",
            "summary",
        ]
    );
    assert!(lines.iter().all(|line| line["v"] == 1));
    assert_eq!(stderr, "");
}

#[test]
fn json_is_one_document_in_the_order_of_the_hosts() {
    let events = vec![
        out(1, "second\n"),
        exited(1, 0),
        output(0, Stream::Stderr, "first"),
        output(0, Stream::Stderr, " and more\n"),
        exited(0, 2),
        unreachable(2),
    ];
    let (stdout, stderr, _) = shown(style(Format::Json), 3, events, End::Complete);
    assert!(stdout.find("web1") < stdout.find("web2") && stdout.ends_with("}\n"));
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["hosts"]["web1"]["stderr"], "first and more\n");
    assert_eq!(document["hosts"]["web1"]["code"], 2);
    assert_eq!(document["hosts"]["web2"]["stdout"], "second\n");
    assert_eq!(document["hosts"]["web3"]["error"]["hop"], "ssh.web1");
    assert_eq!(document["summary"]["hosts"], 3);
    assert_eq!(stderr, "");
}

#[test]
fn output_that_json_cannot_keep_is_noted() {
    let mebibyte = "a".repeat(1 << 20);
    let mut events: Vec<HostEvent> = (0..65).map(|_| out(0, &mebibyte)).collect();
    events.push(exited(0, 0));
    let (stdout, stderr, _) = shown(style(Format::Json), 1, events, End::Complete);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["hosts"]["web1"]["truncated"], 1 << 20);
    assert_eq!(document["hosts"]["web1"]["status"], "ok");
    assert!(stderr.starts_with("offshoot: web1: the last 1048576 bytes of output are missing"));
}

#[test]
fn output_after_the_exit_is_not_lost() {
    let events = vec![exited(0, 0), out(0, "late\n"), out(0, "later")];
    let (stdout, ..) = shown(style(Format::Text), 1, events, End::Complete);
    assert_eq!(stdout, "web1: late\nweb1: later\n");
}

#[test]
fn escapes_are_neutralised_on_terminals_only_and_never_in_json() {
    let args = |json, jsonl, raw| OutputArgs { json, jsonl, raw, ..OutputArgs::default() };
    let terminal = Surroundings { stdout_is_terminal: true, stderr_is_terminal: true, no_color: true };
    let print = |style| {
        let events = vec![out(0, "\x1b[2J\n"), output(0, Stream::Stderr, "\x1b[3J\n"), exited(0, 0)];
        let (stdout, stderr, _) = shown(style, 1, events, End::Complete);
        stdout + &stderr
    };
    let on_terminal = print(Style::new(args(false, false, false), Color::Auto, terminal));
    assert!(on_terminal.contains("\\u{1b}[2J") && on_terminal.contains("\\u{1b}[3J"));
    assert!(!on_terminal.contains('\x1b'));
    let raw = print(Style::new(args(false, false, true), Color::Auto, terminal));
    assert!(raw.contains("\x1b[2J") && raw.contains("\x1b[3J"));
    let piped = Style::new(args(false, false, false), Color::Auto, Surroundings::default());
    assert!(print(piped).contains("\x1b[2J"));
    let half = Surroundings { stdout_is_terminal: false, ..terminal };
    let half = print(Style::new(args(false, false, false), Color::Auto, half));
    assert!(half.contains("\x1b[2J") && half.contains("\\u{1b}[3J"));
    for (json, jsonl) in [(true, false), (false, true)] {
        let text = print(Style::new(args(json, jsonl, false), Color::Always, terminal));
        assert!(text.contains("\\u001b[2J") && !text.contains('\x1b'), "{text}");
    }
}

#[test]
fn of_a_progress_bar_text_shows_the_last_frame_and_json_all() {
    let events = || vec![out(0, "\r  1%"), out(0, "\r100%\n\r50%"), exited(0, 0)];
    let text = |raw| {
        let args = OutputArgs { raw, ..OutputArgs::default() };
        shown(Style::new(args, Color::Auto, Surroundings::default()), 1, events(), End::Complete).0
    };
    assert_eq!(text(false), "web1: 100%\nweb1: 50%\n");
    assert_eq!(text(true), "web1: \r  1%\r100%\nweb1: \r50%\n");
    let (json, ..) = shown(style(Format::Jsonl), 1, events(), End::Complete);
    assert_eq!(json_lines(&json)[0]["text"], "\r  1%\r100%");
}

#[test]
fn colour_is_where_it_is_wanted() {
    let args = OutputArgs::default();
    let terminal = Surroundings { stdout_is_terminal: true, ..Surroundings::default() };
    let style = Style::new(args, Color::Auto, terminal);
    assert!(style.stdout.color && !style.stderr.color);
    assert!(Style::new(args, Color::Always, Surroundings::default()).stderr.color);
    assert!(!Style::new(args, Color::Never, terminal).stdout.color);
}

#[test]
fn a_report_is_complete_when_every_host_is_done() {
    let mut report = Report::new(style(Format::Text), vec!["a".into(), "b".into()]);
    for host in 0..2 {
        assert!(!report.is_complete());
        report.handle(NOW, exited(host, 0));
    }
    assert!(report.is_complete());
}

#[test]
fn codes_are_those_of_a_shell() {
    let code = |code, signal| HostExit { code, signal, ..HostExit::cancelled() }.shell_code();
    assert_eq!(code(Some(3), None), 3);
    assert_eq!(code(None, Some(9)), 137);
    assert_eq!(code(None, None), 0);
    assert_eq!(code(Some(256), None), 255);
    assert_eq!(code(Some(-1), None), 255);
    assert_eq!(code(None, Some(i32::MAX)), 255);
}

fn events() -> impl Strategy<Value = Vec<HostEvent>> {
    let chunk = prop_oneof!["[a-c\n]{0,12}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..12),];
    let stream = prop::sample::select(vec![Stream::Stdout, Stream::Stderr]);
    let event = prop_oneof![
        4 => (0..3_usize, stream, chunk).prop_map(|(host, stream, bytes)| HostEvent::Output {
            host: HostIndex(host),
            stream,
            bytes,
        }),
        1 => (0..3_usize, 0..4_i32).prop_map(|(host, code)| exited(host, code)),
        1 => (0..3_usize).prop_map(unreachable),
    ];
    prop::collection::vec(event, 0..24)
}

/// The bytes that a host printed on a stream.
fn printed(events: &[HostEvent], wanted: usize, on: Stream) -> Vec<u8> {
    let mut all = Vec::new();
    for event in events {
        if let HostEvent::Output { host, stream, bytes } = event
            && (host.0, *stream) == (wanted, on)
        {
            all.extend_from_slice(bytes);
        }
    }
    all
}

proptest! {
    #[test]
    fn json_holds_exactly_what_was_printed(events in events()) {
        let (stdout, stderr, _) = shown(style(Format::Json), 3, events.clone(), End::Complete);
        prop_assert_eq!(stderr, "");
        let document: Value = serde_json::from_str(&stdout).unwrap();
        for index in 0..3 {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let record = &document["hosts"][format!("web{}", index + 1)];
                let bytes = printed(&events, index, stream);
                match std::str::from_utf8(&bytes) {
                    Ok(text) => prop_assert_eq!(&record[stream.as_str()], text),
                    Err(_) => {
                        let key = format!("{}_base64", stream.as_str());
                        prop_assert_eq!(&record[key], &STANDARD.encode(&bytes));
                        prop_assert_eq!(&record[stream.as_str()], &Value::Null);
                    }
                }
            }
        }
    }

    #[test]
    fn jsonl_and_text_are_well_formed(events in events()) {
        let (stdout, _, summary) = shown(style(Format::Jsonl), 3, events.clone(), End::Complete);
        let lines = json_lines(&stdout);
        let exits = lines.iter().filter(|line| line["event"] == "exit").count();
        prop_assert_eq!(exits, 3);
        prop_assert_eq!(&lines.last().unwrap()["event"], "summary");
        let total: usize = Status::ALL.iter().map(|status| summary.count(*status)).sum();
        prop_assert_eq!(total, 3);
        let late = NOW + Duration::from_secs(1);
        let names = (1..=3).map(|n| format!("web{n}")).collect();
        let mut report = Report::new(style(Format::Text), names);
        let mut out: Vec<u8> = events.into_iter().flat_map(|event| report.handle(late, event).stdout).collect();
        out.extend(report.finish(late, End::Complete, 1.0, &|hosts: &str, _: Option<&str>| hosts.to_owned()).shown.stdout);
        for line in out.split_inclusive(|b| *b == b'\n') {
            prop_assert!(line.starts_with(b"web") && line.ends_with(b"\n"));
        }
    }
}
