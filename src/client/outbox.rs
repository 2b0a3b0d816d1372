//! Frames on their way into the session's records, in order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::limits::RECORD_BODIES_BYTES_MAX;
use crate::wire::frame::ClientFrame;

/// Frames that wait for the next record, each with the body that goes beside the token.
#[derive(Default)]
pub struct Outbox {
    queue: VecDeque<Item>,
}

struct Item {
    frame: Vec<u8>,
    body: Option<Arc<[u8]>>,
}

impl Outbox {
    pub fn push(&mut self, frame: &ClientFrame) {
        self.push_with_body(frame, None);
    }

    /// `body` is what the frame names as beside the token.
    pub fn push_with_body(&mut self, frame: &ClientFrame, body: Option<Arc<[u8]>>) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.queue.push_back(Item { frame: bytes, body });
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub fn clear(&mut self) {
        *self = Outbox::default();
    }

    /// Appends the frames that fit into `room` bytes to `out`; returns the bodies that follow.
    pub fn fill(&mut self, out: &mut Vec<u8>, room: usize) -> Vec<Arc<[u8]>> {
        let (full, mut bodies, mut bodies_bytes) = (out.len() + room, Vec::new(), 0);
        while let Some(item) = self.queue.front() {
            let body_bytes = item.body.as_ref().map_or(0, |body| body.len());
            let fits = out.len() + item.frame.len() <= full;
            if !fits || bodies_bytes + body_bytes > RECORD_BODIES_BYTES_MAX {
                break;
            }
            let Some(item) = self.queue.pop_front() else { break };
            bodies_bytes += body_bytes;
            out.extend_from_slice(&item.frame);
            bodies.extend(item.body);
        }
        bodies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::BODY_BYTES_MAX;
    use crate::session::record::FRAMES_BYTES_MAX;

    fn fill(outbox: &mut Outbox) -> (usize, usize) {
        let mut out = Vec::new();
        let bodies = outbox.fill(&mut out, FRAMES_BYTES_MAX);
        (ClientFrame::decode_all(&out).expect("our own frames").len(), bodies.len())
    }

    #[test]
    fn a_record_holds_what_fits_in_order() {
        let mut outbox = Outbox::default();
        let ping = |number| ClientFrame::Ping { number };
        (0..10_000).for_each(|number| outbox.push(&ping(number)));
        let mut seen = Vec::new();
        while !outbox.is_empty() {
            let mut out = Vec::new();
            assert!(outbox.fill(&mut out, FRAMES_BYTES_MAX).is_empty());
            assert!(out.len() <= FRAMES_BYTES_MAX && !out.is_empty());
            seen.extend(ClientFrame::decode_all(&out).expect("our own frames"));
        }
        assert_eq!(seen, (0..10_000).map(ping).collect::<Vec<_>>());
    }

    #[test]
    fn bodies_of_a_record_are_bounded() {
        let mut outbox = Outbox::default();
        let body: Arc<[u8]> = vec![0; BODY_BYTES_MAX - 600].into();
        for number in 0..5 {
            outbox.push_with_body(&ClientFrame::Ping { number }, Some(body.clone()));
        }
        assert_eq!([fill(&mut outbox), fill(&mut outbox), fill(&mut outbox)], [(2, 2), (2, 2), (1, 1)]);
    }

    #[test]
    fn what_does_not_fit_stays() {
        let mut outbox = Outbox::default();
        outbox.push(&ClientFrame::Ping { number: 1 });
        let mut out = vec![9];
        assert!(outbox.fill(&mut out, 5).is_empty());
        assert_eq!(out, [9]);
        assert!(!outbox.is_empty());
    }
}
