//! Calls of functions that are known by name, in JSON, as the tool makes them.

use std::collections::BTreeMap;
use std::time::Duration;

use offshoot::__private::Exported;
use offshoot::{Error, export};

use super::{Tree, block_on, pid};

fn repeat(text: String, times: usize) -> Vec<String> {
    vec![text; times]
}

fn by_number() -> BTreeMap<(u8, u8), String> {
    BTreeMap::from([((1, 2), "x".into())])
}
export!(repeat, by_number);

fn find(end: &str) -> Exported {
    let end = format!("::{end}");
    Exported::all().into_iter().find(|function| function.name().ends_with(&end)).unwrap()
}

#[test]
fn arguments_and_results_are_json_and_errors_are_those_of_any_call() {
    let tree = Tree::new();
    let child = tree.behind(&tree.child());
    let call = |name: &str, json: &str, limit: Option<Duration>| {
        let function = find(name);
        block_on(function.call(&child, &function.encode(json).unwrap(), limit))
    };
    assert_eq!(call("repeat", r#"["a\n", 2]"#, None).unwrap(), r#"["a\n","a\n"]"#);
    assert_eq!(call("pid", "[]", None).unwrap(), child.blocking_call(pid, ()).unwrap().to_string());
    let Err(Error::Call(error)) = call("refuse_by_name", "[]", None) else { panic!("it refuses") };
    assert_eq!(error.message, "not today");
    let Err(Error::Payload(why)) = call("by_number", "[]", None) else { panic!("no JSON has such keys") };
    assert!(why.contains("BTreeMap<(u8, u8), String> cannot be expressed in JSON: key must be"), "{why}");
    let limit = Duration::from_millis(100);
    assert!(matches!(call("block", "[1]", Some(limit)), Err(Error::Timeout { after, .. }) if after == limit));
}

fn refuse_by_name() -> Result<(), String> {
    Err("not today".into())
}
export!(refuse_by_name);
