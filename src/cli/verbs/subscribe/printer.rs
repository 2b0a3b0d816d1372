//! How `sub` prints messages, and events among them.

use crate::cli::args::SubOutput;
use crate::cli::error::CliError;
use crate::cli::format::{Format, Shown};
use crate::cli::output::{Output, printable_bytes};
use crate::client::Message;

/// Prints messages in their format.
pub struct Printer {
    format: Format,
    newline: bool,
    /// What is on a terminal is shown as text.
    escape: bool,
    pub output: Output,
    json: bool,
    line: Vec<u8>,
}

impl Printer {
    pub fn new(args: &SubOutput, output: Output) -> Printer {
        let format = match &args.format {
            _ if args.json => Format::json(),
            Some(format) => format.clone(),
            None => Format::plain(args.verbose),
        };
        // Whoever gives a format may have put escape sequences into it.
        let escape = output.is_terminal && args.format.is_none();
        Printer { format, newline: !args.no_newline, escape, output, json: args.json, line: Vec::new() }
    }

    pub fn print(&mut self, message: &Message) -> Result<(), CliError> {
        self.line.clear();
        self.format.render(&Shown::from(message), &mut self.line);
        if self.escape {
            self.line = printable_bytes(&self.line).into_bytes();
        }
        if self.newline {
            self.line.push(b'\n');
        }
        self.output.write(&self.line)
    }

    /// Whether what happens besides messages is to stand among them, as JSON lines with "event".
    pub fn takes_events(&self) -> bool {
        self.json
    }

    /// Prints one of these.
    pub fn event(&mut self, line: &str) -> Result<(), CliError> {
        self.output.line(line)
    }
}
