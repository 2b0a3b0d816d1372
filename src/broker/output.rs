//! Output, pulled: a record is made only when its connection's socket can take it.

use super::Broker;
use super::connection::State;
use super::processor::Outgoing;
use crate::base::Now;
use crate::base::entropy::random_array;
use crate::base::ids::ConnId;
use crate::base::transmit::Transmit;
use crate::wire::frame::BrokerFrame;

impl Broker {
    /// Appends what is owed to the connection, at most one record, to `out`; false if nothing
    /// is. To be called when `out` is empty and the socket is writable, until it says false.
    pub fn poll_transmit(&mut self, id: ConnId, now: Now, out: &mut Transmit) -> bool {
        let before = out.len();
        let Some(connection) = self.connection_mut(id) else { return false };
        if !connection.greeting.is_empty() {
            out.push(&std::mem::take(&mut connection.greeting));
            if matches!(connection.state, State::Ended) {
                self.bury(id);
            }
        } else if connection.is_active() {
            self.seal_record(id, now, out);
            self.resume(id);
            self.finish_exit(id, now);
        }
        let written = out.len() - before;
        if let Some(connection) = self.connection_mut(id) {
            connection.bytes_out += written as u64;
        }
        written > 0
    }

    fn seal_record(&mut self, id: ConnId, now: Now, out: &mut Transmit) {
        let seal_bodies = self.config.seal_bodies;
        let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) else {
            return;
        };
        let State::Active(live) = &mut connection.state else { return };
        if connection.closing.is_none() && !self.processor.has_output(id) {
            self.processor.woke_for_nothing(id);
            return;
        }
        let buffer = out.open();
        let start = live.sealer.begin(buffer);
        #[cfg(any(test, feature = "testing"))]
        let frames_start = buffer.len();
        let mut outgoing = Outgoing::new(buffer, &mut self.bodies, seal_bodies);
        let closes = connection.closing.take();
        match &closes {
            Some((code, text)) => {
                let sequence = live.sealer.next_sequence();
                outgoing.push(&BrokerFrame::Close { sequence, code: *code, text: text.clone() });
            }
            None => self.processor.fill(id, &mut outgoing),
        }
        if outgoing.is_empty() {
            return;
        }
        #[cfg(any(test, feature = "testing"))]
        if let Some(liar) = &mut self.liar {
            let peer = live.peer.fingerprint();
            super::lies::retell(&mut **liar, &peer, buffer, frames_start, &mut self.bodies);
        }
        live.sealer.finish(buffer, start, now.wall, &random_array(&mut *self.entropy));
        out.commit();
        self.bodies.drain(..).for_each(|body| out.push_shared(body));
        self.counters.records += 1;
        if closes.is_some() {
            connection.state = State::Ended;
            self.processor.leave(id, now);
            self.bury(id);
        }
    }
}
