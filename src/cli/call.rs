//! Functions by name: finds a function by its name or a part of it, and lists all functions.

use crate::api::exported::Exported;
use serde_json::json;

use crate::cli::args::FunctionsArgs;
use crate::cli::complaint::fail;
use crate::cli::exit::Exit;
use crate::cli::output::{safe_json, visible};
use crate::cli::print;

/// Lists the functions of this program.
pub(crate) fn functions(args: &FunctionsArgs) -> Exit {
    let mut functions = Exported::all();
    functions.retain(|function| args.text.as_ref().is_none_or(|text| function.name().contains(text.as_str())));
    if functions.is_empty() {
        let text = visible::word(args.text.as_deref().unwrap_or_default());
        return fail(Exit::Usage, &format!("no function has {text:?} in its name; `offshoot functions` lists all"));
    }
    print(&if args.json { to_json(&functions) } else { list(&functions).into_bytes() })
}

fn to_json(functions: &[Exported]) -> Vec<u8> {
    let functions: Vec<_> = functions
        .iter()
        .map(|function| {
            json!({
                "name": function.name(), "arguments": function.args(), "result": function.ok(),
                "callable": function.takes_json(),
            })
        })
        .collect();
    safe_json::line(&json!({ "v": 1, "functions": functions }))
}

fn list(functions: &[Exported]) -> String {
    let line = |function: &Exported| match function.takes_json() {
        true => format!("{function}\n"),
        false => format!("{function}    # `call` cannot call it: JSON cannot express its arguments\n"),
    };
    functions.iter().map(line).collect()
}

/// Finds the function that `wanted` names. `wanted` is its whole name, or the end of one name only, from a `::`
/// on.
pub(crate) fn find<'a>(functions: &'a [Exported], wanted: &str) -> Result<&'a Exported, String> {
    let names: Vec<&str> = functions.iter().map(Exported::name).collect();
    let function = &functions[index(&names, wanted)?];
    if function.takes_json() {
        Ok(function)
    } else {
        Err(format!("`call` cannot call {function}: JSON cannot express its arguments, such as a Sender or a Context"))
    }
}

pub(crate) fn index(names: &[&str], wanted: &str) -> Result<usize, String> {
    if let Some(index) = names.iter().position(|name| *name == wanted) {
        return Ok(index);
    }
    let is_end = |name: &str| name.strip_suffix(wanted).is_some_and(|rest| rest.ends_with("::"));
    let found: Vec<usize> = (0..names.len()).filter(|index| is_end(names[*index])).collect();
    match found[..] {
        [index] => Ok(index),
        [] => {
            let near = nearest(names, wanted);
            let hint = match &near[..] {
                [] => "see `offshoot functions`".into(),
                near => format!("did you mean {}?", near.join(" or ")),
            };
            Err(format!("no function is called {wanted:?}; {hint}"))
        }
        _ => {
            let found: Vec<&str> = found.into_iter().map(|index| names[index]).collect();
            Err(format!("{wanted:?} could be {}; write more of the name", found.join(" or ")))
        }
    }
}

/// At most three names whose ends are similar to `wanted`, best first.
fn nearest<'a>(names: &[&'a str], wanted: &str) -> Vec<&'a str> {
    let words = wanted.split("::").count();
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .filter_map(|name| {
            let end: Vec<&str> = name.rsplitn(words + 1, "::").take(words).collect();
            let end = end.into_iter().rev().collect::<Vec<_>>().join("::");
            let far = distance(&end, wanted);
            (far <= wanted.len() / 3 + 1 || end.contains(wanted)).then_some((far, *name))
        })
        .collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The edit distance: how many letters have to be inserted, deleted or replaced.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for j in 0..b.len() {
            let replaced = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] =
        ["app::disk::usage", "app::memory::usage", "offshoot::facts::host_facts", "offshoot::file::read_file"];

    #[test]
    fn any_end_that_only_one_has_will_do() {
        assert_eq!(index(&NAMES, "host_facts"), Ok(2));
        assert_eq!(index(&NAMES, "disk::usage"), Ok(0));
        assert_eq!(index(&NAMES, "app::memory::usage"), Ok(1));
        // A whole name is preferred to the end of a longer one.
        assert_eq!(index(&["a::b", "c::a::b"], "a::b"), Ok(0));
    }

    #[test]
    fn an_end_that_several_have_names_them() {
        assert_eq!(
            index(&NAMES, "usage").unwrap_err(),
            "\"usage\" could be app::disk::usage or app::memory::usage; write more of the name"
        );
    }

    #[test]
    fn an_unknown_name_gets_the_nearest() {
        let error = |wanted| index(&NAMES, wanted).unwrap_err();
        assert_eq!(
            error("host_fact"),
            "no function is called \"host_fact\"; did you mean offshoot::facts::host_facts?"
        );
        assert!(error("facts").ends_with("did you mean offshoot::facts::host_facts?"), "{}", error("facts"));
        assert!(error("disk::usgae").contains("app::disk::usage?"));
        assert_eq!(error("quite_different"), "no function is called \"quite_different\"; see `offshoot functions`");
        // A part of a word does not match.
        assert!(index(&NAMES, "sage").is_err());
        assert!(index(&NAMES, "").is_err());
    }

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
