//! The names that completions know: those of the configuration and of the inventories that a command line names
//! or that are found.

use crate::api::exported::Exported;
use crate::cli::completions::candidates::{Candidate, Names};
use crate::cli::config::{Config, words_for_config};
use crate::cli::help_topics::TOPICS;
use crate::cli::hosts::expression::list;
use crate::cli::hosts::sources::Reading;
use crate::cli::inventory::Inventories;

/// What is read when it is asked for. What cannot be read has no names.
pub(super) struct OfConfig {
    config: Config,
    sources: Reading,
}

impl OfConfig {
    pub(super) fn new(words: &[String]) -> Self {
        // To press a key is neither to run a program nor to wait for one.
        let config = Config::read(&words_for_config(words).of_files_only()).unwrap_or_default();
        let inventories = Inventories::new(&inventories(words, &config)).with_config(&config).of_files_only();
        let sources = Reading::new(inventories);
        Self { config, sources }
    }
}

/// The inventories that the words before the cursor name, or else those of the configuration.
fn inventories(words: &[String], config: &Config) -> Vec<String> {
    let mut named = Vec::new();
    let mut words = words.split_last().map_or(&[][..], |(_, before)| before).iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-I" | "--inventory" => named.extend(words.next().cloned()),
            word => {
                let joined = word.strip_prefix("--inventory=").or_else(|| word.strip_prefix("-I"));
                named.extend(joined.map(str::to_owned));
            }
        }
    }
    if named.is_empty() { config.inventories() } else { named }
}

impl Names for OfConfig {
    fn hosts(&mut self) -> Vec<String> {
        list(&["@*"], &mut self.sources)
            .map_or_else(|_| Vec::new(), |known| known.hosts.iter().map(str::to_owned).collect())
    }

    fn groups(&mut self) -> Vec<String> {
        self.sources.inventories.group_names()
    }

    fn functions(&mut self) -> Vec<String> {
        let all = Exported::all();
        let callable = all.iter().filter(|function| function.takes_json());
        callable.filter_map(|function| function.name().rsplit("::").next().map(str::to_owned)).collect()
    }

    fn commands(&mut self) -> Vec<Candidate> {
        self.config.commands.iter().map(|(name, line)| (name.clone(), line.clone())).collect()
    }

    fn topics(&mut self) -> Vec<Candidate> {
        TOPICS.iter().map(|topic| (topic.name.to_owned(), topic.title.to_owned())).collect()
    }
}
