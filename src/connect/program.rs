//! Settings of a whole program: which output of its children it shows.

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use crate::api::router::Router;
use crate::connect::child::child;
use crate::connect::master::log_levels;
use crate::connect::run::{fail, run_with};
use crate::engine::log::{self, Levels, Record};
use crate::engine::shared::Request;

/// The default for the log of children: it shows warnings and errors.
const WARNINGS: u8 = 2;
/// The level of lines that children print.
const PRINTED: u8 = 3;

/// A program that is its own child, with settings. [`run`](crate::run()) is the short form.
///
/// ```
/// fn main() -> std::process::ExitCode {
///     offshoot::Program::new().log("info").run(async |router| {
///         let child = router.local().await?;
///         println!("{child} is up");
///         Ok::<(), offshoot::Error>(())
///     })
/// }
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "nothing happens before run()"]
pub struct Program {
    log: Option<String>,
    profiling: bool,
    quiet: bool,
}

impl Program {
    /// A program with the default settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which log records of children are shown: `LEVEL` or `LEVEL,TARGET=LEVEL,...`. LEVEL is one of `off error
    /// warn info debug trace`. A target stands for itself and the targets below it, such as `app` for
    /// `app::db`. Lines that children print are always shown. Default: `warn`. The environment variable `OFFSHOOT_LOG_LEVEL`
    /// replaces this.
    pub fn log(mut self, levels: impl Into<String>) -> Self {
        self.log = Some(levels.into());
        self
    }

    /// As [`RouterBuilder::profiling`](crate::router::RouterBuilder::profiling), which also has the default.
    /// The results are shown with the log.
    pub fn profiling(mut self, on: bool) -> Self {
        self.profiling = on;
        self
    }

    /// Shows nothing from children: neither their log nor the lines that they print.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// Runs the program: `app` is the rest of `main`. This is [`run`](crate::run()) with these settings.
    ///
    /// If this process has a `tracing` subscriber, it gets everything that is to be shown, and its own rules
    /// apply. The same holds for a hook by [`Router::on_log`].
    ///
    /// If the text for [`Program::log`] or the value of `OFFSHOOT_LOG_LEVEL` is not valid, this prints an error on stderr and returns exit code 1.
    pub fn run<E: fmt::Display + fmt::Debug>(self, app: impl AsyncFnOnce(Router) -> Result<(), E>) -> ExitCode {
        child();
        match self.router() {
            Ok(router) => run_with(&router, app),
            Err(error) => fail(&error),
        }
    }

    fn router(self) -> Result<Router, String> {
        let shown = match (self.quiet, log::levels_of_environment(), &self.log) {
            (true, ..) => Levels::new(0),
            (_, Some(levels), _) => levels?,
            (_, None, Some(levels)) => {
                Levels::parse(levels).map_err(|why| format!("Program::log({levels:?}): {why}"))?
            }
            (_, None, None) => Levels::new(WARNINGS),
        };
        let shown = match self.quiet {
            true => shown,
            false => shown.with("stdout", PRINTED).with("stderr", PRINTED),
        };
        let mut builder = Router::builder();
        if self.profiling {
            builder = builder.profiling(true);
        }
        let levels = move |hooked| if hooked || log::has_subscriber() { log_levels(hooked) } else { shown.clone() };
        let router = builder.build_with(Box::new(levels)).map_err(|error| error.to_string())?;
        let quiet = self.quiet;
        #[cfg(debug_assertions)]
        if !quiet {
            crate::connect::large_image::note_on_stderr();
        }
        router.shared().request(Request::SetLogHook(Arc::new(move |record| {
            if !quiet && !log::has_subscriber() {
                show(record);
            }
            // A debug log gets the record in any case.
            log::emit(record);
        })));
        Ok(router)
    }
}

/// Shows a record. Its texts are escaped already.
#[expect(clippy::print_stderr, reason = "it is what this is for")]
fn show(record: &Record) {
    let Record { context_name, target, message, fields, .. } = record;
    if matches!(target.as_str(), "stdout" | "stderr") {
        eprintln!("{context_name}: {message}");
        return;
    }
    let level = ["error", "warning", "info", "debug", "trace"][usize::from(record.level.clamp(1, 5)) - 1];
    let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    eprintln!("{context_name}: {level}: {target}: {message}{fields}");
}
