//! What can be typed at the shell's prompt.

use clap::{CommandFactory, Parser, Subcommand};

use super::words;
use crate::base::names::{TopicFilter, TopicName};
use crate::cli::args;
use crate::cli::units::Place;

#[derive(Debug, Parser)]
#[command(name = "sealmq", multicall = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// One command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a topic and choose who can read it
    Create(args::NewTopic),
    /// Print past and new messages of the topics that a filter matches
    #[command(visible_alias = "sub")]
    Subscribe {
        #[arg(value_name = "FILTER", required_unless_present = "more")]
        filters: Vec<TopicFilter>,
        #[arg(short = 't', long = "topic", id = "more", hide = true)]
        more: Vec<TopicFilter>,
        /// Where to begin: earliest, latest, last=N, since=TIME or offset=N
        #[arg(long, value_name = "PLACE", default_value = "earliest", value_parser = Place::parse)]
        from: Place,
    },
    /// Send a message: the words behind the topic, one space between them; quotes keep more
    #[command(visible_alias = "pub", override_usage = "publish TOPIC TEXT...")]
    Publish {
        #[arg(
            value_name = "TOPIC TEXT",
            hide = true,
            trailing_var_arg = true,
            allow_hyphen_values = true,
            required_unless_present_all = ["topic", "message"]
        )]
        words: Vec<String>,
        #[arg(short, long, hide = true)]
        topic: Option<TopicName>,
        #[arg(short, long, hide = true, allow_hyphen_values = true)]
        message: Option<String>,
    },
    /// Print a filter's messages no longer
    #[command(visible_alias = "unsub")]
    Unsubscribe {
        filter: TopicFilter,
        /// Also forget the topics that it matches on this computer: keys, owner, how far they were read
        #[arg(long)]
        forget: bool,
    },
    /// List topics
    Topics(args::TopicList),
    /// Show who is a member of a topic
    Members { topic: TopicName },
    /// Show who asks to join your topics
    Requests(args::members::Requests),
    /// Let clients into a topic, or make its members admins
    Grant(args::members::Grant),
    /// Turn clients away who ask to join a topic
    Deny(args::members::Deny),
    /// Remove members: a new key for the others, which those removed do not get
    Revoke(args::members::Revoke),
    /// Give a topic a new key, for the same members
    Rotate { topic: TopicName },
    /// Choose how others may join a topic
    Policy(args::members::Policy),
    /// Choose how much of a topic is kept; without a choice, show it
    Retention(args::members::Keeping),
    /// Delete a topic with all that is in it
    Delete(args::members::Delete),
    /// Forget a topic on this computer: what it was last seen as, and how far it was read
    Forget { topic: TopicName },
    /// Ask the broker for a sign of life
    Ping,
    /// Show the broker's counters
    Stats,
    /// Show who you are, where you are connected, and what you are subscribed to
    Whoami,
    /// Explain a command
    #[command(visible_alias = "?")]
    Help { command: Option<String> },
    /// Leave; so does Ctrl-D
    #[command(visible_alias = "quit")]
    Exit,
}

/// Parses a line. Nothing: it is empty, or a comment. The error is a sentence.
pub fn parse(line: &str) -> Result<Option<Command>, String> {
    let words = words::split(line).map_err(|e| e.to_string())?;
    if words.is_empty() {
        return Ok(None);
    }
    match Line::try_parse_from(&words) {
        Ok(line) => Ok(Some(line.command)),
        Err(error) => Err(sentence(&error, &words[0])),
    }
}

/// The topic and text of a `publish`, however it was typed.
pub fn publish_parts(
    mut words: Vec<String>,
    topic: Option<TopicName>,
    message: Option<String>,
) -> Result<(TopicName, String), String> {
    let topic = match topic {
        Some(topic) => topic,
        None if words.is_empty() => return Err("publish where? publish TOPIC TEXT".to_owned()),
        None => {
            let first = words.remove(0);
            TopicName::parse(&first).map_err(|e| format!("the topic {first:?} {e}"))?
        }
    };
    match message {
        Some(text) if words.is_empty() => Ok((topic, text)),
        Some(_) => Err("either -m TEXT or words behind the topic".to_owned()),
        None if words.is_empty() => {
            Err(format!("publish what? publish {topic} TEXT; '' is an empty message"))
        }
        None => Ok((topic, words.join(" "))),
    }
}

/// The help of one command, or the list of all.
pub fn help(of: Option<&str>) -> Result<String, String> {
    let mut line = Line::command();
    // What the commands share is handed down to them.
    line.build();
    if let Some(name) = of {
        return match line.find_subcommand_mut(name) {
            Some(command) => Ok(command.render_help().to_string().trim_end().to_owned()),
            None => Err(unknown(name)),
        };
    }
    let rows: Vec<Vec<String>> = line
        .get_subcommands()
        .map(|command| {
            let aliases: Vec<&str> = command.get_visible_aliases().collect();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            vec![format!("  {}", command.get_name()), aliases.join(" "), about]
        })
        .collect();
    Ok(format!(
        "{}\n\nhelp COMMAND says more. Tab completes, the arrow keys bring lines back, Ctrl-C drops a line.",
        crate::cli::output::table(&rows).join("\n")
    ))
}

/// The names of all commands, with their aliases.
pub fn names() -> Vec<String> {
    let line = Line::command();
    let names =
        line.get_subcommands().flat_map(|c| std::iter::once(c.get_name()).chain(c.get_visible_aliases()));
    names.map(str::to_owned).collect()
}

/// A command under one of its names, and the long flags that it takes.
pub fn flags(name: &str) -> Option<(String, Vec<String>)> {
    let line = Line::command();
    let command = line.find_subcommand(name)?;
    let visible = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let flags = visible.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect();
    Some((command.get_name().to_owned(), flags))
}

/// The first paragraph of what `clap` says, and how the command is used.
fn sentence(error: &clap::Error, command: &str) -> String {
    use clap::error::ErrorKind;
    if matches!(error.kind(), ErrorKind::InvalidSubcommand | ErrorKind::MissingSubcommand) {
        return unknown(command);
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    // What is missing stands on lines of its own.
    let first = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    format!("{first}\n  help {command} says how it is used")
}

fn unknown(name: &str) -> String {
    let near = names().into_iter().map(|known| (strsim::jaro_winkler(name, &known), known));
    let nearest = near.filter(|(score, _)| *score > 0.75).max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((_, known)) => format!("there is no command {name}; did you mean {known}?"),
        None => format!("there is no command {name}; help lists them"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(line: &str) -> Command {
        parse(line).unwrap_or_else(|e| panic!("{line}: {e}")).unwrap_or_else(|| panic!("{line}: empty"))
    }

    fn published(line: &str) -> Result<(String, String), String> {
        match good(line) {
            Command::Publish { words, topic, message } => {
                publish_parts(words, topic, message).map(|(topic, text)| (topic.to_string(), text))
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn publish_takes_words_quotes_and_mosquittos_flags() {
        for (line, text) in [
            ("publish home/kitchen 21.5", "21.5"),
            ("pub home/kitchen  it is   warm", "it is warm"),
            ("pub home/kitchen 'it is   warm'", "it is   warm"),
            ("pub home/kitchen -5", "-5"),
            ("pub home/kitchen --from -t x", "--from -t x"),
            ("pub home/kitchen ''", ""),
            ("pub -t home/kitchen -m -5", "-5"),
            ("pub -t home/kitchen warm", "warm"),
        ] {
            assert_eq!(published(line), Ok(("home/kitchen".to_owned(), text.to_owned())), "{line}");
        }
        for bad in ["publish home/kitchen", "publish home/# x", "publish -t a -m b c"] {
            assert!(published(bad).is_err(), "{bad}");
        }
        assert!(parse("publish").is_err());
    }

    #[test]
    fn subscribe_takes_several_filters() {
        let Command::Subscribe { filters, more, from } = good("sub home/# '+/x' --from last=3") else {
            panic!("subscribe")
        };
        assert_eq!((filters.len(), more.len(), from), (2, 0, Place::Last(3)));
        let Command::Subscribe { filters, more, .. } = good("subscribe -t home/#") else {
            panic!("subscribe")
        };
        assert_eq!((filters.len(), more.len()), (0, 1));
        assert!(parse("subscribe").is_err());
    }

    #[test]
    fn errors_are_sentences() {
        for (line, word) in [
            ("publsh a b", "did you mean publish?"),
            ("frobnicate", "help lists them"),
            ("create", "<TOPIC>"),
            ("create a+b", "wildcard"),
            ("create a --frob", "--frob"),
            ("publish 'a", "not closed"),
            ("sub a --from then", "earliest"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(word), "{line}: {error}");
            assert!(error.lines().count() <= 2, "{line}: {error}");
        }
        assert!(parse("  ").expect("nothing").is_none());
        assert!(parse("# later").expect("nothing").is_none());
    }

    #[test]
    fn every_command_can_be_explained() {
        let list = help(None).expect("a list");
        for name in names() {
            assert!(list.contains(&name), "{name}");
            let text = help(Some(&name)).expect("an explanation");
            assert!(text.contains("Usage: ") && !text.contains("--help"), "{name}: {text}");
            assert!(!text.contains("sealmq"), "{name}: {text}");
        }
        assert!(help(Some("frobnicate")).is_err());
        let wanted = ["create", "subscribe", "publish", "unsubscribe", "topics", "members", "help", "exit"];
        assert!(wanted.iter().all(|name| names().iter().any(|known| known == name)));
        assert!(flags("create").expect("known").1.contains(&"--to".to_owned()));
    }
}
