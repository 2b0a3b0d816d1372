//! Events that wait for the caller.

use std::collections::VecDeque;

use super::event::Event;

/// A queue that knows when it holds enough: the broker is then left unread until it has less.
pub struct Events {
    queue: VecDeque<Event>,
    bytes: usize,
    bytes_max: usize,
}

/// What an event takes beside a message's content, roughly.
const EVENT_BYTES: usize = 256;

impl Events {
    pub fn new(bytes_max: usize) -> Events {
        Events { queue: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub fn push(&mut self, event: Event) {
        self.bytes += size(&event);
        self.queue.push_back(event);
    }

    pub fn pop(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        self.bytes -= size(&event);
        Some(event)
    }

    pub fn is_over_limit(&self) -> bool {
        self.bytes > self.bytes_max
    }
}

fn size(event: &Event) -> usize {
    match event {
        Event::Message(message) => EVENT_BYTES + message.content.len(),
        _ => EVENT_BYTES,
    }
}
