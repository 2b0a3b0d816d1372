//! Where the shell's lines come from: a terminal with line editing, or a pipe. A thread of its own waits
//! for them.

use std::io::{self, BufRead};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::Waker;
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor, ExternalPrinter};

use super::complete::{Completing, Vocabulary};
use crate::cli::error::CliError;

/// What the person, or the script, has typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    Line {
        number: u64,
        text: String,
    },
    /// Ctrl-D, or the script's end.
    End,
}

/// The shell's end of the input thread.
pub struct Input {
    typed: Receiver<Typed>,
    done: Sender<u64>,
    prompt: Arc<Mutex<String>>,
}

/// Writes above the prompt.
pub type Printer = Box<dyn FnMut(String) + Send>;

/// The thread's end.
struct Reader {
    typed: Sender<Typed>,
    done: Receiver<u64>,
    waker: Arc<Waker>,
    number: u64,
}

impl Input {
    /// Lines edited on the terminal, with history and completion. The printer is missing where
    /// the terminal cannot do more than print.
    pub fn terminal(
        waker: Arc<Waker>,
        vocabulary: Vocabulary,
        history: &Path,
    ) -> Result<(Input, Option<Printer>), CliError> {
        let failed = |e: ReadlineError| CliError::other(format!("the terminal cannot be used: {e}"));
        let mut editor = Editor::<Completing, FileHistory>::with_config(config()).map_err(failed)?;
        editor.set_helper(Some(Completing(vocabulary)));
        // The first time there is none.
        let _ = editor.load_history(history);
        let printer = editor.create_external_printer().ok().map(|mut printer| {
            // A printer that fails has lost its terminal; the input thread sees that too.
            Box::new(move |text| drop(printer.print(text))) as Printer
        });
        let (input, reader) = Input::pair(waker);
        let (prompt, history) = (input.prompt.clone(), history.to_owned());
        thread::spawn(move || reader.read_terminal(&mut editor, &prompt, &history));
        Ok((input, printer))
    }

    /// Lines of standard input, each after the one before is done.
    pub fn script(waker: Arc<Waker>) -> Input {
        let (input, reader) = Input::pair(waker);
        thread::spawn(move || reader.read_script());
        input
    }

    fn pair(waker: Arc<Waker>) -> (Input, Reader) {
        let (typed_in, typed) = mpsc::channel();
        let (done, done_out) = mpsc::channel();
        let input = Input { typed, done, prompt: Arc::default() };
        (input, Reader { typed: typed_in, done: done_out, waker, number: 0 })
    }

    /// The next line, if there is one.
    pub fn take(&self) -> Option<Typed> {
        match self.typed.try_recv() {
            Ok(typed) => Some(typed),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Typed::End),
        }
    }

    /// Waits for the next line, whatever it is.
    pub fn wait(&self) {
        // The thread is gone when the input has ended: that is as good.
        let _ = self.typed.recv();
    }

    /// The line of this number was seen to: the next may come. Number 0 is for the first prompt.
    pub fn done(&self, number: u64) {
        // The thread is gone when the input has ended.
        let _ = self.done.send(number);
    }

    /// What the next prompt says.
    pub fn set_prompt(&self, text: String) {
        *self.prompt.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }
}

impl Reader {
    fn read_terminal(
        mut self,
        editor: &mut Editor<Completing, FileHistory>,
        prompt: &Mutex<String>,
        history: &Path,
    ) {
        // The first prompt shows whether there is a session, if that is known soon.
        self.await_done(Some(PROMPT_AFTER));
        loop {
            let text = prompt.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match editor.readline(text.as_str()) {
                Ok(line) => {
                    // Line by line, so that nothing is lost however the shell ends.
                    let added = editor.add_history_entry(line.as_str()).unwrap_or(false);
                    if added {
                        let _ = editor.append_history(history);
                    }
                    if !self.hand_over(line) {
                        return;
                    }
                    self.await_done(Some(PROMPT_AFTER));
                }
                Err(ReadlineError::Interrupted) => {}
                Err(_) => return self.end(),
            }
        }
    }

    fn read_script(mut self) {
        for line in io::stdin().lock().split(b'\n') {
            let Ok(line) = line else { return self.end() };
            let line = String::from_utf8_lossy(&line).into_owned();
            if !self.hand_over(line) {
                return;
            }
            self.await_done(None);
        }
        self.end();
    }

    /// Hands a line to the main thread; false: nobody is there any more.
    fn hand_over(&mut self, text: String) -> bool {
        self.number += 1;
        let sent = self.typed.send(Typed::Line { number: self.number, text }).is_ok();
        let _ = self.waker.wake();
        sent
    }

    /// Waits until the line was seen to, on a terminal not for ever: the person may want to go
    /// on, and answers that come later are printed above the prompt.
    fn await_done(&self, at_most: Option<Duration>) {
        let until = at_most.map(|time| Instant::now() + time);
        loop {
            let done = match until {
                None => self.done.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(until) => self.done.recv_timeout(until.saturating_duration_since(Instant::now())),
            };
            match done {
                Ok(number) if number < self.number => {}
                _ => return,
            }
        }
    }

    fn end(self) {
        let _ = self.typed.send(Typed::End);
        let _ = self.waker.wake();
    }
}

fn config() -> Config {
    // What is pasted is obeyed line by line, as if it were typed.
    let config = Config::builder()
        .bracketed_paste(false)
        .history_ignore_space(true)
        .completion_type(rustyline::CompletionType::List);
    let config = config.history_ignore_dups(true).and_then(|c| c.max_history_size(HISTORY_LINES));
    config.expect("both settings are within their bounds").build()
}

const HISTORY_LINES: usize = 1000;
/// After this time the prompt comes back, answered or not.
const PROMPT_AFTER: Duration = Duration::from_secs(1);
