//! Notices that nobody reads a pipe any more, before anything is written to it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

/// Runs `act` on a thread of its own once the reading end of `pipe` is closed. An error where
/// there is nothing to notice: a file, say.
pub fn on_hangup(pipe: impl AsFd, act: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let pipe: OwnedFd = pipe.as_fd().try_clone_to_owned()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut SourceFd(&pipe.as_raw_fd()), Token(0), Interest::WRITABLE)?;
    thread::Builder::new().name("hangup".to_owned()).spawn(move || {
        if wait(&mut poll).is_ok() {
            act();
        }
        drop(pipe);
    })?;
    Ok(())
}

fn wait(poll: &mut Poll) -> io::Result<()> {
    let mut events = Events::with_capacity(1);
    loop {
        match poll.poll(&mut events, None) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        if events.iter().any(|event| event.is_error() || event.is_write_closed()) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_closed_reader_is_noticed_and_an_open_one_is_left_alone() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let (told, hears) = mpsc::channel();
        on_hangup(&writer, move || told.send(()).expect("somebody waits")).expect("a pipe can be watched");
        writer.write_all(b"x").expect("there is room");
        assert!(hears.try_recv().is_err(), "the reader is there");
        drop(reader);
        hears.recv_timeout(Duration::from_secs(10)).expect("noticed");
    }

    #[test]
    fn files_cannot_be_watched() {
        assert!(on_hangup(tempfile::tempfile().expect("a file"), || ()).is_err());
    }
}
