//! A store that tells the model what it keeps: the one place where the truth can be seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use crate::base::ids::Incarnation;
use crate::base::names::TopicName;
use crate::base::{Mono, Now};
use crate::store::{Completion, Entry, Kept, Memory, Op, Outcome, Store, Ticket};

/// What has become true in the store.
pub enum StoreNews {
    Created { log: Incarnation, name: TopicName, entries: Vec<Arc<Entry>> },
    Appended { log: Incarnation, entry: Arc<Entry> },
    Trimmed { log: Incarnation, kept: Kept },
}

/// The memory engine, with somebody who listens.
pub struct Observed {
    engine: Memory,
    news: Sender<StoreNews>,
    /// Which log an operation is about, and the name of one that it creates.
    under_way: HashMap<Ticket, (Incarnation, Option<TopicName>)>,
}

impl Observed {
    pub fn new(engine: Memory, news: Sender<StoreNews>) -> Observed {
        Observed { engine, news, under_way: HashMap::new() }
    }

    fn tell(&mut self, completion: &Completion) {
        let Some((log, name)) = self.under_way.remove(&completion.ticket) else { return };
        let news = match (&completion.result, name) {
            (Ok(Outcome::Created { entries }), Some(name)) => {
                StoreNews::Created { log, name, entries: entries.clone() }
            }
            (Ok(Outcome::Appended { entry }), _) => StoreNews::Appended { log, entry: Arc::clone(entry) },
            (Ok(Outcome::Trimmed { kept, .. }), _) => StoreNews::Trimmed { log, kept: *kept },
            _ => return,
        };
        // Nobody listens any more when a run has failed.
        let _ = self.news.send(news);
    }
}

impl Store for Observed {
    fn submit(&mut self, op: Op) -> Ticket {
        let name = match &op {
            Op::Create { settings, .. } => Some(settings.name.clone()),
            _ => None,
        };
        let log = op.log();
        let ticket = self.engine.submit(op);
        if let Some(log) = log {
            self.under_way.insert(ticket, (log, name));
        }
        ticket
    }

    fn poll(&mut self) -> Option<Completion> {
        let completion = self.engine.poll()?;
        self.tell(&completion);
        Some(completion)
    }

    fn flush(&mut self, now: Now) {
        self.engine.flush(now);
    }

    fn poll_timeout(&self) -> Option<Mono> {
        self.engine.poll_timeout()
    }

    fn wants_io(&self) -> bool {
        self.engine.wants_io()
    }

    fn is_durable(&self) -> bool {
        self.engine.is_durable()
    }

    fn used_bytes(&self) -> u64 {
        self.engine.used_bytes()
    }
}
