//! The error of a called function.

use std::any::type_name;
use std::error::Error as StdError;
use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::wire::error::builtin_words::in_words;
use crate::wire::text::beginning;

/// The most bytes of each text of an error.
const MAX_TEXT: usize = 64 * 1024;
/// The most sources of an error that are kept. So all its texts fit into the largest reply, and no stack
/// overflows when they are dropped.
pub(super) const MAX_SOURCES: usize = 12;

/// A function that was called returned `Err`, panicked, or could not be run.
///
/// Its text is `type_name: message`, the texts of the sources, and in
/// parentheses the function and the context that it happened in. The commands
/// and files of this library leave out their type and function. Its
/// [`source`](StdError::source) is the first of those sources.
///
/// [`CallError::new`] has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallError {
    /// Rust's name of the error type, or `panic`.
    pub type_name: String,
    /// The error's text; for a panic with its location.
    pub message: String,
    /// The texts of the error's sources, outermost first.
    pub chain: Vec<String>,
    /// Name of the context that ran the function.
    pub context: String,
    /// Name of the function.
    pub function: String,
    /// Where the panic happened, or where the error left the function: taken
    /// if `RUST_BACKTRACE` (or `RUST_LIB_BACKTRACE`) is set in the context
    /// that ran it. Not part of the text.
    pub backtrace: Option<String>,
    #[serde(skip)]
    pub(crate) causes: Causes,
}

impl CallError {
    /// Creates an error of the given type and text that has not happened anywhere yet.
    ///
    /// ```
    /// let mut error = offshoot::error::CallError::new("prog::Full", "the disk is full");
    /// error.chain.push("No space left on device".into());
    /// assert_eq!(error.to_string(), "prog::Full: the disk is full: No space left on device");
    /// ```
    pub fn new(type_name: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            type_name: type_name.into(),
            message: shorten(message.into()),
            chain: Vec::new(),
            context: String::new(),
            function: String::new(),
            backtrace: None,
            causes: Causes::default(),
        }
    }

    /// Takes the type, the text and the sources from any error.
    pub fn of<E: StdError + 'static>(error: &E) -> Self {
        Self::of_dyn(type_name::<E>(), error)
    }

    pub(crate) fn of_dyn(type_name: &str, error: &(dyn StdError + 'static)) -> Self {
        let mut chain = Vec::new();
        let mut source = error.source();
        // A chain of sources may loop or never end. The reply must be sent all the same.
        while let Some(cause) = source.filter(|_| chain.len() < MAX_SOURCES) {
            chain.push(shorten(cause.to_string()));
            source = cause.source();
        }
        Self { chain, ..Self::new(type_name, error.to_string()) }
    }

    /// Adds the backtrace.
    pub(crate) fn with_backtrace(self, backtrace: Option<String>) -> Self {
        Self { backtrace: backtrace.map(shorten), ..self }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A panic is a fault of the library, which the whole name helps to find.
        let is_plain = in_words(&self.function).is_some() && self.type_name != "panic";
        if !is_plain && !says_nothing(&self.type_name) {
            write!(f, "{}: ", self.type_name)?;
        }
        f.write_str(&self.message)?;
        for cause in &self.chain {
            write!(f, ": {cause}")?;
        }
        match (self.function.as_str(), self.context.as_str()) {
            ("", "") => Ok(()),
            (_, context) if is_plain => write!(f, " (in {context})"),
            (function, context) => write!(f, " (in {function}, {context})"),
        }
    }
}

/// Whether the name of a type tells nothing that its text does not tell: a text, any error, and our own error.
fn says_nothing(type_name: &str) -> bool {
    matches!(type_name, "&str" | "alloc::string::String")
        || type_name.starts_with("alloc::boxed::Box<dyn ")
        || type_name == std::any::type_name::<super::Error>()
}

impl StdError for CallError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let first = self.causes.0.get_or_init(|| {
            self.chain.iter().rev().fold(None, |source, text| Some(Box::new(Cause { text: text.clone(), source })))
        });
        first.as_deref().map(|cause| cause as _)
    }
}

/// The texts of a chain as errors, created when [`source`](StdError::source) is called. Two errors
/// with the same texts are equal, whether or not these were created.
#[derive(Clone, Default)]
pub(crate) struct Causes(OnceLock<Option<Box<Cause>>>);

impl fmt::Debug for Causes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl PartialEq for Causes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Causes {}

#[derive(Debug, Clone)]
struct Cause {
    text: String,
    source: Option<Box<Self>>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|cause| cause as _)
    }
}

pub(super) fn shorten(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        text.truncate(beginning(&text, MAX_TEXT).len());
        text.push_str(" [cut]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::Error;

    #[test]
    fn a_call_error_begins_with_its_type_and_ends_with_its_place() {
        let mut error = CallError::new("std::io::Error", "no such file");
        error.chain = vec!["cause".into()];
        assert_eq!(error.to_string(), "std::io::Error: no such file: cause");
        (error.context, error.function) = ("ssh.web1".into(), "prog::read".into());
        assert_eq!(error.to_string(), "std::io::Error: no such file: cause (in prog::read, ssh.web1)");
        for nothing in ["&str", "alloc::string::String", "alloc::boxed::Box<dyn core::error::Error>"] {
            let error = CallError { type_name: nothing.into(), ..error.clone() };
            assert_eq!(error.to_string(), "no such file: cause (in prog::read, ssh.web1)");
        }
        error.function = "offshoot::builtin::file::read_file".into();
        assert_eq!(error.to_string(), "no such file: cause (in ssh.web1)");
        error.type_name = "panic".into();
        assert_eq!(error.to_string(), "panic: no such file: cause (in offshoot::builtin::file::read_file, ssh.web1)");
    }

    #[test]
    fn its_sources_are_the_texts_of_its_chain() {
        let mut error = CallError::new("a::Error", "a");
        assert!(Error::from(error.clone()).source().is_none());
        error.chain = vec!["b".into(), "c".into()];
        let error = Error::from(error);
        let first = error.source().unwrap();
        let second = first.source().unwrap();
        assert_eq!((first.to_string(), second.to_string()), ("b".into(), "c".into()));
        assert!(second.source().is_none());
        assert_eq!(error, error.clone(), "what was asked does not count");
    }

    #[test]
    fn its_texts_are_bounded() {
        #[derive(Debug)]
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&"\u{fc}".repeat(MAX_TEXT))
            }
        }
        impl StdError for Endless {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                Some(&Self)
            }
        }
        let error = CallError::of(&Endless).with_backtrace(Some("x".repeat(2 * MAX_TEXT)));
        assert_eq!(error.chain.len(), MAX_SOURCES);
        assert!(error.type_name.ends_with("::Endless"));
        for text in error.chain.iter().chain([&error.message]).chain(&error.backtrace) {
            assert!(text.len() <= MAX_TEXT + 6 && text.ends_with(" [cut]"));
        }
    }
}
