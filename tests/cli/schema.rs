//! Checks that `docs/reference/json.schema.json` describes what the tool prints: each key and each value.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::support::A_WHILE;
use crate::support::tool::{run, tool};

const SCHEMA: &str = include_str!("../../docs/reference/json.schema.json");

/// A schema, and the whole that its references lead into. It knows the words that the file has, and refuses others.
#[derive(Clone, Copy)]
struct Schema<'a> {
    whole: &'a Value,
    part: &'a Value,
}

impl<'a> Schema<'a> {
    fn part(self, part: &'a Value) -> Self {
        Self { part, ..self }
    }

    /// # Errors
    ///
    /// Why the value is not as described.
    fn check(self, value: &Value) -> Result<()> {
        let words = self.part.as_object().context("a schema is an object")?;
        for (word, wanted) in words {
            match word.as_str() {
                "$schema" | "title" | "description" | "$defs" | "required" | "additionalProperties" => {}
                "$ref" => {
                    let path = wanted.as_str().and_then(|path| path.strip_prefix('#')).context("a reference")?;
                    self.part(self.whole.pointer(path).with_context(|| format!("{path} is missing"))?).check(value)?;
                }
                "const" => ensure!(value == wanted, "{value} is not {wanted}"),
                "enum" => {
                    let is_known = wanted.as_array().is_some_and(|all| all.contains(value));
                    ensure!(is_known, "{value} is none of {wanted}");
                }
                "minimum" => ensure!(value.as_f64() >= wanted.as_f64(), "{value} is less than {wanted}"),
                "type" => {
                    let types = wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()]);
                    ensure!(types.iter().any(|name| is_of(name, value)), "{value} is not of type {wanted}");
                }
                "items" => {
                    for item in value.as_array().into_iter().flatten() {
                        self.part(wanted).check(item)?;
                    }
                }
                "oneOf" => {
                    let all = wanted.as_array().context("a list")?;
                    let outcomes: Vec<Result<()>> = all.iter().map(|one| self.part(one).check(value)).collect();
                    let count = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
                    let whys: Vec<String> =
                        outcomes.into_iter().filter_map(|outcome| Some(format!("{:#}", outcome.err()?))).collect();
                    ensure!(count == 1, "{count} of these fit {value}: {wanted}: {}", whys.join("; "));
                }
                "properties" => self.properties(wanted, value)?,
                _ => bail!("this check does not know {word}"),
            }
        }
        Ok(())
    }

    fn properties(self, known: &Value, value: &Value) -> Result<()> {
        let Some(object) = value.as_object() else { return Ok(()) };
        for (key, value) in object {
            // A reader has to accept keys that are added later. What is printed today is described.
            let schema = known.get(key).with_context(|| format!("the key {key} is not described"))?;
            self.part(schema).check(value).with_context(|| key.clone())?;
        }
        for key in self.part["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            ensure!(object.contains_key(key), "the key {key} is missing");
        }
        Ok(())
    }
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap_or_default() {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// The lines that the tool prints.
fn printed(args: &[&str]) -> Result<Vec<Value>> {
    let (mut command, mut trace) = tool(args);
    let ended = run(&mut command)?;
    // What one of the commands leaves in the background ends by itself.
    trace.expect_nothing_left(A_WHILE)?;
    ensure!(!ended.stdout.is_empty(), "{ended:?}");
    Ok(ended.stdout.iter().map(|line| serde_json::from_str(line)).collect::<Result<_, _>>()?)
}

/// Checks a document that another trial has got.
pub(crate) fn check(value: &Value) -> Result<()> {
    let whole: Value = serde_json::from_str(SCHEMA)?;
    Schema { whole: &whole, part: &whole }.check(value)
}

pub(crate) fn all_json_is_as_its_schema_says() -> Result<()> {
    let whole: Value = serde_json::from_str(SCHEMA)?;
    let schema = Schema { whole: &whole, part: &whole };
    let line = "printf 'a\\n\\377\\nb'; echo c >&2; case $0 in *) kill -TERM $$; esac";
    let hosts = "local1,127.0.0.1:1";
    let mut events = Vec::new();
    let directory = tempfile::tempdir()?;
    let inventory = directory.path().join("hosts");
    std::fs::write(&inventory, "[web]\nweb1\n[none]\n")?;
    let inventory = inventory.to_string_lossy();
    for args in [
        &["run", "--jsonl", "-F", "none", "-w", hosts, "-s", line][..],
        &["run", "--jsonl", "-w", "local1", "-t", "300ms", "-s", "sleep 60"],
        &["run", "--jsonl", "-w", "local1", "-s", "sleep 5 & exit 3"],
        &["run", "--jsonl", "-w", "local1", "-n", "--retries", "1", "--retry-on", "all", "--", "false"],
        &["run", "--json", "-w", "local1", "-n", "--retries", "1", "--retry-on", "all", "--", "false"],
        &["run", "--jsonl", "-w", "local[1-3]", "--batch", "1", "--max-fail", "0", "--", "false"],
        &["call", "--jsonl", "-w", "local1", "host_facts"],
        &["run", "--json", "-F", "none", "-w", hosts, "-s", line],
        &["run", "--json", "-w", "local1", "--", "/no/such/program"],
        &["call", "--json", "-w", "local1", "host_facts"],
        &["push", "--jsonl", "-w", "local1", "--dry-run", "Cargo.toml", "/"],
        &["pull", "--json", "-w", "local1", "--dry-run", "/no/such/file", "nowhere"],
        &["push", "--json", "-w", "local1", "Cargo.toml", "/no/such/file"],
        &["doctor", "--json", "local1"],
        &["doctor", "--json", "-F", "none", "127.0.0.1:1"],
        &["functions", "--json"],
        &["images", "--json"],
        &["plan", "--json", "-F", "none", "-w", "bastion/web[1-2],local1"],
        &["hosts", "--json", "web[1-2]"],
        &["hosts", "--groups", "--json", "-I", &inventory],
        &["tree", "--json", "-F", "none", "-w", "local1/local2,127.0.0.1:1"],
        &["cache", "ls", "--json", "-F", "none", "-w", "local1,127.0.0.1:1"],
        &["kept", "--json"],
    ] {
        for value in printed(args)? {
            schema.check(&value).with_context(|| format!("{args:?} prints {value}"))?;
            events.extend(value["event"].as_str().map(str::to_owned));
        }
    }
    for event in ["line", "result", "retry", "exit", "summary"] {
        ensure!(events.iter().any(|seen| seen == event), "{event} was not printed");
    }
    Ok(())
}

pub(crate) fn the_schema_refuses_what_is_not_as_it_says() -> Result<()> {
    let whole: Value = serde_json::from_str(SCHEMA)?;
    let schema = Schema { whole: &whole, part: &whole };
    let right = r#"{"v":1,"event":"line","host":"a","time":1.5,"stream":"stdout","text":"x"}"#;
    schema.check(&serde_json::from_str(right)?)?;
    for (from, to) in [("\"v\":1", "\"v\":2"), ("stdout", "stdin"), ("1.5", "\"1\""), ("\"host\"", "\"hots\"")] {
        let wrong: Value = serde_json::from_str(&right.replace(from, to))?;
        ensure!(schema.check(&wrong).is_err(), "{wrong}");
    }
    Ok(())
}
