//! What children print and log.

use std::sync::{Arc, Mutex};

use offshoot::{Record, export};

use super::{Tree, eventually};

fn speak() {
    use std::io::Write;
    let mut out = std::io::stdout();
    writeln!(out, "a line\nanother").ok();
    write!(out, "no end").ok();
    out.flush().ok();
    writeln!(std::io::stderr(), "to stderr \x1b[31mred").ok();
    std::process::Command::new("sh").args(["-c", "echo from a subprocess"]).status().ok();
    tracing::warn!(target: "my::target", answer = 42, "an event");
    tracing::trace!("nobody listens to this");
}
export!(speak);

#[test]
fn what_a_function_prints_and_logs_arrives_with_its_context() {
    let tree = Tree::new();
    let records: Arc<Mutex<Vec<Record>>> = Arc::default();
    let kept = Arc::clone(&records);
    tree.0.on_log(move |record| kept.lock().unwrap().push(record.clone()));
    let hop = tree.child();
    let child = tree.behind(&hop);
    child.blocking_call(speak, ()).unwrap();
    child.blocking_shutdown();
    let has = |target: &str, message: &str| {
        records.lock().unwrap().iter().any(|record| record.target == target && record.message == message)
    };
    for line in ["a line", "another"] {
        eventually(line, || has("stdout", line));
    }
    // The last line had no end, so the next one of that stream completes it.
    eventually("the subprocess", || has("stdout", "no endfrom a subprocess"));
    eventually("stderr, made harmless", || has("stderr", "to stderr \\u{1b}[31mred"));
    eventually("the event", || has("my::target", "an event"));
    let records = records.lock().unwrap();
    let event = records.iter().find(|record| record.target == "my::target").unwrap();
    assert_eq!((event.level, event.context), (2, child.id()));
    assert_eq!(event.fields, [("answer".to_owned(), "42".to_owned())]);
    assert!(event.context_name.starts_with("local."), "{}", event.context_name);
    assert!(!records.iter().any(|record| record.level == 5));
}

fn mumble() {
    use std::io::Write;
    write!(std::io::stdout(), "unfinished").ok();
    std::io::stdout().flush().ok();
}
export!(mumble);

#[test]
fn the_last_line_needs_no_end() {
    let tree = Tree::new();
    let records: Arc<Mutex<Vec<Record>>> = Arc::default();
    let kept = Arc::clone(&records);
    tree.0.on_log(move |record| kept.lock().unwrap().push(record.clone()));
    let child = tree.child();
    child.blocking_call(mumble, ()).unwrap();
    child.blocking_shutdown();
    eventually("the last line", || records.lock().unwrap().iter().any(|record| record.message == "unfinished"));
}
