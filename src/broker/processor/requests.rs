//! Requests to join topics, kept until somebody answers them. Knows neither members nor sessions: who
//! may ask and who may look is decided by its callers.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use crate::base::Wall;
use crate::base::ids::Fingerprint;
use crate::base::limits::{REQUEST_LIFETIME, REQUESTS_MAX, REQUESTS_PER_CLIENT_MAX, REQUESTS_PER_TOPIC_MAX};
use crate::base::names::TopicName;

/// All requests, by topic and client, and in the order in which they came.
#[derive(Default)]
pub struct Requests {
    topics: BTreeMap<TopicName, BTreeMap<Fingerprint, Asked>>,
    /// How many each client has made; who has none is not in it.
    by_client: HashMap<Fingerprint, usize>,
    order: BTreeMap<RequestNumber, (TopicName, Fingerprint)>,
    next: RequestNumber,
}

/// A request's place in the order in which requests came, from 0; none is used twice.
pub type RequestNumber = u64;

/// What one client asks of one topic.
pub struct Asked {
    pub number: RequestNumber,
    /// When it came.
    pub time: Wall,
    /// As the client signed it.
    pub ask: Box<[u8]>,
}

/// There is no room for another request: the limit that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom(pub usize);

impl Requests {
    /// Whether [`Requests::keep`] would take this request.
    pub fn room(&self, topic: &TopicName, client: &Fingerprint) -> Result<(), NoRoom> {
        if self.asked(topic, client).is_some() {
            return Ok(());
        }
        let of_client = self.by_client.get(client).copied().unwrap_or(0);
        let counts = [
            (self.count(topic), REQUESTS_PER_TOPIC_MAX),
            (of_client, REQUESTS_PER_CLIENT_MAX),
            (self.len(), REQUESTS_MAX),
        ];
        match counts.into_iter().find(|(count, max)| count >= max) {
            Some((_, max)) => Err(NoRoom(max)),
            None => Ok(()),
        }
    }

    /// Keeps a request, in place of what the client asked of the topic before.
    pub fn keep(
        &mut self,
        topic: &TopicName,
        client: Fingerprint,
        ask: Vec<u8>,
        now: Wall,
    ) -> Result<(), NoRoom> {
        self.room(topic, &client)?;
        self.remove(topic, &client);
        let number = self.next;
        self.next += 1;
        let asked = Asked { number, time: now, ask: ask.into_boxed_slice() };
        self.topics.entry(topic.clone()).or_default().insert(client, asked);
        *self.by_client.entry(client).or_default() += 1;
        self.order.insert(number, (topic.clone(), client));
        Ok(())
    }

    /// Forgets one request; false if it is not there.
    pub fn remove(&mut self, topic: &TopicName, client: &Fingerprint) -> bool {
        let Some(of_topic) = self.topics.get_mut(topic) else { return false };
        let Some(asked) = of_topic.remove(client) else { return false };
        if of_topic.is_empty() {
            self.topics.remove(topic);
        }
        self.order.remove(&asked.number);
        if let Some(count) = self.by_client.get_mut(client) {
            *count -= 1;
            if *count == 0 {
                self.by_client.remove(client);
            }
        }
        true
    }

    /// Forgets all that is asked of a topic; by whom.
    pub fn remove_topic(&mut self, topic: &TopicName) -> Vec<Fingerprint> {
        let clients: Vec<Fingerprint> =
            self.topics.get(topic).map_or(Vec::new(), |asked| asked.keys().copied().collect());
        for client in &clients {
            self.remove(topic, client);
        }
        clients
    }

    /// Forgets the oldest request if nobody has answered it in time.
    pub fn expire(&mut self, now: Wall) -> Option<(TopicName, Fingerprint)> {
        if self.next_expiry()? > now {
            return None;
        }
        let (_, (topic, client)) = self.order.pop_first()?;
        self.remove(&topic, &client);
        Some((topic, client))
    }

    /// When the oldest request goes.
    pub fn next_expiry(&self) -> Option<Wall> {
        let (topic, client) = self.order.first_key_value()?.1;
        self.asked(topic, client).map(|asked| asked.time + REQUEST_LIFETIME)
    }

    pub fn asked(&self, topic: &TopicName, client: &Fingerprint) -> Option<&Asked> {
        self.topics.get(topic)?.get(client)
    }

    /// How many ask to join a topic.
    pub fn count(&self, topic: &TopicName) -> usize {
        self.topics.get(topic).map_or(0, BTreeMap::len)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The first topic by name from `from` on, or behind it, of which something is asked.
    pub fn topic_from(&self, from: Bound<&str>) -> Option<&TopicName> {
        self.topics.range::<str, _>((from, Bound::Unbounded)).next().map(|(topic, _)| topic)
    }

    /// What is asked of a topic by the clients above `after`, in fingerprint order.
    pub fn of_topic<'a>(
        &'a self,
        topic: &TopicName,
        after: Fingerprint,
    ) -> impl Iterator<Item = (&'a Fingerprint, &'a Asked)> + use<'a> {
        let range = (Bound::Excluded(after), Bound::Unbounded);
        self.topics.get(topic).into_iter().flat_map(move |asked| asked.range(range))
    }

    /// The number that the next request gets.
    pub fn next_number(&self) -> RequestNumber {
        self.next
    }

    /// The first request with this number or a higher one.
    pub fn next_from(&self, from: RequestNumber) -> Option<(RequestNumber, &TopicName, Fingerprint)> {
        let (number, (topic, client)) = self.order.range(from..).next()?;
        Some((*number, topic, *client))
    }

    /// # Panics
    /// If the tables disagree.
    pub fn check_invariants(&self) {
        let listed: usize = self.topics.values().map(BTreeMap::len).sum();
        assert_eq!(listed, self.order.len(), "each request has its place in the order");
        assert_eq!(listed, self.by_client.values().sum::<usize>(), "each request counts for its client");
        assert!(listed <= REQUESTS_MAX);
        assert!(self.topics.values().all(|asked| (1..=REQUESTS_PER_TOPIC_MAX).contains(&asked.len())));
        assert!(self.by_client.values().all(|count| (1..=REQUESTS_PER_CLIENT_MAX).contains(count)));
        for (number, (topic, client)) in &self.order {
            assert_eq!(self.asked(topic, client).map(|asked| asked.number), Some(*number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(n: usize) -> TopicName {
        TopicName::parse(&format!("t/{n:05}")).expect("a good name")
    }

    fn client(n: usize) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(n as u64 + 1).to_be_bytes());
        Fingerprint(bytes)
    }

    #[test]
    fn each_limit_is_said_and_what_is_asked_again_fits() {
        let mut requests = Requests::default();
        for n in 0..REQUESTS_PER_TOPIC_MAX {
            requests.keep(&topic(0), client(n), vec![1], Wall(1)).expect("there is room");
        }
        let full = requests.keep(&topic(0), client(9999), vec![1], Wall(1));
        assert_eq!(full, Err(NoRoom(REQUESTS_PER_TOPIC_MAX)));
        requests.keep(&topic(0), client(3), vec![2], Wall(2)).expect("it replaces what was asked before");
        for n in 1..REQUESTS_PER_CLIENT_MAX {
            requests.keep(&topic(n), client(0), vec![1], Wall(2)).expect("there is room");
        }
        let full = requests.keep(&topic(REQUESTS_PER_CLIENT_MAX), client(0), vec![1], Wall(2));
        assert_eq!(full, Err(NoRoom(REQUESTS_PER_CLIENT_MAX)));
        for n in requests.len()..REQUESTS_MAX {
            requests.keep(&topic(10_000 + n / 200), client(10_000 + n), vec![1], Wall(3)).expect("room");
        }
        assert_eq!(requests.keep(&topic(1), client(500), vec![1], Wall(3)), Err(NoRoom(REQUESTS_MAX)));
        requests.check_invariants();
        requests.remove_topic(&topic(0));
        assert_eq!((requests.count(&topic(0)), requests.len()), (0, REQUESTS_MAX - REQUESTS_PER_TOPIC_MAX));
        requests.check_invariants();
    }

    #[test]
    fn they_go_after_thirty_days_the_oldest_first() {
        let mut requests = Requests::default();
        for n in 0..5 {
            requests.keep(&topic(n), client(n), vec![1], Wall(n as u64 * 1000)).expect("there is room");
        }
        requests.keep(&topic(0), client(0), vec![2], Wall(9000)).expect("asked again");
        let last = Wall(2000) + REQUEST_LIFETIME;
        assert_eq!(requests.expire(last), Some((topic(1), client(1))));
        assert_eq!(requests.expire(last), Some((topic(2), client(2))));
        assert_eq!(requests.expire(last), None, "the others are younger");
        assert_eq!(requests.len(), 3);
        assert_eq!(requests.next_expiry(), Some(Wall(3000) + REQUEST_LIFETIME));
        assert!(requests.asked(&topic(0), &client(0)).is_some(), "what was asked again is as new");
        requests.check_invariants();
    }

    #[test]
    fn they_are_found_by_name_client_and_order() {
        let mut requests = Requests::default();
        for (t, c) in [(1, 2), (0, 1), (1, 0), (2, 7)] {
            requests.keep(&topic(t), client(c), vec![1], Wall(1)).expect("there is room");
        }
        assert_eq!(requests.topic_from(Bound::Included("")), Some(&topic(0)));
        assert_eq!(requests.topic_from(Bound::Excluded(topic(0).as_str())), Some(&topic(1)));
        let all: Vec<_> = requests.of_topic(&topic(1), Fingerprint([0; 32])).map(|(c, _)| *c).collect();
        assert_eq!(all, [client(0), client(2)]);
        assert_eq!(requests.of_topic(&topic(1), client(0)).count(), 1);
        assert_eq!(requests.next_from(2), Some((2, &topic(1), client(0))));
        assert_eq!(requests.next_from(requests.next_number()), None);
    }
}
