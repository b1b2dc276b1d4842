//! Help that fits a screen, and help that has all. `-h` leaves out what few need. `--help` has everything, and is as
//! dense as `-h`: clap would put every text on a line of its own.

use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use crate::cli::args::Cli;

/// What clap writes into the help that has all, and not into the short one.
const LONG: &str = "see a summary with '-h'";

/// The command, or the tool itself, with nothing left out in its help.
pub(crate) fn whole(name: Option<&str>) -> Option<Command> {
    let all = |command: Command| {
        let long = command.get_after_long_help().cloned();
        let command = command.mut_args(|arg| arg.hide_short_help(false));
        match long {
            Some(long) => command.after_help(long).after_long_help(None::<&str>),
            None => command,
        }
    };
    let mut tool = all(Cli::command());
    if let Some(name) = name {
        tool.find_subcommand(name)?;
        tool = tool.mut_subcommand(name, all);
    }
    tool.build();
    match name {
        Some(name) => tool.find_subcommand(name).cloned(),
        None => Some(tool),
    }
}

/// The command whose whole help clap was about to print.
pub(super) fn asked_for(error: &clap::Error) -> Option<Command> {
    if error.kind() != ErrorKind::DisplayHelp {
        return None;
    }
    let text = error.to_string();
    if !text.contains(LONG) {
        return None;
    }
    // The usage names it, and no text of the help comes before that.
    let usage = text.lines().find_map(|line| line.strip_prefix("Usage: offshoot ")).unwrap_or_default();
    let name = usage.split(' ').next().unwrap_or_default();
    if name.starts_with(['[', '<', '-']) { whole(None) } else { whole(Some(name)) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// Lines of a screen that are left by a prompt.
    const LINES: usize = 40;

    fn short(name: &str, width: usize) -> String {
        let mut tool = Cli::command().term_width(width).mut_subcommand(name, |command| command.term_width(width));
        tool.build();
        tool.find_subcommand_mut(name).unwrap().render_help().to_string()
    }

    #[test]
    fn the_short_help_of_every_command_fits_a_screen() {
        let tool = Cli::command();
        for command in tool.get_subcommands().filter(|command| !command.is_hide_set()) {
            for width in [80, 100] {
                let help = short(command.get_name(), width);
                let lines = help.lines().count();
                assert!(lines <= LINES, "{} at {width} columns: {lines} lines\n{help}", command.get_name());
            }
        }
        for width in [80, 100] {
            let help = Cli::command().term_width(width).render_help().to_string();
            assert!(help.lines().count() <= LINES, "{help}");
        }
    }

    #[test]
    fn the_long_help_has_every_option_and_the_short_one_tells_of_it() {
        let tool = Cli::command();
        for command in tool.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let error = Cli::try_parse_from(["offshoot", name, "--help"]).unwrap_err();
            let help = asked_for(&error).map_or_else(|| error.to_string(), |mut all| all.render_help().to_string());
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(long) = arg.get_long() {
                    assert!(help.contains(&format!("--{long}")), "{name}: {long}");
                }
            }
            let leaves_out = command.get_arguments().any(clap::Arg::is_hide_short_help_set);
            assert!(!leaves_out || short(name, 100).contains("see more with '--help'"), "{name}");
        }
        let error = Cli::try_parse_from(["offshoot", "--help"]).unwrap_err();
        assert!(asked_for(&error).unwrap().render_help().to_string().contains("--debug"));
        assert!(asked_for(&Cli::try_parse_from(["offshoot", "run", "-h"]).unwrap_err()).is_none());
    }
}
