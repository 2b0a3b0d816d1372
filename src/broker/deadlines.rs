//! What is due for a connection, and what happens when it is: pings, the ends of handshakes,
//! certificates and goodbyes.

use std::time::Duration;

use super::Broker;
use super::connection::{Connection, State};
use crate::base::Now;
use crate::base::ids::ConnId;
use crate::base::limits::{CLOCK_SKEW, RECORD_TIME_MAX};
use crate::wire::frame::BrokerFrame;
use crate::wire::values::CloseCode;

impl Broker {
    /// Sets a connection's place in the timers by what it waits for.
    pub(super) fn arm(&mut self, id: ConnId, now: Now) {
        let keepalive = self.config.keepalive;
        let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) else {
            return;
        };
        // Never in the past: what a timer could not mend is looked at again, but not in the same turn.
        let deadline = Some(connection.next_deadline(keepalive, now).max(now.mono + RETRY_TIMER));
        self.timers.set(id, connection.deadline, deadline);
        connection.deadline = deadline;
    }

    pub(super) fn run_timers(&mut self, now: Now) {
        while let Some(id) = self.timers.pop_due(now.mono) {
            let Some(connection) = self.connection_mut(id) else { continue };
            connection.deadline = None;
            self.deadline_passed(id, now);
            // One that is to go at the end of the turn has no deadline any more: it lies in the
            // past, and would be due again at once.
            let over = |c: &Connection| c.cut_at.is_some_and(|at| at <= now.mono);
            if self
                .connection(id)
                .is_some_and(|c| !over(c) && (!matches!(c.state, State::Ended) || c.cut_at.is_some()))
            {
                self.arm(id, now);
            }
        }
    }

    /// Something was to happen by now; perhaps it has.
    fn deadline_passed(&mut self, id: ConnId, now: Now) {
        let keepalive = self.config.keepalive;
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.next_deadline(keepalive, now) > now.mono {
            return;
        }
        if connection.cut_at.is_some() {
            self.bury(id);
            return;
        }
        if connection.wants_room {
            // It is we who do not listen: neither its silence nor its half record is its fault.
            connection.heard = now.mono;
            connection.partial_since = None;
            if connection.next_deadline(keepalive, now) > now.mono {
                return;
            }
        }
        match &connection.state {
            State::Handshake(_) => self.refuse_timeout(id, now),
            State::Ended => self.bury(id),
            State::Active(live) => {
                let record_late =
                    connection.partial_since.is_some_and(|since| since + RECORD_TIME_MAX <= now.mono);
                if live.peer.not_after() + CLOCK_SKEW <= now.wall {
                    self.close(id, CloseCode::Expired, String::new(), now);
                } else if record_late || connection.pinged.is_some() {
                    log::info!("{id} {}: silent for too long", connection.peer_name());
                    self.close(id, CloseCode::Dead, String::new(), now);
                } else {
                    connection.pinged = Some(now.mono);
                    self.processor.answer(id, BrokerFrame::Ping { number: now.mono.0 });
                }
            }
        }
    }
}

/// When a deadline that has passed is looked at again.
const RETRY_TIMER: Duration = Duration::from_millis(1);
