//! Input of Active connections: records opened, commands given to the processor in turn.

use super::Broker;
use super::connection::State;
use super::processor::{Handled, Means};
use crate::base::Now;
use crate::base::ids::ConnId;
use crate::base::limits::{INBOX_FREE_BYTES, TOKEN_BYTES_MAX};
use crate::session::inbox::Progress;
use crate::wire::frame::{BrokerFrame, ClientFrame, scan_bodies};
use crate::wire::values::CloseCode;

/// Commands of all connections in one turn: some 2 ms.
const COMMANDS_PER_TURN: usize = 2048;
/// Commands of one connection before the next one's turn comes.
const COMMANDS_PER_CONNECTION: usize = 128;

/// Why a connection's commands stop for now.
enum Pause {
    /// All that came is done.
    Idle,
    /// It has had its share.
    Share,
    /// Answers or the store's work are to be waited for.
    Stalled,
    /// Its input needs room.
    NoRoom,
    /// The RSA budget is spent.
    Budget,
    /// The session ends.
    Over,
}

impl Broker {
    /// True if commands are left that could be done at once.
    pub(super) fn run_commands(&mut self, now: Now) -> bool {
        let mut quota = COMMANDS_PER_TURN;
        for id in std::mem::take(&mut self.deferred) {
            self.enqueue(id);
        }
        while quota > 0 {
            let Some(id) = self.input.pop_front() else { break };
            let Some(connection) = self.connection_mut(id) else { continue };
            connection.queued = false;
            let was_read = connection.wants_read();
            let mut share = COMMANDS_PER_CONNECTION.min(quota);
            let before = share;
            let pause = self.run_connection(id, &mut share, now);
            if let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) {
                self.spares.take_back(connection);
            }
            quota -= (before - share).max(1).min(quota);
            match pause {
                Pause::Share => self.enqueue(id),
                Pause::Budget => self.deferred.push(id),
                Pause::Stalled => self.stall(id),
                Pause::NoRoom => self.wait_for_room(id),
                Pause::Idle => self.note_partial(id, now),
                Pause::Over => {}
            }
            self.count_input(id);
            self.finish_exit(id, now);
            // What was put off is done: bytes that came meanwhile brought an edge that is gone.
            if !was_read && self.wants_read(id) {
                self.events.push_back(super::BrokerEvent::Readable(id));
            }
        }
        !self.input.is_empty()
    }

    fn run_connection(&mut self, id: ConnId, share: &mut usize, now: Now) -> Pause {
        while *share > 0 {
            if self.processor.step_job(id, now) {
                *share = share.saturating_sub(64);
                continue;
            }
            if !self.processor.wants_commands(id) {
                return Pause::Stalled;
            }
            let is_over = self.shutting_down;
            let Some(connection) = self.connection_mut(id) else { return Pause::Over };
            if is_over || connection.closing.is_some() {
                return Pause::Over;
            }
            let Some(frame) = connection.frames.pop_front() else {
                match self.open_record(id, now) {
                    Some(pause) => return pause,
                    None => continue,
                }
            };
            *share -= 1;
            if let Some(pause) = self.run_command(id, frame, now) {
                return pause;
            }
        }
        Pause::Share
    }

    /// Does one command; `None` to go on with the next.
    fn run_command(&mut self, id: ConnId, frame: ClientFrame, now: Now) -> Option<Pause> {
        let connection = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id)?;
        match frame {
            ClientFrame::Ping { number } => self.processor.answer(id, BrokerFrame::Pong { number }),
            ClientFrame::Pong { .. } => {}
            ClientFrame::Close { code, .. } => {
                log::info!("{id} {}: has closed: {code}", connection.peer_name());
                self.bury(id);
                return Some(Pause::Over);
            }
            command => {
                let mut bodies = std::iter::from_fn(|| connection.bodies.pop_front());
                let mut means =
                    Means { budget: &mut self.budget, entropy: &mut *self.entropy, trust: &self.trust, now };
                match self.processor.command(id, command, &mut bodies, &mut means) {
                    Handled::Done => {}
                    Handled::Deferred(frame) => {
                        connection.frames.push_front(frame);
                        return Some(Pause::Budget);
                    }
                    Handled::Violation(why) => {
                        self.violation(id, why.to_owned(), now);
                        return Some(Pause::Over);
                    }
                }
            }
        }
        None
    }

    /// Opens the next record if it is whole; `None` if its frames are ready.
    fn open_record(&mut self, id: ConnId, now: Now) -> Option<Pause> {
        let room = self.input_room();
        let Some(connection) = self.connections.get_mut(id.slot as usize).filter(|c| c.id == id) else {
            return Some(Pause::Over);
        };
        self.spares.lend_queues(connection);
        let State::Active(live) = &mut connection.state else { return Some(Pause::Over) };
        let opened = match connection.inbox.next_record(&mut live.opener, scan_bodies, room) {
            Ok(Progress::NeedsBytes) => return Some(Pause::Idle),
            Ok(Progress::NeedsRoom(_)) => return Some(Pause::NoRoom),
            Ok(Progress::Record(record)) => {
                connection.partial_since = None;
                connection.bodies.extend(record.bodies);
                ClientFrame::decode_into(record.frames, &mut connection.frames)
                    .map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        match opened {
            Ok(()) => None,
            Err(why) => {
                self.violation(id, why, now);
                Some(Pause::Over)
            }
        }
    }

    /// The peer broke the protocol: the session ends.
    fn violation(&mut self, id: ConnId, why: String, now: Now) {
        if let Some(connection) = self.connection_mut(id) {
            log::debug!("{id} {}: {why}", connection.peer_name());
            connection.frames.clear();
            connection.bodies.clear();
        }
        self.counters.violations += 1;
        self.close(id, CloseCode::ProtocolError, why, now);
    }

    fn stall(&mut self, id: ConnId) {
        if let Some(connection) = self.connection_mut(id) {
            connection.stalled = true;
        }
    }

    fn wait_for_room(&mut self, id: ConnId) {
        if let Some(connection) = self.connection_mut(id) {
            connection.wants_room = true;
            self.roomless.push_back(id);
        }
    }

    /// Lets a connection go on that waited for its answers to be read or for the store.
    pub(super) fn resume(&mut self, id: ConnId) {
        let wants = self.processor.wants_commands(id);
        let Some(connection) = self.connection_mut(id) else { return };
        if connection.stalled && wants {
            connection.stalled = false;
            self.enqueue(id);
            self.events.push_back(super::BrokerEvent::Readable(id));
        }
    }

    /// Half a record has a deadline, and needs room if it is not small.
    fn note_partial(&mut self, id: ConnId, now: Now) {
        let is_short = self.input_room() < TOKEN_BYTES_MAX;
        let Some(connection) = self.connection_mut(id) else { return };
        if is_short && !connection.inbox.is_granted() && connection.held_bytes() >= INBOX_FREE_BYTES {
            self.wait_for_room(id);
            return;
        }
        if !connection.inbox.is_partial() {
            connection.partial_since = None;
        } else if connection.partial_since.is_none() {
            connection.partial_since = Some(now.mono);
            let due = now.mono + crate::base::limits::RECORD_TIME_MAX;
            if connection.deadline.is_none_or(|at| at > due) {
                self.arm(id, now);
            }
        }
    }

    /// Ends a session whose client asked for it, or whose broker ends, once all is answered.
    pub(super) fn finish_exit(&mut self, id: ConnId, now: Now) {
        let Some(seat) = self.processor.seat(id).filter(|seat| seat.is_settled()) else { return };
        match (seat.exit, self.shutting_down) {
            (Some(forget), _) => {
                if forget {
                    self.processor.forget_publishers(id);
                }
                self.close(id, CloseCode::Normal, String::new(), now);
            }
            (None, true) => self.close(id, CloseCode::ShuttingDown, String::new(), now),
            (None, false) => {}
        }
    }
}
