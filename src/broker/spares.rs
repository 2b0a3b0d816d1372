//! Buffers that are lent to connections with input and taken back when it is done, so that an idle one
//! holds none and a busy one allocates none.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::Connection;
use crate::base::limits::TOKEN_BYTES_MAX;
use crate::wire::frame::ClientFrame;

#[derive(Default)]
pub struct Spares {
    buffers: Vec<Vec<u8>>,
    frames: Vec<VecDeque<ClientFrame>>,
    bodies: Vec<VecDeque<Arc<[u8]>>>,
}

/// Of each kind; connections that have input at the same time beyond these allocate.
const KEPT_MAX: usize = 4;
/// A read's worth, and what was there before.
const BUFFER_BYTES_MAX: usize = 3 * TOKEN_BYTES_MAX;
/// Frames and bodies of a full token.
const QUEUE_LEN_MAX: usize = 2048;

impl Spares {
    /// For bytes that are about to come.
    pub fn lend_buffer(&mut self, connection: &mut Connection) {
        // Handshakes are small, and wait for long.
        if connection.is_active()
            && connection.inbox.wants_buffer()
            && let Some(buffer) = self.buffers.pop()
        {
            connection.inbox.lend(buffer);
        }
    }

    /// For a record that is about to be opened.
    pub fn lend_queues(&mut self, connection: &mut Connection) {
        lend(&mut connection.frames, &mut self.frames);
        lend(&mut connection.bodies, &mut self.bodies);
    }

    /// What the connection has done with.
    pub fn take_back(&mut self, connection: &mut Connection) {
        take_back(&mut connection.frames, &mut self.frames);
        take_back(&mut connection.bodies, &mut self.bodies);
        if let Some(buffer) = connection.inbox.give_back()
            && self.buffers.len() < KEPT_MAX
            && buffer.capacity() <= BUFFER_BYTES_MAX
        {
            self.buffers.push(buffer);
        }
    }
}

fn lend<T>(queue: &mut VecDeque<T>, spares: &mut Vec<VecDeque<T>>) {
    if queue.capacity() == 0
        && let Some(spare) = spares.pop()
    {
        *queue = spare;
    }
}

fn take_back<T>(queue: &mut VecDeque<T>, spares: &mut Vec<VecDeque<T>>) {
    if queue.is_empty() && queue.capacity() > 0 {
        let spare = std::mem::take(queue);
        if spares.len() < KEPT_MAX && spare.capacity() <= QUEUE_LEN_MAX {
            spares.push(spare);
        }
    }
}
