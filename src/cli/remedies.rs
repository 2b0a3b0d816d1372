//! What the command line tells a person when something went wrong: the problem, the remedy, the exit code.

use std::fmt;
use std::io;

use super::payload::PayloadError;
use crate::client::{Disconnect, Failure};

/// An error at the top floor. Prints as the problem, and the remedy behind it.
#[derive(Debug)]
pub struct CliError {
    pub exit: Exit,
    pub problem: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// The program's exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Other = 1,
    Usage = 2,
    Unreachable = 3,
    /// A certificate or an authentication was refused, by either side.
    Certificate = 4,
    /// Denied on the topic.
    Denied = 5,
    NoKey = 6,
    /// Forged, replayed, truncated, or another identity than before.
    Integrity = 7,
    /// As `mosquitto_sub -W` has it.
    TimedOut = 27,
}

impl CliError {
    pub fn new(exit: Exit, problem: impl Into<String>) -> CliError {
        CliError { exit, problem: problem.into(), remedy: None }
    }

    pub fn usage(problem: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, problem)
    }

    pub fn other(problem: impl Into<String>) -> CliError {
        CliError::new(Exit::Other, problem)
    }

    /// Adds what to do about it.
    pub fn remedy(mut self, remedy: impl Into<String>) -> CliError {
        self.remedy = Some(remedy.into());
        self
    }

    /// A file or folder that could not be used for `what` ("read", "written", ...).
    pub fn file(path: &std::path::Path, what: &str, source: &io::Error) -> CliError {
        CliError::other(format!("{} cannot be {what}: {source}", path.display()))
    }
}

impl Exit {
    /// The code of a failure or disconnect, as the client's room numbers them.
    pub fn from_code(code: u8) -> Exit {
        match code {
            0 => Exit::Done,
            2 => Exit::Usage,
            3 => Exit::Unreachable,
            4 => Exit::Certificate,
            5 => Exit::Denied,
            6 => Exit::NoKey,
            7 => Exit::Integrity,
            27 => Exit::TimedOut,
            _ => Exit::Other,
        }
    }
}

impl From<PayloadError> for CliError {
    fn from(error: PayloadError) -> CliError {
        let remedy = match &error {
            PayloadError::TooLong { .. } => "publish it in parts",
            PayloadError::File { .. } => "name a file that you can read",
            PayloadError::Stdin(_) => "pipe something into it, or give -m TEXT or -f FILE",
        };
        CliError::other(error.to_string()).remedy(remedy)
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> CliError {
        let remedy = failure_remedy(&failure);
        CliError { exit: Exit::from_code(failure.exit_code()), problem: failure.to_string(), remedy }
    }
}

impl From<Disconnect> for CliError {
    fn from(reason: Disconnect) -> CliError {
        let remedy = disconnect_remedy(&reason);
        CliError { exit: Exit::from_code(reason.exit_code()), problem: reason.to_string(), remedy }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n  {remedy}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CliError {}

/// What to do about a failure, where its own sentence does not say so.
fn failure_remedy(failure: &Failure) -> Option<String> {
    let remedy = match failure {
        Failure::Session(reason) => return disconnect_remedy(reason),
        Failure::ConnectionLost => "look whether it was done, then try again".to_owned(),
        Failure::NotMember(topic) => {
            format!("its owner can be seen with `sealmq topics --all -v '{topic}'`; ask there to be let in")
        }
        Failure::MayNotCreate(_) => {
            "who may create which names stands in the broker's configuration, under create_rules".to_owned()
        }
        Failure::NoKey(_) => "wait until the topic's owner has granted it, then try again".to_owned(),
        Failure::Integrity(topic, _) => {
            format!("do not go on with {topic} before you know why; ask its owner over another way")
        }
        Failure::TwoKeys { .. } => {
            "have the one that is not right revoked: `sealmq ca revoke` on the CA's host".to_owned()
        }
        Failure::UnknownClients(_) => {
            "connect once as that client (`sealmq ping --as NAME`), or put its certificate into the broker's certs/"
                .to_owned()
        }
        Failure::TooLarge { .. } => "publish it in parts".to_owned(),
        _ => return None,
    };
    Some(remedy)
}

fn disconnect_remedy(reason: &Disconnect) -> Option<String> {
    let remedy = match reason {
        Disconnect::Unreachable(_) => {
            "is sealmqd running there? -h HOST -p PORT say where; --wait-for-broker SECONDS keeps trying"
        }
        Disconnect::WrongHost { .. } => {
            "dial it by a name of its certificate, or issue one with `sealmq ca issue --broker NAME --san HOST`"
        }
        Disconnect::BrokerCertificate(_) => {
            "is certs/ca.crt the certificate of the broker's CA? --cafile names another"
        }
        Disconnect::HandshakeTimeout => "is it a sealmqd that listens there? the default port is 7883",
        Disconnect::Refused { .. } => {
            "`sealmq fingerprint` says who you are; `sealmq ca list` on the CA's host says who is in force"
        }
        _ => return None,
    };
    Some(remedy.to_owned())
}
