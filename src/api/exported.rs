//! Calls of functions by name, with JSON. For tools that do not know the types at compile time.

use std::any::type_name;
use std::time::Duration;

use crate::api::call::Call;
use crate::api::context::Context;
use crate::api::function::{Entry, Function, Table};
use crate::api::sender::Sender;
use crate::wire::call_payload;
use crate::wire::codec::{self, Origin};

const BOUND: &str = "what it takes belongs to a program that is connected";

/// Converts the arguments and the result of one function from and to JSON.
#[derive(Debug)]
pub(crate) struct Shim {
    /// The function cannot be called with JSON, whatever its types are.
    is_bound: bool,
    args: fn(&str) -> Result<Vec<u8>, String>,
    ok: fn(&[u8], Origin) -> Result<String, String>,
    types: fn() -> [&'static str; 2],
}

impl Shim {
    pub(crate) const fn of<F: Function<K>, K>() -> Self {
        Self { is_bound: false, args: encode::<F, K>, ok: decode::<F, K>, ..Self::bound::<F, K>() }
    }

    /// For what is no function.
    pub(crate) const fn none() -> Self {
        Self { is_bound: true, args: |_| Err(BOUND.into()), ok: |_, _| Err(BOUND.into()), types: || ["", ""] }
    }

    /// For a function of this crate that cannot be called with JSON ([`Exported::takes_json`]). The JSON
    /// decoder for the arguments of the functions that start a child would take 60 KiB.
    pub(crate) const fn bound<F: Function<K>, K>() -> Self {
        Self {
            is_bound: true,
            args: |_| Err(BOUND.into()),
            ok: |_, _| Err(BOUND.into()),
            types: || [type_name::<F::Args>(), type_name::<F::Ok>()],
        }
    }
}

fn encode<F: Function<K>, K>(json: &str) -> Result<Vec<u8>, String> {
    // Serde represents the empty tuple as `null`. Users write an empty list.
    let json = match type_name::<F::Args>() {
        "()" => serde_json::from_str::<[(); 0]>(json).map(|_| "null"),
        _ => Ok(json),
    };
    let args: F::Args = json.and_then(serde_json::from_str).map_err(|error| error.to_string())?;
    codec::encode(&args)
}

fn decode<F: Function<K>, K>(value: &[u8], origin: Origin) -> Result<String, String> {
    let value: F::Ok = codec::decode(value, Some(origin))?;
    serde_json::to_string(&value)
        .map_err(|error| format!("{} cannot be expressed in JSON: {error}", short(type_name::<F::Ok>())))
}

/// A function of the table of this program. It is called by name, with arguments and result in JSON.
#[derive(Debug, Clone, Copy)]
pub struct Exported(&'static Entry);

/// Encoded arguments for a function, read from JSON. Their types have been checked.
#[derive(Debug, Clone)]
pub struct EncodedArgs(Vec<u8>);

impl Exported {
    /// All functions of the table, sorted by name.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = Table::get().entries().map(Self).collect();
        all.sort_unstable_by_key(Self::name);
        all
    }

    /// The full name, for example `offshoot::facts::host_facts`.
    pub fn name(&self) -> &'static str {
        (self.0.name)()
    }

    /// The types of the arguments, without their paths.
    pub fn args(&self) -> String {
        let [args, _] = (self.0.shim.types)();
        let args = short(args);
        // `type_name` writes a tuple with one element with a trailing comma.
        args.strip_suffix(",)").map_or_else(|| args.clone(), |args| format!("{args})"))
    }

    /// The type of the result, without its path.
    pub fn ok(&self) -> String {
        let [_, ok] = (self.0.shim.types)();
        short(ok)
    }

    /// Whether the function can be called with JSON: all its arguments and its result are plain data. A
    /// `Sender` or a `Context` has a meaning only inside a connected program. The functions that start
    /// children are internal.
    pub fn takes_json(&self) -> bool {
        let types = (self.0.shim.types)();
        // The name of the `Sender` type without its type parameter.
        let sender = type_name::<Sender<()>>().trim_end_matches("()>");
        let bound = [type_name::<Context>(), sender];
        !self.0.shim.is_bound && !types.iter().any(|types| bound.iter().any(|bound| types.contains(bound)))
    }

    /// Decodes the arguments from a JSON array, and checks their number and types.
    ///
    /// # Errors
    ///
    /// A text that states what is wrong, with the signature of the function.
    pub fn encode(&self, json: &str) -> Result<EncodedArgs, String> {
        let data = (self.0.shim.args)(json).map_err(|why| {
            let why = wrong_count(&self.args(), json).unwrap_or(why);
            format!("the arguments of {self} do not fit: {why}; write a JSON array with one element for each")
        })?;
        Ok(EncodedArgs(data))
    }

    /// Calls the function in `context`. The result is JSON on one line.
    ///
    /// # Errors
    ///
    /// As [`Context::call`]. Also [`Error::Payload`](crate::Error::Payload) if the result cannot be expressed
    /// in JSON.
    pub fn call(&self, context: &Context, args: &EncodedArgs, timeout: Option<Duration>) -> Call<String> {
        let message = call_payload::encode_call(self.name(), &(), 0, crate::wire::message::Handle::NONE)
            .map_err(crate::Error::Payload)
            .and_then(|head| context.message_of([&head[..], &args.0[..]].concat().into()));
        context.start_converted(self.name(), message, timeout, self.0.shim.ok)
    }
}

impl std::fmt::Display for Exported {
    /// The signature: `offshoot::facts::host_facts() -> HostFacts`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{} -> {}", self.name(), self.args(), self.ok())
    }
}

/// Describes a wrong number of arguments; `None` if the number is right. `args` is the list of their types,
/// as a tuple.
fn wrong_count(args: &str, json: &str) -> Option<String> {
    let given = serde_json::from_str::<Vec<serde::de::IgnoredAny>>(json).ok()?.len();
    let (mut depth, mut taken, mut is_begun) = (0_u32, 0, false);
    for c in args.get(1..args.len().checked_sub(1)?)?.chars() {
        match c {
            '(' | '[' | '<' => depth += 1,
            ')' | ']' | '>' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                taken += usize::from(is_begun);
                is_begun = false;
                continue;
            }
            _ => {}
        }
        is_begun |= !c.is_whitespace();
    }
    taken += usize::from(is_begun);
    let arguments = if taken == 1 { "argument" } else { "arguments" };
    (given != taken).then(|| format!("it takes {taken} {arguments}, got {given}"))
}

/// The name of a type without module paths.
fn short(name: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for char in name.chars() {
        match char {
            ':' => word.clear(),
            _ if char.is_alphanumeric() || char == '_' => word.push(char),
            _ => {
                short.push_str(&word);
                word.clear();
                short.push(char);
            }
        }
    }
    short + &word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greet(name: String, times: u32) -> Vec<String> {
        vec![name; times as usize]
    }
    fn single(path: std::path::PathBuf) -> std::io::Result<Option<u64>> {
        Ok(Some(path.as_os_str().len() as u64))
    }
    fn by_number() -> std::collections::BTreeMap<(u8, u8), String> {
        std::collections::BTreeMap::from([((1, 2), "x".into())])
    }
    crate::export!(greet, single, by_number);

    fn find(name: &str) -> Exported {
        Exported::all().into_iter().find(|function| function.name().ends_with(name)).unwrap()
    }

    #[test]
    fn signatures_have_no_paths_in_their_types() {
        let shown = |name| find(name).to_string().split_off("offshoot::api::exported::tests".len());
        assert_eq!(shown("::greet"), "::greet(String, u32) -> Vec<String>");
        assert_eq!(shown("::single"), "::single(PathBuf) -> Option<u64>");
        assert_eq!(shown("::by_number"), "::by_number() -> BTreeMap<(u8, u8), String>");
        assert!(find("::greet").takes_json() && find("::host_facts").takes_json());
        assert!(!find("::read_file").takes_json() && !find("::proxy_connect").takes_json());
    }

    #[test]
    fn arguments_are_read_as_the_function_takes_them() {
        let expected = codec::encode(&("a".to_owned(), 3_u32)).unwrap();
        assert_eq!(find("::greet").encode(r#"["a", 3]"#).unwrap().0, expected);
        assert!(find("::by_number").encode(" [ ] ").unwrap().0.is_empty());
        for (name, wrong) in [
            ("::greet", "[]"),
            ("::greet", r#"["a"]"#),
            ("::greet", r#"["a", 3, 4]"#),
            ("::greet", r#"["a", -3]"#),
            ("::greet", r#"{"name": "a"}"#),
            ("::greet", "nonsense"),
            ("::by_number", "[1]"),
            ("::by_number", "null"),
            ("::greet", "[[1, 2], 3, 4]"),
            ("::read_file", r#"["/x", 1]"#),
        ] {
            let error = find(name).encode(wrong).unwrap_err();
            let takes = match (name, wrong) {
                ("::by_number", "[1]") => "takes 0 arguments, got 1;",
                ("::greet", "[]") => "takes 2 arguments, got 0;",
                ("::greet", "[[1, 2], 3, 4]") => "takes 2 arguments, got 3;",
                _ => "",
            };
            assert!(error.contains(takes), "{error}");
            assert!(error.contains(&find(name).to_string()) && error.contains("do not fit"), "{error}");
        }
    }
}
