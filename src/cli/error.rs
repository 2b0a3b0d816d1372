//! What went wrong, for a person: the problem, the remedy, and the exit code.

use std::fmt;
use std::process::ExitCode;

/// The exit codes of both programs; scripts rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    /// Anything that has no code of its own.
    Other = 1,
    /// Wrong arguments, or a wrong configuration.
    Usage = 2,
    /// Nobody answers where the broker should be.
    Unreachable = 3,
    /// A certificate, a key file or a proof was not accepted, on either side.
    Refused = 4,
    /// The topic's rules do not allow it.
    Denied = 5,
    /// The topic's key has not been granted yet.
    NoKey = 6,
    /// Forged, replayed, truncated, or not who it was before.
    Integrity = 7,
    /// As of `timeout` in mosquitto_sub.
    TimedOut = 27,
    /// A disk has failed (EX_IOERR of sysexits): nothing more can be kept.
    Disk = 74,
}

/// A failure as it is shown: problem first, then what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CliError {
    exit: Exit,
    problem: String,
    remedy: Option<String>,
}

impl CliError {
    /// `problem` names the file, name or date that it is about.
    pub fn new(exit: Exit, problem: impl Into<String>) -> CliError {
        CliError { exit, problem: problem.into(), remedy: None }
    }

    /// A failure with no exit code of its own.
    pub fn other(problem: impl Into<String>) -> CliError {
        CliError::new(Exit::Other, problem)
    }

    pub fn usage(problem: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, problem)
    }

    /// Adds what to do about it: a command, where there is one.
    pub fn remedy(mut self, remedy: impl Into<String>) -> CliError {
        self.remedy = Some(remedy.into());
        self
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  {}", remedy.replace('\n', "\n  ")),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}
