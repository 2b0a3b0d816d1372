//! What a failure of the floors below means to a person: exit code and remedy.

use super::error::{CliError, Exit};
use super::payload::PayloadError;
use crate::base::ids::{Fingerprint, Offset};
use crate::base::names::{Name, TopicName};
use crate::client::{Disconnect, Failure, IntegrityFault};
use crate::wire::values::RefuseCode;

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
        with_remedy(CliError::new(exit(failure.exit_code()), failure.to_string()), failure_remedy(&failure))
    }
}

impl From<Disconnect> for CliError {
    fn from(reason: Disconnect) -> CliError {
        with_remedy(CliError::new(exit(reason.exit_code()), reason.to_string()), disconnect_remedy(&reason))
    }
}

fn with_remedy(error: CliError, remedy: Option<String>) -> CliError {
    match remedy {
        Some(remedy) => error.remedy(remedy),
        None => error,
    }
}

/// The code of a failure or disconnect, as the client's room numbers them.
fn exit(code: u8) -> Exit {
    match code {
        0 => Exit::Done,
        2 => Exit::Usage,
        3 => Exit::Unreachable,
        4 => Exit::Refused,
        5 => Exit::Denied,
        6 => Exit::NoKey,
        7 => Exit::Integrity,
        27 => Exit::TimedOut,
        _ => Exit::Other,
    }
}

/// What to do about a failure, where its own sentence does not say so.
fn failure_remedy(failure: &Failure) -> Option<String> {
    let remedy = match failure {
        Failure::Session(reason) => return disconnect_remedy(reason),
        Failure::ConnectionLost => "look whether it was done, then try again".to_owned(),
        Failure::NotMember(topic) => {
            format!("`sealmq sub '{topic}'` asks to join")
        }
        Failure::MayNotCreate(_) => {
            "who may create which names stands in the broker's configuration, under [create]".to_owned()
        }
        Failure::NoKey(_) => "wait until the topic's owner has granted it, then try again".to_owned(),
        Failure::Integrity(topic, fault) => fault_remedy(topic, fault).unwrap_or_else(|| {
            format!("do not go on with {topic} before you know why; ask its owner over another way")
        }),
        Failure::PeerChanged { name, now, .. } => peer_remedy(name, now),
        Failure::Waiting { .. } => {
            "it goes on once you are let in; `sealmq sub --wait` stays until then".to_owned()
        }
        Failure::Denied { .. } | Failure::Closed { .. } => {
            "its owner can let you in by hand: `sealmq grant`, over there".to_owned()
        }
        Failure::NotAllowed { topic, .. } => {
            format!("`sealmq members '{topic}'` says who is owner and admin")
        }
        Failure::TwoKeys { .. } => "`sealmq ca revoke` does that, on the CA's host".to_owned(),
        Failure::UnknownClients(_) => "`sealmq ping --as NAME` connects once".to_owned(),
        Failure::TooLarge { .. } => "publish it in parts".to_owned(),
        Failure::Refused { code: RefuseCode::StorageFull, .. } => {
            "what the broker may store is used up: let topics of yours keep less (`sealmq topics -v`, \
             `sealmq retention`), delete one (`sealmq delete`), or ask whoever runs the broker for more room; what \
             is there can still be read"
                .to_owned()
        }
        Failure::Refused { code: RefuseCode::NotDurable, .. } => {
            "--durability memory makes it all the same: its messages are lost when the broker is restarted".to_owned()
        }
        Failure::Refused { code: RefuseCode::Damaged, .. } => {
            "whoever runs the broker can save what is good: `sealmqd salvage OLD NEW`".to_owned()
        }
        Failure::CountersLost(_) => "publish again; what was sent before may be there already".to_owned(),
        _ => return None,
    };
    Some(remedy)
}

/// What to do about a message that the broker cannot read from its disk any more.
pub fn damaged(topic: &TopicName, at: Offset) -> String {
    format!(
        "what stands at offset {at} cannot be read any more; whoever runs the broker can save the rest of its data: \
         `sealmqd salvage OLD NEW`\nthis reads on behind it: `sealmq sub '{topic}' --from offset={}`; a name of \
         --resume goes on there after `sealmq resume NAME --move '{topic}={}'`",
        at.next(),
        at.next()
    )
}

/// What to do about something that was not believed, if there is more to it than caution.
pub fn fault_remedy(topic: &TopicName, fault: &IntegrityFault) -> Option<String> {
    let remedy = match fault {
        IntegrityFault::PeerChanged { name, now, .. } => peer_remedy(name, now),
        IntegrityFault::OwnerChanged { pinned_name, now_name, .. } => format!(
            "ask {pinned_name} and {now_name} over another way; if this really is the topic that you want, \
             `sealmq trust forget {topic}` drops what is known of the old one"
        ),
        IntegrityFault::NotOwnedBy { expected, .. } => {
            format!("ask {expected} for the topic's name; --owner says whose it has to be")
        }
        IntegrityFault::OlderChain { .. }
        | IntegrityFault::OtherHistory
        | IntegrityFault::OtherLog
        | IntegrityFault::OtherTopic { .. } => {
            format!(
                "was the broker's disk set back to an older state? whoever runs it knows; if that explains it, \
             `sealmq trust forget {topic}` begins anew"
            )
        }
        IntegrityFault::RevokedSigner { name } => format!(
            "an owner or admin other than {name} mends that with `sealmq rotate {topic}`, or by removing {name}"
        ),
        _ => return None,
    };
    Some(remedy)
}

fn peer_remedy(name: &Name, now: &Fingerprint) -> String {
    format!(
        "ask {name} over another way, where `sealmq fingerprint` shows it; `sealmq trust show {name}` says \
         since when the old one is pinned; if {name} really has a new key:\n\
         sealmq trust replace {name} --fingerprint {now}"
    )
}

fn disconnect_remedy(reason: &Disconnect) -> Option<String> {
    let remedy = match reason {
        Disconnect::Unreachable(_) => "--wait-for-broker SECONDS keeps trying",
        Disconnect::WrongHost { .. } => "or dial it by a name that its certificate has: -h HOST",
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
