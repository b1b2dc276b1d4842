//! Arguments of functions in JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::api::exported::Exported;
use crate::fuzzing::checks;

/// A function that takes arguments of many kinds.
fn fuzzed(
    text: String,
    numbers: (i8, u64, f64),
    list: Vec<Option<bool>>,
    map: BTreeMap<String, Result<PathBuf, char>>,
) -> (String, usize) {
    let sum = numbers.0 as usize ^ numbers.1 as usize ^ numbers.2 as usize;
    (text, sum ^ list.len() ^ map.len())
}
fn unfuzzed() {}
crate::export!(io fuzzed, unfuzzed);

/// The first byte chooses the function. The others are its arguments.
pub(super) fn arguments(bytes: &[u8]) {
    let Some((which, json)) = bytes.split_first() else { return };
    let Ok(json) = std::str::from_utf8(json) else { return };
    let mut functions = Exported::all();
    functions.retain(Exported::takes_json);
    let function = functions[usize::from(*which) % functions.len()];
    match function.encode(json) {
        Ok(_) => assert!(json.trim_start().starts_with('['), "{json:?} is no list"),
        Err(why) => {
            assert!(why.contains(function.name()), "{why}");
            checks::complains(&why);
        }
    }
}
