//! Functions that every copy of a program has, and what contexts offer by them.

mod blob_writer;
pub mod facts;
#[cfg(feature = "fakessh")]
pub mod fakessh;
pub mod file;
pub mod net;
pub mod process;
pub mod service;
pub mod unix;

#[cfg(all(test, feature = "cli"))]
mod tests {
    use crate::api::exported::Exported;
    use crate::wire::error::builtin_words::in_words;

    #[test]
    fn errors_have_words_for_each_function_that_every_copy_has() {
        let all = Exported::all();
        // Programs have none of these.
        let is_ours = |name: &str| ["::tests::", "::fuzzing::"].iter().all(|part| !name.contains(part));
        let ours = all.iter().filter(|function| is_ours(function.name()));
        let names: Vec<&str> =
            ours.map(|function| function.name()).filter(|name| name.starts_with("offshoot::")).collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in names {
            assert!(in_words(name).is_some(), "{name}");
        }
        assert_eq!(in_words("program::run_process"), None);
    }
}
