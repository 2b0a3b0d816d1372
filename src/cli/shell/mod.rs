//! `sealmq shell`: commands by hand, or from a script, while messages keep arriving.
//!
//! The client runs on the main thread; a thread of its own waits for lines and wakes it.

mod answers;
pub mod command;
mod complete;
mod input;
mod members;
mod obey;
mod screen;
pub mod words;

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::base::names::{Name, TopicFilter, TopicName};
use crate::base::{Mono, Wall};
use crate::cli::access::Base;
use crate::cli::args::members::{Grant, Keeping, Requests};
use crate::cli::args::{self, Access};
use crate::cli::error::{CliError, Exit};
use crate::cli::link::Link;
use crate::cli::membership::{Change, News};
use crate::cli::output::printable;
use crate::cli::verbs::create::Plan;
use crate::cli::verbs::readers::Readers;
use crate::client::{Event, Ticket};
use complete::Vocabulary;
use input::{Input, Typed};
use screen::Screen;

pub fn run(base: &Base, access: &Access) -> Result<(), CliError> {
    let mut link = Link::prepare(base, access)?;
    link.core().watch(true);
    let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
    let colours = io::stdout().is_terminal() && !base.around.no_color;
    let vocabulary = Vocabulary::default();
    let waker = link.connection().waker();
    let (input, screen) = if interactive {
        let (input, printer) = Input::terminal(waker, vocabulary.clone(), &link.state.path("history"))?;
        // Between two prompts Ctrl-C is nobody's; it is not to end the shell.
        let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::new(AtomicBool::new(false)));
        let screen = match printer {
            Some(printer) => Screen::above_prompt(printer, colours),
            None => Screen::plain(colours),
        };
        (input, screen)
    } else {
        (Input::script(waker), Screen::plain(colours))
    };
    let shell = Shell {
        link,
        input,
        screen,
        vocabulary,
        interactive,
        asked: HashMap::new(),
        question: None,
        news: News::default(),
        unreadable: BTreeSet::new(),
        session_began: Wall(0),
        removed: 0,
        line: interactive.then_some(0),
        online: Online::Not { said: None, since: None },
        behind: Vec::new(),
        leaving: Leaving::No,
        failure: None,
    };
    shell.run()
}

struct Shell {
    link: Link,
    input: Input,
    screen: Screen,
    vocabulary: Vocabulary,
    /// A person is there, who can be asked and can say when it is enough.
    interactive: bool,
    /// Requests that are not answered yet.
    asked: HashMap<Ticket, Asked>,
    /// What waits for the person's word.
    question: Option<Question>,
    /// Of those who ask to join.
    news: News,
    /// Topics whose past is for those who were there.
    unreadable: BTreeSet<TopicName>,
    /// The broker's clock when the session began.
    session_began: Wall,
    /// How many of the topics that a name is removed from everywhere it was in so far.
    removed: usize,
    /// The line that is being seen to.
    line: Option<u64>,
    online: Online,
    /// Topics whose past has not all come yet.
    behind: Vec<TopicName>,
    leaving: Leaving,
    /// What the last command that failed did: a script's exit code.
    failure: Option<CliError>,
}

/// What a request was for.
enum Asked {
    Create(Box<Plan>),
    /// Whom the broker knows, for a topic about to be made.
    Readers(Box<args::NewTopic>),
    Subscribe(TopicFilter),
    Unsubscribe {
        filter: TopicFilter,
        forget: bool,
    },
    /// To be let into a topic that was subscribed to.
    Join(TopicName),
    Requests(Requests),
    /// Whom the broker knows, for a grant.
    Grantees(Grant),
    /// A change of members, and those who were shown for it.
    Amend(Change, Readers),
    /// The topics from which these are to be removed.
    Everywhere(Vec<Name>),
    /// One of these topics; the last one says if there was nothing to do.
    OneOfAll {
        names: Vec<Name>,
        topics: usize,
        is_last: bool,
    },
    /// A topic's retention, and what it is to be.
    Keeping(Keeping),
    Kept,
    /// What would be gone.
    DeleteWhat(TopicName),
    Delete,
    Publish,
    Topics(args::TopicList),
    Members,
    Ping,
    Stats,
    /// Words for completion, which nobody asked for.
    Words,
}

/// What a person was asked.
enum Question {
    Create(Plan),
    Grant(Grant, Readers),
    Delete(TopicName),
}

/// How the connection stands.
enum Online {
    Yes {
        broker: String,
    },
    Not {
        /// What was said about it, so that it is not said at every attempt.
        said: Option<String>,
        /// When the connection was lost, if there was one.
        since: Option<Mono>,
    },
    /// It will not come back.
    Over,
}

impl Shell {
    fn run(mut self) -> Result<(), CliError> {
        if self.interactive {
            self.screen.say("help lists the commands, Ctrl-D leaves.")?;
        }
        self.set_prompt();
        while !self.has_left() {
            // Events come before lines: a wake-up that is used up here leaves its line to be seen.
            let mut moved = false;
            while let Some(event) = self.event(Some(self.link.now().mono))? {
                self.hear(event)?;
                moved = true;
            }
            if let Some(typed) = self.next_typed() {
                self.typed(typed)?;
                moved = true;
            }
            if !moved && matches!(self.online, Online::Over) {
                // Only a line can come now, and any line leaves.
                self.input.wait();
                self.leaving = Leaving::Left;
            } else if !moved {
                self.screen.flush()?;
                if let Some(event) = self.event(self.deadline())? {
                    self.hear(event)?;
                }
            }
        }
        let unanswered = self.link.core().unanswered_publishes();
        if unanswered > 0 {
            self.screen.complain(&format!(
                "{unanswered} messages were not answered; whether they are stored is not known"
            ))?;
            self.failure = Some(CliError::new(Exit::Unreachable, ""));
        }
        self.screen.close()?;
        match self.failure {
            // A person has seen what failed, and has gone on.
            Some(failure) if !self.interactive || matches!(self.online, Online::Over) => {
                Err(CliError::new(failure.exit(), ""))
            }
            _ => Ok(()),
        }
    }

    /// The next event. A session that is over for good ends a script, and tells a person.
    fn event(&mut self, deadline: Option<Mono>) -> Result<Option<Event>, CliError> {
        if matches!(self.online, Online::Over) {
            return Ok(None);
        }
        match self.link.next_or_notice(deadline) {
            Err(error) if self.interactive && error.exit() != Exit::Done => {
                self.screen.complain(&printable(&error.to_string()))?;
                self.screen.remark("the session is over; Enter leaves")?;
                self.online = Online::Over;
                self.failure = Some(error);
                self.set_prompt();
                self.line_done();
                Ok(None)
            }
            other => other,
        }
    }

    /// A line, if one may be looked at now: a script's only once there is a session.
    fn next_typed(&mut self) -> Option<Typed> {
        let ready = self.interactive || matches!(self.online, Online::Yes { .. });
        if ready && self.leaving == Leaving::No { self.input.take() } else { None }
    }

    fn typed(&mut self, typed: Typed) -> Result<(), CliError> {
        match typed {
            Typed::End => self.leave(),
            Typed::Line { number, text } => {
                self.line = Some(number);
                let done = self.obey(&text);
                match done {
                    Ok(Course::Done) => self.line_done(),
                    Ok(Course::Asked) => self.say_if_offline()?,
                    Err(error) if error.exit() == Exit::Done => return Err(error),
                    Err(error) => self.failed(error)?,
                }
            }
        }
        Ok(())
    }

    /// What was asked for waits for the broker; a person should know.
    fn say_if_offline(&mut self) -> Result<(), CliError> {
        match self.online {
            Online::Not { .. } if self.leaving == Leaving::No => {
                self.screen.remark("not connected: it waits until the broker is back")
            }
            _ => Ok(()),
        }
    }

    fn failed(&mut self, error: CliError) -> Result<(), CliError> {
        let text = match self.line {
            Some(number) if !self.interactive => format!("line {number}: {error}"),
            _ => printable(&error.to_string()),
        };
        self.screen.complain(&text)?;
        self.failure = Some(error);
        self.line_done();
        Ok(())
    }

    /// The prompt may come back. A script goes on when all that its line asked for is answered.
    fn line_done(&mut self) {
        let open = self.asked.values().any(|asked| !matches!(asked, Asked::Words));
        if (self.interactive || !open)
            && let Some(number) = self.line.take()
        {
            self.input.done(number);
        }
    }

    fn set_prompt(&self) {
        let link = &self.link;
        self.input.set_prompt(match (&self.question, &self.online) {
            (Some(Question::Delete(_)), _) => "name> ".to_owned(),
            (Some(_), _) => "[y/N]> ".to_owned(),
            (None, Online::Yes { .. }) => format!("{}@{}> ", link.name, link.address.host),
            (None, Online::Not { .. }) => format!("{} (offline)> ", link.name),
            (None, Online::Over) => "(ended)> ".to_owned(),
        });
    }

    /// Begins to leave; a script's subscriptions first catch up.
    fn leave(&mut self) {
        self.leaving = Leaving::Waiting { since: self.link.now().mono };
        self.say_goodbye();
    }

    /// Asks for the session's end, once there is nothing left to wait for.
    fn say_goodbye(&mut self) {
        let ready = self.interactive || self.behind.is_empty() && self.asked.is_empty();
        if let (Leaving::Waiting { since }, true) = (self.leaving, ready) {
            self.link.core().exit();
            self.leaving = Leaving::SaidGoodbye { since };
        }
    }

    fn deadline(&self) -> Option<Mono> {
        match self.leaving {
            Leaving::Waiting { since } | Leaving::SaidGoodbye { since } => Some(since + self.leave_time()),
            Leaving::No | Leaving::Left => None,
        }
    }

    fn has_left(&self) -> bool {
        let late = self.deadline().is_some_and(|deadline| self.link.now().mono >= deadline);
        late || self.leaving == Leaving::Left
    }

    /// How long leaving may take: a person does not wait for a broker that is not there.
    fn leave_time(&self) -> Duration {
        match (&self.online, self.interactive) {
            (Online::Yes { .. }, true) => Duration::from_secs(3),
            (_, true) => Duration::ZERO,
            (_, false) => Duration::from_secs(60),
        }
    }
}

/// How far we are on our way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    No,
    Waiting { since: Mono },
    SaidGoodbye { since: Mono },
    Left,
}

/// What became of a line.
enum Course {
    Done,
    /// Its answer will come.
    Asked,
}
