//! What the fuzzers run: for each decoder a function of bytes, which panics if something does not hold that must.
//!
//! `cargo xtask fuzz` feeds these functions with libFuzzer. The unit tests feed them with the files of `fuzz/corpora`, and
//! with mutations of those. No image and no tool contains this module.
//!
//! - `checks`: what must hold for every text that people see
//! - `frames`, `reassembly`, `payloads`, `values`: what comes over a link
//! - `packing`: content that was packed
//! - `announcement`, `dialogue`, `hello`, `diagnosis`: what comes during a connect
//! - `paths`, `expressions`, `inventories`, `arguments`, `size`: what users and their files say
//! - `bundle`: what lies behind the last byte of a program
//! - `routers`: real routers that are joined by bad links

mod announcement;
mod arguments;
mod bundle;
mod checks;
#[cfg(test)]
mod corpora;
mod diagnosis;
mod dialogue;
mod expressions;
mod frames;
mod hello;
mod inventories;
mod packing;
mod paths;
mod payloads;
mod reassembly;
mod routers;
mod size;
mod values;

/// Something that a fuzzer runs.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name, which is that of its corpus.
    pub name: &'static str,
    /// Runs it on one input.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "announcement", run: announcement::announcement },
    Target { name: "arguments", run: arguments::arguments },
    Target { name: "bundle", run: bundle::bundle },
    Target { name: "diagnosis", run: diagnosis::diagnosis },
    Target { name: "dialogue", run: dialogue::dialogue },
    Target { name: "expressions", run: expressions::expressions },
    Target { name: "frames", run: frames::frames },
    Target { name: "hello", run: hello::hello },
    Target { name: "inventories", run: inventories::inventories },
    Target { name: "packing", run: packing::packing },
    Target { name: "paths", run: paths::paths },
    Target { name: "payloads", run: payloads::payloads },
    Target { name: "reassembly", run: reassembly::reassembly },
    Target { name: "routers", run: routers::routers },
    Target { name: "values", run: values::values },
];
