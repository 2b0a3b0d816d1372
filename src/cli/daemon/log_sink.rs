//! Where the log goes: a thread of its own writes it, so that a full disk, a slow terminal or
//! a pipe that nobody reads never holds the broker up. What cannot be written is counted, and
//! the count is said as soon as something can be written again.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};
use simplelog::{ConfigBuilder, WriteLogger};

use crate::cli::units;
use crate::net::clock;

/// Lines that wait for the thread, in bytes: a report on ten thousand connections fits.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// At the end, how long the last lines are waited for.
const FINISH_TIME: Duration = Duration::from_secs(1);

/// The way to the log's thread; also the logger's writer, which it hands whole lines.
#[derive(Clone)]
pub struct Sink {
    orders: Sender<Order>,
    line: Vec<u8>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting_bytes: AtomicUsize,
    lost_lines: AtomicU64,
}

enum Order {
    Line(Vec<u8>),
    /// Opens the file anew: somebody has moved the old one away.
    Reopen,
    Finish(SyncSender<()>),
}

/// Standard error or a file, in the log's thread.
struct Target {
    path: Option<PathBuf>,
    file: Option<File>,
    shared: Arc<Shared>,
    /// The error of the last write, if it failed.
    failure: Option<io::Error>,
}

impl Sink {
    /// Makes this process log to `file`, or to standard error, in UTC.
    pub fn install(file: Option<&Path>, level: LevelFilter) -> io::Result<Sink> {
        let sink = Sink::start(file)?;
        let mut config = ConfigBuilder::new();
        // The sink writes the time, to the millisecond; the logger's own has nine digits or none.
        config.set_time_level(LevelFilter::Off).set_target_level(LevelFilter::Off);
        config.set_thread_level(LevelFilter::Off).set_location_level(LevelFilter::Off);
        let inner = WriteLogger::new(level, config.build(), sink.clone());
        log::set_max_level(level);
        log::set_boxed_logger(Box::new(OneLine(inner))).map_err(io::Error::other)?;
        Ok(sink)
    }

    /// Opens the target and starts its thread.
    fn start(file: Option<&Path>) -> io::Result<Sink> {
        let shared = Arc::new(Shared::default());
        let opened = file.map(open).transpose()?;
        let target = Target {
            path: file.map(Path::to_path_buf),
            file: opened,
            shared: Arc::clone(&shared),
            failure: None,
        };
        let (orders, inbox) = channel();
        thread::Builder::new().name("log".to_owned()).spawn(move || target.serve(&inbox))?;
        Ok(Sink { orders, line: Vec::new(), shared })
    }

    /// Opens the log's file anew.
    pub fn reopen(&self) {
        let _ = self.orders.send(Order::Reopen);
    }

    /// Waits, not for long, until all lines are written.
    pub fn finish(&self) {
        let (done, wait) = sync_channel(1);
        if self.orders.send(Order::Finish(done)).is_ok() {
            let _ = wait.recv_timeout(FINISH_TIME);
        }
    }

    fn send(&self, line: Vec<u8>) {
        let size = line.len();
        let waiting = self.shared.waiting_bytes.fetch_add(size, Ordering::Relaxed);
        if waiting + size > WAITING_BYTES_MAX || self.orders.send(Order::Line(line)).is_err() {
            self.shared.waiting_bytes.fetch_sub(size, Ordering::Relaxed);
            self.shared.lost_lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Write for Sink {
    /// Collects pieces behind the time of the first; a line goes out when it is whole.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.line.is_empty() {
            self.line.extend_from_slice(time().as_bytes());
        }
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") {
            let line = std::mem::take(&mut self.line);
            self.send(line);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target {
    fn serve(mut self, inbox: &Receiver<Order>) {
        while let Ok(order) = inbox.recv() {
            match order {
                Order::Line(line) => {
                    self.shared.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                    self.log(&line);
                }
                Order::Reopen => self.reopen(),
                Order::Finish(done) => {
                    self.own_up();
                    let _ = done.send(());
                }
            }
        }
    }

    fn log(&mut self, line: &[u8]) {
        self.own_up();
        match self.write(line) {
            Ok(()) => self.failure = None,
            Err(e) => {
                self.shared.lost_lines.fetch_add(1, Ordering::Relaxed);
                self.fail(e);
            }
        }
    }

    /// Says how many lines were lost, once something can be written.
    fn own_up(&mut self) {
        let lost = self.shared.lost_lines.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return;
        }
        let why = self.failure.as_ref().map_or("too many at once".to_owned(), io::Error::to_string);
        let note = format!("{}[WARN] {lost} lines of the log were lost: {why}\n", time());
        if let Err(e) = self.write(note.as_bytes()) {
            self.shared.lost_lines.fetch_add(lost, Ordering::Relaxed);
            self.fail(e);
        }
    }

    /// Says on standard error that the file cannot be written, once for each episode.
    fn fail(&mut self, error: io::Error) {
        if let (Some(path), None) = (&self.path, &self.failure) {
            let _ = writeln!(io::stderr(), "sealmqd: the log {} cannot be written: {error}", path.display());
        }
        self.failure = Some(error);
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => io::stderr().write_all(bytes),
        }
    }

    /// A file that cannot be opened leaves the old one in use.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => self.file = Some(file),
            Err(e) => self.fail(e),
        }
    }
}

/// The time that a line begins with, in UTC.
fn time() -> String {
    format!("{} ", units::show_time(clock::wall()))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// Keeps a record on one line: what a peer sent must not look like a line of ours.
struct OneLine<L>(Box<L>);

impl<L: Log> Log for OneLine<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.0.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = record.args().to_string();
        if text.contains(char::is_control) {
            let escape =
                |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
            let clean: String = text.chars().map(escape).collect();
            let mut one_line = Record::builder();
            one_line.level(record.level()).target(record.target());
            self.0.log(&one_line.args(format_args!("{clean}")).build());
        } else {
            self.0.log(record);
        }
    }

    fn flush(&self) {
        self.0.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(folder: &Path) -> (Sink, PathBuf) {
        let path = folder.join("log");
        (Sink::start(Some(&path)).expect("a file can be opened"), path)
    }

    #[test]
    fn a_record_stays_on_one_line() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let (sink, path) = sink(folder.path());
        let logger = OneLine(WriteLogger::new(LevelFilter::Info, simplelog::Config::default(), sink.clone()));
        let text = "from a peer: \n00:00:00 [ERROR] not of ours\u{1b}[2J";
        logger.log(&Record::builder().level(log::Level::Info).args(format_args!("{text}")).build());
        logger.log(&Record::builder().level(log::Level::Debug).args(format_args!("not shown")).build());
        sink.finish();
        let written = std::fs::read_to_string(path).expect("a log");
        assert!(written.ends_with("from a peer: \\n00:00:00 [ERROR] not of ours\\u{1b}[2J\n"), "{written:?}");
        assert_eq!(written.lines().count(), 1);
    }

    /// The disk is full for a while: what is lost is counted, and said afterwards.
    #[cfg(target_os = "linux")]
    #[test]
    fn lost_lines_are_owned_up_to() {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = folder.path().join("log");
        let shared = Arc::new(Shared::default());
        let mut target = Target {
            path: Some(path.clone()),
            file: Some(OpenOptions::new().write(true).open("/dev/full").expect("Linux has it")),
            shared: Arc::clone(&shared),
            failure: None,
        };
        target.log(b"one\n");
        target.log(b"two\n");
        assert_eq!(shared.lost_lines.load(Ordering::Relaxed), 2);
        target.reopen();
        target.log(b"three\n");
        let written = std::fs::read_to_string(path).expect("a log");
        let lines: Vec<&str> = written.lines().collect();
        assert_eq!(lines.len(), 2, "{written}");
        assert!(lines[0].contains("2 lines of the log were lost: No space left"), "{written}");
        assert_eq!(lines[1], "three");
        target.log(b"four\n");
        assert_eq!(
            std::fs::read_to_string(target.path.expect("set above")).expect("a log").lines().count(),
            3
        );
    }

    #[test]
    fn lines_beyond_what_may_wait_are_dropped_and_counted() {
        let (orders, inbox) = channel();
        let sink = Sink { orders, line: Vec::new(), shared: Arc::default() };
        for _ in 0..5 {
            sink.send(vec![b'x'; WAITING_BYTES_MAX / 2]);
        }
        assert_eq!(sink.shared.lost_lines.load(Ordering::Relaxed), 3);
        assert_eq!(inbox.try_iter().count(), 2);
    }
}
