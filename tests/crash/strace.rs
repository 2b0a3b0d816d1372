//! The broker under strace: what it asked of the system, in its order, and faults put into it.
//!
//! An unfinished call and its end are two lines; what lies between them happened meanwhile. A
//! call's thread goes on only after strace has seen its end, so what follows from a call
//! stands behind its end.

use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One system call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    pub args: String,
    /// The lines where it began and ended. One that never ended has an end beyond all lines.
    pub span: Range<usize>,
    /// Nothing if it never ended.
    pub result: Option<i64>,
    /// Made up by strace: it was not carried out.
    pub injected: bool,
}

/// What happened in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The call of this number begins.
    Begins(usize),
    Ends(usize),
    Signal(String),
    Other,
}

#[derive(Default)]
pub struct Trace {
    pub calls: Vec<Call>,
    pub lines: Vec<Line>,
}

/// Whether strace is here and may look at processes that it starts; if not, says so.
pub fn is_there() -> bool {
    let probe = Command::new("strace")
        .args(["-D", "-f", "-o", "/dev/null", "-e", "trace=fsync", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let is_there = probe.is_ok_and(|status| status.success());
    if !is_there {
        println!("skipped: strace is not installed, or may not trace");
    }
    is_there
}

/// The same command under strace, which writes to `trace`. The process that is started is the
/// command's own, as it would be without.
pub fn under(command: &Command, trace: &Path, options: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-D", "-f", "-yy", "-o"]).arg(trace).args(options).arg("--").arg(command.get_program());
    strace.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace
}

impl Trace {
    /// Reads a trace to its end, which comes a little after that of the process.
    pub fn of_ended(path: &Path) -> Trace {
        let began = Instant::now();
        loop {
            let text = String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
            let last = text.lines().next_back().unwrap_or_default();
            let is_over =
                text.ends_with('\n') && (last.contains("+++ exited") || last.contains("+++ killed"));
            if is_over && !has_living(&text) {
                return Trace::parse(&text);
            }
            assert!(began.elapsed() < PATIENCE, "the trace ends: {last}");
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    pub fn parse(text: &str) -> Trace {
        let mut trace = Trace::default();
        // For each thread the call that it is in.
        let mut under_way: Vec<(&str, usize)> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let (thread, rest) = line.split_once(' ').unwrap_or((line, ""));
            let what = trace.line(number, rest.trim_start(), &mut |call| match call {
                Some(call) => {
                    under_way.push((thread, call));
                    None
                }
                None => {
                    let at = under_way.iter().position(|(other, _)| *other == thread)?;
                    Some(under_way.swap_remove(at).1)
                }
            });
            trace.lines.push(what);
        }
        trace
    }

    /// `park` keeps the number of a call that has not ended, or gives it back.
    fn line(
        &mut self,
        number: usize,
        text: &str,
        park: &mut dyn FnMut(Option<usize>) -> Option<usize>,
    ) -> Line {
        if let Some(rest) = text.strip_prefix("--- ") {
            return Line::Signal(rest.split(' ').next().unwrap_or_default().to_owned());
        }
        if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            let Some(call) = park(None) else { return Line::Other };
            let (args, result, injected) = ending(rest);
            let at = &mut self.calls[call];
            at.args.push_str(args);
            (at.span.end, at.result, at.injected) = (number, result, injected);
            return Line::Ends(call);
        }
        let Some((name, rest)) = text.split_once('(') else { return Line::Other };
        if name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            return Line::Other;
        }
        let call = self.calls.len();
        let name = name.to_owned();
        if let Some(args) = rest.strip_suffix(" <unfinished ...>") {
            let (args, span) = (args.to_owned(), number..usize::MAX);
            self.calls.push(Call { name, args, span, result: None, injected: false });
            park(Some(call));
            return Line::Begins(call);
        }
        let (args, result, injected) = ending(rest);
        self.calls.push(Call { name, args: args.to_owned(), span: number..number, result, injected });
        // It begins and ends at once: nothing else happened meanwhile.
        Line::Ends(call)
    }
}

/// Whether a thread has begun and not ended. The process's own end stands last.
fn has_living(text: &str) -> bool {
    text.lines().next().and_then(|line| line.split(' ').next()).is_none_or(|first| {
        !text.lines().rev().take(THREADS_MAX).any(|line| line.starts_with(first) && line.contains("+++ "))
    })
}

/// What stands behind a call's arguments: `) = 0 (INJECTED)`.
fn ending(rest: &str) -> (&str, Option<i64>, bool) {
    let Some((args, result)) = rest.rsplit_once(" = ") else { return (rest, None, false) };
    let args = args.trim_end().strip_suffix(')').unwrap_or(args);
    let number: String = result.chars().take_while(|c| c.is_ascii_digit() || *c == '-').collect();
    (args, number.parse().ok(), result.ends_with("(INJECTED)"))
}

impl Call {
    /// Whether it was carried out and succeeded.
    pub fn is_done(&self) -> bool {
        self.result.is_some_and(|result| result >= 0) && !self.injected
    }

    pub fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fsync" | "fdatasync")
    }

    pub fn is_write(&self) -> bool {
        matches!(self.name.as_str(), "write" | "writev" | "pwrite64" | "pwritev" | "sendto" | "sendmsg")
    }

    pub fn is_read(&self) -> bool {
        matches!(self.name.as_str(), "read" | "readv" | "recvfrom" | "recvmsg")
    }

    /// What its first argument, a descriptor, stands for: a path, or the two ends of a socket.
    pub fn target(&self) -> &str {
        let Some((number, rest)) = self.args.split_once('<') else { return "" };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return "";
        }
        // A socket's ends have an arrow between them.
        let end = rest.find(">,").or_else(|| rest.rfind('>')).unwrap_or(rest.len());
        &rest[..end]
    }

    pub fn is_on_socket(&self) -> bool {
        self.target().starts_with("TCP:[")
    }

    pub fn is_on_wal(&self) -> bool {
        self.target().ends_with("-wal")
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
const THREADS_MAX: usize = 8;

#[test]
fn lines_are_understood() {
    let text = "\
14 pwrite64(7</d/x.db-wal>, \"a) = 7\\0\", 24, 32) = 24
15 fsync(7</d/x.db-wal> <unfinished ...>
14 recvfrom(13<TCP:[127.0.0.1:1->127.0.0.1:2]>, \"x\"..., 65536, 0, NULL, NULL) = 37
15 <... fsync resumed>)                  = 0
14 --- SIGUSR1 {si_signo=SIGUSR1, si_code=SI_USER, si_pid=1, si_uid=0} ---
14 fsync(7</d/x.db-wal>) = -1 EIO (Input/output error) (INJECTED)
14 fsync(7</d/x.db-wal>) = 0 (INJECTED)
15 writev(13<TCP:[127.0.0.1:1->127.0.0.1:2]>, [{iov_base=\"\\0\", iov_len=1}], 1 <unfinished ...>
15 +++ killed by SIGKILL +++
";
    let trace = Trace::parse(text);
    let lines: Vec<Line> = vec![
        Line::Ends(0),
        Line::Begins(1),
        Line::Ends(2),
        Line::Ends(1),
        Line::Signal("SIGUSR1".into()),
        Line::Ends(3),
        Line::Ends(4),
        Line::Begins(5),
        Line::Other,
    ];
    assert_eq!(trace.lines, lines);
    let calls = &trace.calls;
    assert!(calls[0].is_on_wal() && calls[0].is_write() && calls[0].is_done());
    assert!(calls[1].is_sync() && calls[1].is_on_wal() && calls[1].is_done());
    assert_eq!(calls[1].span, 1..3);
    assert!(calls[2].is_read() && calls[2].is_on_socket());
    assert_eq!((calls[2].target(), calls[2].result), ("TCP:[127.0.0.1:1->127.0.0.1:2]", Some(37)));
    assert_eq!((calls[3].result, calls[3].is_done()), (Some(-1), false));
    assert_eq!((calls[4].result, calls[4].is_done()), (Some(0), false), "it was not carried out");
    assert_eq!((calls[5].result, calls[5].is_on_socket()), (None, true));
}
