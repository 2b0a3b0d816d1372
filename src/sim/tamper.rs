//! Faults put in on purpose, to see that the model catches them.

use super::cast::Cast;
use super::dice::Dice;
use crate::base::Wall;
use crate::base::ids::Offset;
use crate::client::{Answer, Event, Integrity, IntegrityFault, Message};

/// What a core or a network would do that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A message is not shown.
    LoseMessage,
    /// A message is shown twice.
    RepeatMessage,
    /// Two messages are shown in the wrong order.
    SwapMessages,
    /// A message is shown with another content.
    ChangeContent,
    /// A message is shown as another's.
    ChangeSender,
    /// A message is shown at another offset.
    ShiftMessage,
    /// A publish is answered with another offset.
    WrongOffset,
    /// A request is never answered.
    LoseAnswer,
    /// A request is answered twice.
    RepeatAnswer,
    /// A gap is not told.
    HideGap,
    /// A gap is told where nothing is gone.
    InventGap,
    /// A subscription begins elsewhere than it says.
    ShiftStart,
    /// A subscription's past never ends.
    LoseCaughtUp,
    /// A message is shown to one who has no key for it.
    ShowKeyless,
    /// A message is withheld as one of an epoch that was before.
    WithholdAsKeyless,
    /// An honest message is called a forgery.
    Accuse,
    /// A message is said to have come before.
    CallRepeated,
    /// A change of membership is never answered.
    LoseAmendment,
    /// A change of membership is said to have done what it did not.
    InventAmendment,
    /// A member is left out where members are told.
    HideMember,
    /// The model is told that who was a member once may read for ever.
    TrustLeavers,
    /// The network drops bytes, and goes on.
    LoseBytes,
    /// The network changes a bit.
    FlipBit,
    /// The network delivers bytes twice.
    RepeatBytes,
    /// The store says that it has what a crash may take away.
    AnswerEarly,
    /// The broker answers and delivers what is not on the disk yet.
    DeliverEarly,
    /// A start finds one membership record fewer.
    ForgetRecord,
    /// A start gives the last offset of a log to another message.
    RepeatOffset,
    /// A start finds a publisher one message back.
    LoseCounter,
}

/// Puts a fault in, a few times in a run.
pub struct Tamper {
    pub fault: Option<Fault>,
    dice: Dice,
    held: Option<Event>,
}

impl Fault {
    pub const ALL: [Fault; 29] = [
        Fault::LoseMessage,
        Fault::RepeatMessage,
        Fault::SwapMessages,
        Fault::ChangeContent,
        Fault::ChangeSender,
        Fault::ShiftMessage,
        Fault::WrongOffset,
        Fault::LoseAnswer,
        Fault::RepeatAnswer,
        Fault::HideGap,
        Fault::InventGap,
        Fault::ShiftStart,
        Fault::LoseCaughtUp,
        Fault::ShowKeyless,
        Fault::WithholdAsKeyless,
        Fault::Accuse,
        Fault::CallRepeated,
        Fault::LoseAmendment,
        Fault::InventAmendment,
        Fault::HideMember,
        Fault::TrustLeavers,
        Fault::LoseBytes,
        Fault::FlipBit,
        Fault::RepeatBytes,
        Fault::AnswerEarly,
        Fault::DeliverEarly,
        Fault::ForgetRecord,
        Fault::RepeatOffset,
        Fault::LoseCounter,
    ];
}

impl Fault {
    /// How often it is put in where it can be: what is seldom told is twisted each time.
    fn percent(self) -> u64 {
        let is_seldom = matches!(
            self,
            Fault::HideGap
                | Fault::ShowKeyless
                | Fault::LoseAmendment
                | Fault::InventAmendment
                | Fault::HideMember
        );
        if is_seldom { 100 } else { 20 }
    }
}

impl Tamper {
    pub fn nothing() -> Tamper {
        Tamper { fault: None, dice: Dice::new(0, 0), held: None }
    }

    pub fn with(fault: Fault, seed: u64) -> Tamper {
        Tamper { fault: Some(fault), dice: Dice::new(seed, 99), held: None }
    }

    /// What a caller is told instead of the event.
    pub fn twist(&mut self, event: Event) -> Vec<Event> {
        let Some(fault) = self.fault else { return vec![event] };
        if let Some(held) = self.held.take() {
            return vec![event, held];
        }
        if !self.dice.percent(fault.percent()) {
            return vec![event];
        }
        match (fault, event) {
            (Fault::LoseMessage, Event::Message(_))
            | (Fault::LoseAnswer, Event::Answer { .. })
            | (Fault::HideGap, Event::Gap { .. })
            | (Fault::LoseCaughtUp, Event::CaughtUp { .. }) => Vec::new(),
            (Fault::SwapMessages, event @ Event::Message(_)) => {
                self.held = Some(event);
                Vec::new()
            }
            (Fault::RepeatMessage, Event::Message(m)) => vec![Event::Message(m.clone()), Event::Message(m)],
            (Fault::ChangeContent, Event::Message(mut m)) => {
                m.content.push(0);
                vec![Event::Message(m)]
            }
            (Fault::ChangeSender, Event::Message(mut m)) => {
                m.fingerprint.0[0] ^= 1;
                vec![Event::Message(m)]
            }
            (Fault::ShiftMessage, Event::Message(mut m)) => {
                m.offset = m.offset.next();
                vec![Event::Message(m)]
            }
            (Fault::WrongOffset, Event::Answer { ticket, result }) => {
                let result = result.map(wrong_offset);
                vec![Event::Answer { ticket, result }]
            }
            (Fault::RepeatAnswer, Event::Answer { ticket, result }) => {
                vec![Event::Answer { ticket, result: result.clone() }, Event::Answer { ticket, result }]
            }
            (Fault::InventGap, Event::Message(m)) => {
                let (topic, from, to) = (m.topic.clone(), m.offset, m.offset.next());
                vec![Event::Gap { topic, from, to }]
            }
            (Fault::ShiftStart, Event::Opened(mut opened)) => {
                opened.start = Offset(opened.start.0.saturating_sub(1));
                vec![Event::Opened(opened)]
            }
            (Fault::ShowKeyless, Event::Integrity(integrity)) => vec![shown(integrity)],
            (Fault::WithholdAsKeyless, Event::Message(m)) => {
                let epoch = m.epoch;
                vec![not_taken(m, IntegrityFault::NoKey { epoch })]
            }
            (Fault::Accuse, Event::Message(m)) => vec![not_taken(m, IntegrityFault::BadSignature)],
            (Fault::CallRepeated, Event::Message(m)) => {
                let counter = m.counter;
                vec![not_taken(m, IntegrityFault::Replayed { counter })]
            }
            (Fault::LoseAmendment, Event::Answer { result: Ok(Answer::Amended(_)), .. }) => Vec::new(),
            (Fault::InventAmendment, Event::Answer { ticket, result: Ok(Answer::Amended(mut amended)) }) => {
                let undone = amended.unchanged.iter().chain(&amended.denied).cloned().collect::<Vec<_>>();
                amended.unchanged.clear();
                amended.denied = undone;
                amended.number += 1;
                vec![Event::Answer { ticket, result: Ok(Answer::Amended(amended)) }]
            }
            (Fault::HideMember, Event::Answer { ticket, result: Ok(Answer::Members(mut members)) }) => {
                members.members.pop();
                vec![Event::Answer { ticket, result: Ok(Answer::Members(members)) }]
            }
            (_, event) => vec![event],
        }
    }

    /// Whether the model is told that leavers read on.
    pub fn believes_leavers(&self) -> bool {
        self.fault == Some(Fault::TrustLeavers)
    }

    /// What becomes of bytes on their way, if anything.
    pub fn damage(&mut self) -> Option<fn(&mut Vec<u8>)> {
        if !self.dice.percent(20) {
            return None;
        }
        match self.fault? {
            Fault::LoseBytes => Some(|bytes| bytes.truncate(bytes.len() / 2)),
            Fault::FlipBit => Some(|bytes| {
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
            }),
            Fault::RepeatBytes => Some(|bytes| bytes.extend_from_within(..)),
            _ => None,
        }
    }
}

/// What could not be opened is shown as if it had been.
fn shown(integrity: Integrity) -> Event {
    match integrity {
        Integrity {
            topic,
            offset: Some(offset),
            sender: Some(sender),
            counter: Some(counter),
            fault: IntegrityFault::NoKey { epoch },
            ..
        } => {
            let fingerprint = Cast::get().fingerprint_of(&sender).expect("a sender of this world");
            let (content, time) = (Vec::new(), Wall(0));
            Event::Message(Message { topic, content, offset, time, sender, fingerprint, epoch, counter })
        }
        other => Event::Integrity(other),
    }
}

fn not_taken(m: Message, fault: IntegrityFault) -> Event {
    let (offset, sender, counter) = (Some(m.offset), Some(m.sender), Some(m.counter));
    Event::Integrity(Integrity { topic: m.topic, offset, sender, counter, fault, stopped: false })
}

fn wrong_offset(answer: Answer) -> Answer {
    match answer {
        Answer::Published { topic, counter, offset: Some(offset) } => {
            Answer::Published { topic, counter, offset: Some(offset.next()) }
        }
        other => other,
    }
}
