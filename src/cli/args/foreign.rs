//! Flags of `mosquitto_pub` and `mosquitto_sub` that mean nothing here: taken, and answered with a sentence.
//!
//! So that a script can be moved by changing the program's name, and nobody is left
//! believing that a flag did something.

use clap::{Arg, ArgAction, ArgMatches, Command, Error, FromArgMatches};

/// What `pub` was given of them.
#[derive(Clone, Debug, Default)]
pub struct ForeignPub(pub Notes);

/// What `sub` was given of them.
#[derive(Clone, Debug, Default)]
pub struct ForeignSub(pub Notes);

/// What there is to say about the foreign flags that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Without effect; what holds here instead.
    pub ignored: Vec<String>,
    /// Cannot be done, and leaving it out would change what is done.
    pub refused: Vec<String>,
    /// `--quiet`: say nothing about what is ignored.
    pub quiet: bool,
}

/// A flag of theirs.
struct Foreign {
    short: Option<char>,
    long: &'static str,
    values: u8,
    answer: Answer,
}

enum Answer {
    Ignore(&'static str),
    Refuse(&'static str),
}
use Answer::{Ignore, Refuse};

const QOS: &str = "there are no QoS levels here: a publish is answered once it is stored, and delivered once";
const NAMED_BY_CERTIFICATE: &str = "a client is named by its certificate: --as NAME";
const NO_PASSWORDS: &str =
    "there are no passwords here, your certificate says who you are; others on this host can see this flag";
const NO_TLS: &str = "the protocol does not use TLS; it has one way to secure a session";
const NO_VERSION: &str = "there is one version of the protocol";
const KEEPALIVE: &str = "the broker sets the keepalive";
const NO_WILL: &str = "there is no last will here";

const BOTH: &[Foreign] = &[
    flag(Some('q'), "qos", 1, Ignore(QOS)),
    flag(Some('i'), "id", 1, Ignore(NAMED_BY_CERTIFICATE)),
    flag(Some('I'), "id-prefix", 1, Ignore(NAMED_BY_CERTIFICATE)),
    flag(Some('u'), "username", 1, Ignore(NO_PASSWORDS)),
    flag(Some('P'), "pw", 1, Ignore(NO_PASSWORDS)),
    flag(Some('V'), "protocol-version", 1, Ignore(NO_VERSION)),
    flag(Some('k'), "keepalive", 1, Ignore(KEEPALIVE)),
    flag(
        Some('c'),
        "disable-clean-session",
        0,
        Ignore("a client that comes back says --from; the broker keeps no session"),
    ),
    flag(Some('x'), "session-expiry-interval", 1, Ignore("the broker keeps no session")),
    flag(Some('D'), "property", 3, Ignore("messages have no MQTT properties")),
    flag(Some('A'), "bind", 1, Refuse("the system chooses the address to connect from")),
    flag(Some('L'), "url", 1, Refuse("say -h HOST -p PORT -t TOPIC")),
    flag(Some('S'), "srv", 0, Refuse("say -h HOST -p PORT")),
    flag(None, "nodelay", 0, Ignore("that is always so")),
    flag(None, "insecure", 0, Refuse("the broker's name is always checked against its certificate")),
    flag(None, "capath", 1, Refuse("there is one CA: --cafile FILE")),
    flag(None, "tls-version", 1, Ignore(NO_TLS)),
    flag(None, "tls-alpn", 1, Ignore(NO_TLS)),
    flag(None, "ciphers", 1, Ignore(NO_TLS)),
    flag(None, "tls-use-os-certs", 0, Refuse("there is one CA: --cafile FILE")),
    flag(None, "psk", 1, Refuse("there are no pre-shared keys: --key FILE --cert FILE")),
    flag(None, "psk-identity", 1, Refuse("there are no pre-shared keys: --key FILE --cert FILE")),
    flag(None, "proxy", 1, Refuse("there is no proxy support")),
    flag(None, "unix", 1, Refuse("the broker listens on TCP only")),
    flag(None, "will-topic", 1, Refuse(NO_WILL)),
    flag(None, "will-payload", 1, Refuse(NO_WILL)),
    flag(None, "will-qos", 1, Refuse(NO_WILL)),
    flag(None, "will-retain", 0, Refuse(NO_WILL)),
];

const PUB: &[Foreign] = &[
    flag(Some('r'), "retain", 0, Ignore("nothing has to be retained here: a topic keeps its past messages")),
    flag(Some('M'), "max-inflight", 1, Ignore("the broker sets how many messages may be unanswered")),
    flag(None, "repeat", 1, Refuse("repeat it in your shell, or: yes TEXT | head -n N | sealmq pub -l")),
    flag(None, "repeat-delay", 1, Refuse("repeat it in your shell")),
];

const SUB: &[Foreign] = &[
    flag(Some('R'), "no-retained", 0, Refuse("say --from latest for new messages only")),
    flag(Some('U'), "unsubscribe", 1, Refuse("no subscription outlives its program")),
    flag(
        None,
        "retained-only",
        0,
        Refuse("say -e for past messages only, or --from last=1 -e for the newest"),
    ),
    flag(None, "retain-as-published", 0, Ignore("messages have no retain flag")),
    flag(None, "retain-handling", 1, Refuse("say --from earliest, latest, last=N, since=TIME or offset=N")),
    flag(None, "remove-retained", 0, Refuse("a topic's retention is chosen when it is made")),
    flag(None, "random-filter", 1, Refuse("there is no sampling; try awk 'rand() < 0.1'")),
    flag(None, "pretty", 0, Ignore("pipe it into jq")),
];

const fn flag(short: Option<char>, long: &'static str, values: u8, answer: Answer) -> Foreign {
    Foreign { short, long, values, answer }
}

impl Notes {
    /// What there is to say, each on a line of its own; an error's text if something was refused.
    pub fn verdict(&self) -> Result<&[String], String> {
        if self.refused.is_empty() {
            Ok(if self.quiet { &[] } else { &self.ignored })
        } else {
            Err(self.refused.join("\n"))
        }
    }

    fn read(tables: [&[Foreign]; 2], matches: &ArgMatches) -> Notes {
        let mut notes = Notes { quiet: matches.get_flag(QUIET), ..Notes::default() };
        for foreign in tables.into_iter().flatten() {
            // Flags without values are present with their default; only what was typed counts.
            let source = matches.value_source(foreign.long);
            if source != Some(clap::parser::ValueSource::CommandLine) {
                continue;
            }
            let name = match foreign.short {
                Some(c) => format!("-{c}"),
                None => format!("--{}", foreign.long),
            };
            match foreign.answer {
                Ignore(why) => notes.ignored.push(format!("{name} is without effect: {why}")),
                Refuse(why) => notes.refused.push(format!("{name} is not to be had: {why}")),
            }
        }
        notes
    }
}

fn augment(tables: [&[Foreign]; 2], mut command: Command) -> Command {
    for foreign in tables.into_iter().flatten() {
        let mut arg = Arg::new(foreign.long).long(foreign.long).hide(true);
        if let Some(short) = foreign.short {
            arg = arg.short(short);
        }
        arg = match foreign.values {
            0 => arg.action(ArgAction::SetTrue),
            n => arg.action(ArgAction::Append).num_args(1..=usize::from(n)).allow_hyphen_values(true),
        };
        command = command.arg(arg);
    }
    let quiet = Arg::new(QUIET)
        .long(QUIET)
        .action(ArgAction::SetTrue)
        .help("Say nothing of ignored flags, gaps and lost connections");
    command.arg(quiet.help_heading("Other"))
}

const QUIET: &str = "quiet";

macro_rules! foreign_args {
    ($name:ident, $tables:expr) => {
        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<$name, Error> {
                Ok($name(Notes::read($tables, matches)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
                self.0 = Notes::read($tables, matches);
                Ok(())
            }
        }

        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                augment($tables, command)
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment($tables, command)
            }
        }
    };
}

foreign_args!(ForeignPub, [BOTH, PUB]);
foreign_args!(ForeignSub, [BOTH, SUB]);
