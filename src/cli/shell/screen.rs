//! Where the shell prints: above the prompt of a terminal, or onto plain standard output.

use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use super::input::Printer;
use crate::base::Wall;
use crate::cli::error::CliError;
use crate::cli::format::clock;
use crate::cli::output::{Output, Tint, note, printable_bytes, tint};
use crate::client::Message;

/// The shell's output.
pub enum Screen {
    /// A thread hands lines to the editor, which may take none between two prompts.
    Prompt {
        lines: SyncSender<String>,
        finished: Receiver<()>,
        colours: bool,
    },
    Plain {
        output: Output,
        colours: bool,
    },
}

impl Screen {
    pub fn above_prompt(mut printer: Printer, colours: bool) -> Screen {
        let (lines, queue) = mpsc::sync_channel(QUEUE_LINES_MAX);
        let (finish, finished) = mpsc::channel();
        thread::spawn(move || {
            while let Some(text) = batch(&queue) {
                printer(text);
            }
            let _ = finish.send(());
        });
        Screen::Prompt { lines, finished, colours }
    }

    pub fn plain(colours: bool) -> Screen {
        Screen::Plain { output: Output::new(), colours }
    }

    pub fn colours(&self) -> bool {
        match self {
            Screen::Prompt { colours, .. } | Screen::Plain { colours, .. } => *colours,
        }
    }

    /// Prints a line, or several; what others chose in it is harmless already.
    pub fn say(&mut self, text: &str) -> Result<(), CliError> {
        match self {
            // The thread ends with its terminal; then the input ends as well.
            Screen::Prompt { lines, .. } => {
                let _ = lines.send(format!("{text}\n"));
                Ok(())
            }
            Screen::Plain { output, .. } => output.line(text),
        }
    }

    /// A line about the session, not of it.
    pub fn remark(&mut self, text: &str) -> Result<(), CliError> {
        match self {
            Screen::Prompt { colours, .. } => {
                let text = tint(&format!("-- {text}"), Tint::Dim, *colours);
                self.say(&text)
            }
            Screen::Plain { .. } => {
                note(text);
                Ok(())
            }
        }
    }

    /// Something went wrong.
    pub fn complain(&mut self, text: &str) -> Result<(), CliError> {
        match self {
            Screen::Prompt { colours, .. } => {
                let text = tint(text, Tint::Alarm, *colours);
                self.say(&text)
            }
            Screen::Plain { output, .. } => {
                // What was printed before it is to be seen before it.
                output.flush()?;
                note(text);
                Ok(())
            }
        }
    }

    pub fn flush(&mut self) -> Result<(), CliError> {
        match self {
            Screen::Prompt { .. } => Ok(()),
            Screen::Plain { output, .. } => output.flush(),
        }
    }

    /// Waits until all is printed, unless the terminal takes nothing.
    pub fn close(mut self) -> Result<(), CliError> {
        self.flush()?;
        if let Screen::Prompt { lines, finished, .. } = self {
            drop(lines);
            let _ = finished.recv_timeout(CLOSE_TIME);
        }
        Ok(())
    }
}

/// A message as one line: when, where, who, what.
pub fn message_line(message: &Message, now: Wall, colours: bool) -> String {
    let day = |time| clock("%Y-%m-%d", time);
    let format = if day(message.time) == day(now) { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
    let (shown, rest) = match message.content.len().checked_sub(SHOWN_BYTES_MAX) {
        None | Some(0) => (message.content.as_slice(), String::new()),
        Some(left) => (&message.content[..SHOWN_BYTES_MAX], format!("... and {left} bytes more")),
    };
    // A payload's own lines are set off, so that none can pass for a message.
    let text = printable_bytes(shown);
    let text = text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\n    | ");
    format!(
        "{} {} {} {text}{}",
        tint(&clock(format, message.time), Tint::Dim, colours),
        tint(message.topic.as_str(), Tint::Topic, colours),
        tint(message.sender.as_str(), Tint::Sender, colours),
        tint(&rest, Tint::Dim, colours && !rest.is_empty()),
    )
}

/// All lines that wait, up to a screenful or so: each print draws the prompt anew.
fn batch(queue: &Receiver<String>) -> Option<String> {
    let mut text = queue.recv().ok()?;
    while text.len() < BATCH_BYTES {
        match queue.try_recv() {
            Ok(line) => text += &line,
            Err(_) => break,
        }
    }
    Some(text)
}

/// Lines that wait for the terminal; above, the shell waits, and the broker with it.
const QUEUE_LINES_MAX: usize = 256;
const BATCH_BYTES: usize = 16 * 1024;
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Of one message; `sub` prints it whole.
const SHOWN_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::{Counter, Epoch, Fingerprint, Offset};
    use crate::base::names::{Name, TopicName};

    fn message(content: &[u8], time: Wall) -> Message {
        Message {
            topic: TopicName::parse("home/kitchen").expect("a good name"),
            content: content.to_vec(),
            offset: Offset(2),
            time,
            sender: Name::parse("alice").expect("a good name"),
            fingerprint: Fingerprint([0; 32]),
            epoch: Epoch(0),
            counter: Counter(0),
        }
    }

    #[test]
    fn a_message_is_a_line_with_its_time() {
        let noon = Wall::from_secs(1_795_435_200);
        let line = message_line(&message(b"21.5\n", noon), noon, false);
        assert!(line.ends_with(" home/kitchen alice 21.5"), "{line}");
        assert_eq!(line.split(' ').next().map(str::len), Some(8), "{line}");
        let old = message_line(&message(b"21.5", noon), Wall::from_secs(1_800_000_000), false);
        assert!(old.starts_with("2026-11-2"), "{old}");
    }

    #[test]
    fn no_payload_passes_for_a_message_or_drives_the_terminal() {
        let noon = Wall::from_secs(1_795_435_200);
        let line = message_line(&message(b"x\n12:00:00 home/door bob open\x1b[A", noon), noon, false);
        assert_eq!(line.lines().nth(1), Some("    | 12:00:00 home/door bob open\\u{1b}[A"));
        let long = message_line(&message(&[b'x'; 5000], noon), noon, false);
        assert!(long.ends_with("... and 904 bytes more") && long.len() < 4200, "{}", long.len());
    }
}
