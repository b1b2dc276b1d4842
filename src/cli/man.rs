//! `offshoot man`: the manual pages, made from the definitions of the commands and options.

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use crate::cli::args::Cli;
use crate::cli::args::about::ManArgs;
use crate::cli::complaint::fail;
use crate::cli::exit::{Exit, Outcome};
use crate::cli::output::visible;
use crate::cli::print;

/// What the foot of each page names.
const SOURCE: &str = concat!("offshoot ", env!("CARGO_PKG_VERSION"));

/// Prints the page of a command, or writes all pages into a directory.
pub(crate) fn man(args: &ManArgs) -> Exit {
    let pages = pages();
    if let Some(directory) = &args.output {
        return match write(&pages, directory) {
            Ok(()) => Exit::Done(Outcome::default()),
            Err(error) => {
                let directory = directory.display();
                fail(Exit::Internal, &format!("cannot write manual pages into {directory}: {error}"))
            }
        };
    }
    let wanted = args.command.as_ref().map_or_else(|| "offshoot".to_owned(), |name| format!("offshoot-{name}"));
    match pages.iter().find(|(name, _)| *name == wanted) {
        Some((_, page)) => print(page),
        None => {
            let name = visible::word(args.command.as_deref().unwrap_or_default());
            fail(
                Exit::Usage,
                &format!("there is no command {name}; offshoot --help lists them, and --output DIR writes all pages"),
            )
        }
    }
}

/// The pages of the tool and of its commands, each with its name.
fn pages() -> Vec<(String, Vec<u8>)> {
    let mut tool = Cli::command().disable_help_subcommand(true);
    tool.build();
    let commands: Vec<Command> = tool.get_subcommands().filter(|command| !command.is_hide_set()).cloned().collect();
    std::iter::once(tool)
        .chain(commands)
        .map(|command| {
            // The pages would have the names of these options without their texts.
            let command = command.mut_args(|arg| arg.hide_short_help(false));
            let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
            let mut page = Vec::new();
            // A Vec takes all that is written.
            let written = Man::new(command).source(SOURCE).manual("Offshoot").render(&mut page);
            debug_assert!(written.is_ok(), "{written:?}");
            (name, page)
        })
        .collect()
}

fn write(pages: &[(String, Vec<u8>)], directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    pages.iter().try_for_each(|(name, page)| std::fs::write(directory.join(format!("{name}.1")), page))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_with_its_options() {
        let pages = pages();
        let page = |name: &str| {
            let found = pages.iter().find(|(known, _)| known == name).unwrap_or_else(|| panic!("{name}"));
            String::from_utf8(found.1.clone()).unwrap()
        };
        assert!(page("offshoot").contains("SUBCOMMANDS"), "{}", page("offshoot"));
        assert!(page("offshoot-run").contains("connect\\-timeout"), "{}", page("offshoot-run"));
        assert!(page("offshoot-run").contains("How long each hop may take"), "{}", page("offshoot-run"));
        assert!(page("offshoot").contains("Have each process write a debug log"), "{}", page("offshoot"));
        assert!(pages.iter().all(|(name, _)| !name.contains("__")));
        for (name, _) in &pages {
            let page = page(name);
            let title = page.lines().find(|line| line.starts_with(".TH ")).unwrap();
            assert!(title.contains(&format!("\"{SOURCE}\"")), "{title}");
        }
    }
}
