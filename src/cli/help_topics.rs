//! `offshoot help`: topics that concern several commands. The help of a command is that of its `--help`.

use clap::CommandFactory;

use crate::cli::args::Cli;
use crate::cli::args::about::HelpArgs;
use crate::cli::args::screen::whole;
use crate::cli::complaint::fail;
use crate::cli::exit::Exit;
use crate::cli::output::visible;
use crate::cli::print;
use crate::connect::host_path::distance;

/// A topic.
pub(crate) struct Topic {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    text: &'static str,
}

/// The topics.
pub(crate) const TOPICS: [Topic; 6] = [
    Topic { name: "hosts", title: "How hosts are written", text: include_str!("help_topics/hosts.txt") },
    Topic { name: "paths", title: "The way to a host, hop by hop", text: include_str!("help_topics/paths.txt") },
    Topic {
        name: "inventories",
        title: "Where groups of hosts come from",
        text: include_str!("help_topics/inventories.txt"),
    },
    Topic { name: "become", title: "Another user on the hosts", text: include_str!("help_topics/become.txt") },
    Topic { name: "config", title: "The configuration", text: include_str!("help_topics/config.txt") },
    Topic { name: "exit-codes", title: "How the tool ends", text: include_str!("help_topics/exit-codes.txt") },
];

/// Other words for topics.
const ALIASES: [(&str, &str); 11] = [
    ("password", "become"),
    ("passwords", "become"),
    ("sudo", "become"),
    ("su", "become"),
    ("doas", "become"),
    ("root", "become"),
    ("inventory", "inventories"),
    ("groups", "inventories"),
    ("expressions", "hosts"),
    ("configuration", "config"),
    ("hops", "paths"),
];

/// The names of the topics, to be listed.
pub(crate) fn names_of_topics() -> String {
    TOPICS.map(|topic| topic.name).join(", ")
}

/// Prints a topic, the help of a command, or the help of the tool.
pub(crate) fn help(args: &HelpArgs) -> Exit {
    let Some(name) = &args.topic else {
        let mut text = text_of(None);
        text.push_str("\nTopics of `offshoot help TOPIC`:\n");
        TOPICS.iter().for_each(|topic| text.push_str(&format!("  {:<12} {}\n", topic.name, topic.title)));
        return print(text.as_bytes());
    };
    let name = match ALIASES.iter().find(|(alias, _)| alias == name) {
        Some((_, topic)) => topic,
        None => name.as_str(),
    };
    let is_command = Cli::command().find_subcommand(name).is_some_and(|command| !command.is_hide_set());
    let topic = TOPICS.iter().find(|topic| topic.name == name);
    match (topic, is_command) {
        (Some(topic), is_command) => {
            let mut text = format!("{}\n\n{}", topic.title, topic.text);
            if is_command {
                text.push_str(&format!("\noffshoot {name} --help has the options of the command {name}.\n"));
            }
            print(text.as_bytes())
        }
        (None, true) => print(text_of(Some(name)).as_bytes()),
        (None, false) => {
            let (name, topics) = (visible::word(name), names_of_topics());
            let tool = Cli::command();
            let commands = tool.get_subcommands().filter(|command| !command.is_hide_set()).map(clap::Command::get_name);
            let near = commands.chain(TOPICS.map(|topic| topic.name)).min_by_key(|known| distance(known, &name));
            // A name that has little in common with all others is no slip.
            let near = near.filter(|near| distance(near, &name) <= 1 + near.len() / 3);
            let near = near.map_or_else(String::new, |near| format!("did you mean {near}? "));
            let text = format!("there is no topic and no command {name}; {near}the topics are {topics}");
            fail(Exit::Usage, &text)
        }
    }
}

/// What `--help` prints.
fn text_of(command: Option<&str>) -> String {
    whole(command).map_or_else(String::new, |mut command| command.render_help().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_fits_a_screen() {
        for topic in TOPICS {
            let lines: Vec<&str> = topic.text.lines().collect();
            assert!((5..=36).contains(&lines.len()), "{}: {} lines", topic.name, lines.len());
            assert!(lines.iter().all(|line| line.len() <= 100 && !line.ends_with(' ')), "{}", topic.name);
            assert!(topic.text.ends_with('\n'), "{}", topic.name);
        }
    }

    #[test]
    fn the_topic_about_exit_codes_has_all_of_them() {
        use crate::cli::exit;
        let text = TOPICS.iter().find(|topic| topic.name == "exit-codes").unwrap().text;
        for code in [
            exit::OK,
            exit::FAILED,
            exit::UNREACHABLE,
            exit::STOPPED,
            exit::USAGE,
            exit::NO_HOSTS,
            exit::INTERNAL,
            exit::HUNG_UP,
            exit::INTERRUPTED,
            exit::TERMINATED,
        ] {
            assert!(text.lines().any(|line| line.split_whitespace().next() == Some(&code.to_string())), "{code}");
        }
    }
}
