//! Somebody new, who knows nothing of the topics, and reads what there is.

use std::collections::HashMap;
use std::time::Duration;

use sealmq::base::ids::Offset;
use sealmq::base::names::TopicFilter;
use sealmq::client::{Answer, Event};
use sealmq::wire::values::Start;

use super::ledger::Id;
use super::people::{Place, connection, topic_name};

/// A topic as it was read.
#[derive(Default)]
pub struct Found {
    pub messages: Vec<(u64, Id)>,
    pub epoch: u32,
}

/// Reads each topic from an offset on to its end. Anything that does not verify is an error.
pub fn read<'a>(
    place: Place,
    who: &str,
    topics: impl Iterator<Item = (&'a str, u64)>,
) -> Result<Vec<Found>, String> {
    let mut connection = connection(place, who, who);
    let mut numbers = HashMap::new();
    let mut found: Vec<Found> = Vec::new();
    for (name, from) in topics {
        numbers.insert(topic_name(name), found.len());
        found.push(Found::default());
        let filter = TopicFilter::parse(name).expect("a good filter");
        connection.core().subscribe(filter, Start::Offset(Offset(from)));
        connection.core().members(&topic_name(name));
    }
    // For each topic, the end of its past and its members.
    let mut left = 2 * found.len();
    while left > 0 {
        let deadline = connection.now().mono + PATIENCE;
        match connection.wait(Some(deadline)).map_err(|e| e.to_string())? {
            Some(Event::Message(message)) => {
                let id = Id::of(&message.content).ok_or_else(|| format!("nobody made {message:?}"))?;
                let topic = numbers[&message.topic];
                if id.topic != topic {
                    return Err(format!("{id:?} is in {}", message.topic));
                }
                found[topic].messages.push((message.offset.0, id));
            }
            Some(Event::Answer { result: Ok(Answer::Members(members)), .. }) => {
                found[numbers[&members.topic]].epoch = members.epoch.0;
                left -= 1;
            }
            Some(Event::CaughtUp { .. }) => left -= 1,
            Some(event @ (Event::Integrity(_) | Event::Ended { .. } | Event::Disconnected { .. })) => {
                return Err(format!("a new reader was told: {event:?}"));
            }
            Some(Event::Answer { result: Err(failure), .. }) => {
                return Err(format!("a new reader was refused: {failure}"));
            }
            Some(_) => {}
            None => return Err(format!("a new reader still waits for {left} of its topics")),
        }
    }
    Ok(found)
}

const PATIENCE: Duration = Duration::from_secs(60);
