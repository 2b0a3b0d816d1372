//! Listening sockets: binding them, and accepting when descriptors are short.
//!
//! The poll is edge triggered: connections that could not be accepted bring no second
//! event. So each listener has its own bit, which only an empty backlog clears.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry};
use socket2::{Domain, Protocol, Socket, Type};

use super::token;
use crate::base::Mono;

/// Connections that wait in the kernel while the broker takes no more.
const BACKLOG: i32 = 1024;
/// How long to wait for descriptors, unless one becomes free before.
const PAUSE: Duration = Duration::from_millis(100);
/// Without an error for so long, the next one is news again.
const EPISODE: Duration = Duration::from_secs(60);

/// The sockets that the broker listens on.
pub struct Listeners {
    all: Vec<Listener>,
    /// Not before this is accepting tried again.
    paused_until: Option<Mono>,
    /// The last error of accepting, while it is still the same episode.
    last_error: Option<Mono>,
}

struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// The backlog may hold connections.
    ready: bool,
}

/// Why there is no socket to listen on.
#[derive(Debug)]
pub enum ListenError {
    /// Not of the form HOST:PORT, or the host is not known.
    Resolve {
        asked: String,
        source: io::Error,
    },
    /// More than [`token::LISTENERS_MAX`] addresses.
    TooMany,
    /// Another program listens there.
    Busy {
        address: SocketAddr,
    },
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
}

impl Listeners {
    /// Listens on every address that the `asked` HOST:PORTs stand for.
    ///
    /// Of a name with several addresses those that this host does not have are left out,
    /// if one is left.
    pub fn bind(asked: &[String]) -> Result<Listeners, ListenError> {
        let mut listeners = Listeners { all: Vec::new(), paused_until: None, last_error: None };
        let mut done: Vec<SocketAddr> = Vec::new();
        for text in asked {
            let addresses = resolve(text)?;
            let mut missing = None;
            let mut found = false;
            for address in addresses {
                if address.port() != 0 && done.contains(&address) {
                    found = true;
                    continue;
                }
                match Listener::bind(address) {
                    Ok(listener) => {
                        found = true;
                        done.push(address);
                        listeners.all.push(listener);
                    }
                    Err(e @ ListenError::Bind { .. }) if e.is_missing_address() => missing = Some(e),
                    Err(e) => return Err(e),
                }
            }
            match missing {
                Some(e) if !found => return Err(e),
                Some(e) => log::warn!("{e}; the other addresses of {text} are served"),
                None => {}
            }
        }
        if listeners.len() > token::LISTENERS_MAX {
            return Err(ListenError::TooMany);
        }
        Ok(listeners)
    }

    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (index, listener) in self.all.iter_mut().enumerate() {
            registry.register(&mut listener.socket, token::listener(index), Interest::READABLE)?;
        }
        Ok(())
    }

    /// The addresses with their real ports.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().map(|l| l.address)
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// An event came for the listener of this index.
    pub(super) fn mark_ready(&mut self, index: usize) {
        if let Some(listener) = self.all.get_mut(index) {
            listener.ready = true;
        }
    }

    /// A descriptor became free: there is no need to wait for the timer.
    pub(super) fn resume(&mut self) {
        self.paused_until = None;
    }

    /// Closes all: who comes from now on is refused by the kernel.
    pub(super) fn close(&mut self) {
        self.all.clear();
        self.paused_until = None;
    }

    /// When accepting is to be tried again.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.paused_until
    }

    /// Whether a backlog may hold connections that could be accepted now.
    pub(super) fn is_ready(&self) -> bool {
        self.paused_until.is_none() && self.all.iter().any(|l| l.ready)
    }

    /// The next connection of any backlog.
    pub(super) fn accept(&mut self, now: Mono) -> Option<(TcpStream, SocketAddr)> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        self.paused_until = None;
        // Starting behind the one served last would be fairer; a backlog is emptied within a few ticks anyway.
        for listener in self.all.iter_mut().filter(|l| l.ready) {
            match listener.socket.accept() {
                Ok(accepted) => return Some(accepted),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => listener.ready = false,
                // The client gave up while it waited: the next one may be there still.
                Err(e) if is_of_the_peer(&e) => {}
                Err(e) => {
                    self.paused_until = Some(now + PAUSE);
                    if self.last_error.is_none_or(|last| now.since(last) > EPISODE) {
                        log::warn!("cannot accept connections on {}: {e}; trying again", listener.address);
                    }
                    self.last_error = Some(now);
                    return None;
                }
            }
        }
        None
    }
}

impl Listener {
    fn bind(address: SocketAddr) -> Result<Listener, ListenError> {
        let bound = bind(address).and_then(|socket| {
            let address = socket.local_addr()?;
            // Ready at once: a client may have come before the socket was registered.
            Ok(Listener { socket: TcpListener::from_std(socket), address, ready: true })
        });
        bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::Busy { address },
            _ => ListenError::Bind { address, source },
        })
    }
}

fn bind(address: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of a broker before this one, in TIME-WAIT, do not keep the port.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // Else [::] would take IPv4 too, and clash with 0.0.0.0 on the same port.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn resolve(asked: &str) -> Result<Vec<SocketAddr>, ListenError> {
    let failed = |source| ListenError::Resolve { asked: asked.to_owned(), source };
    let addresses: Vec<SocketAddr> = asked.to_socket_addrs().map_err(failed)?.collect();
    if addresses.is_empty() {
        return Err(failed(io::Error::from(io::ErrorKind::NotFound)));
    }
    Ok(addresses)
}

fn is_of_the_peer(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(e.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

impl ListenError {
    fn is_missing_address(&self) -> bool {
        // EAFNOSUPPORT, a host without IPv6, has no kind of its own.
        const AF_NOT_SUPPORTED: i32 = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
        match self {
            ListenError::Bind { source, .. } => {
                source.kind() == io::ErrorKind::AddrNotAvailable
                    || source.raw_os_error() == Some(AF_NOT_SUPPORTED)
            }
            _ => false,
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Resolve { asked, source } => {
                write!(f, "cannot listen on {asked}: it is not a HOST:PORT of this host ({source})")
            }
            ListenError::TooMany => {
                write!(f, "cannot listen on more than {} addresses", token::LISTENERS_MAX)
            }
            ListenError::Busy { address } => {
                write!(f, "cannot listen on {address}: another program listens there")
            }
            ListenError::Bind { address, source } => write!(f, "cannot listen on {address}: {source}"),
        }
    }
}

impl std::error::Error for ListenError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(asked: &[&str]) -> Result<Listeners, ListenError> {
        let asked: Vec<String> = asked.iter().map(|text| (*text).to_owned()).collect();
        Listeners::bind(&asked)
    }

    #[test]
    fn both_families_share_a_port() {
        let v6 = bind(&["[::]:0"]).expect("a port of IPv6");
        let port = v6.addresses().next().expect("one listener").port();
        match bind(&[&format!("0.0.0.0:{port}")]) {
            Ok(v4) => assert_eq!(v4.addresses().next().map(|a| a.port()), Some(port)),
            // Of another program that runs here; ours would not be in the way.
            Err(e) => assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), "{e}"),
        }
    }

    #[test]
    fn an_address_asked_for_twice_is_bound_once() {
        let first = bind(&["127.0.0.1:0"]).expect("a port");
        let address = first.addresses().next().expect("one listener").to_string();
        assert!(matches!(bind(&[&address]), Err(ListenError::Busy { .. })), "{address} is taken");
        drop(first);
        assert_eq!(bind(&[&address, &address]).expect("free again").len(), 1);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in ["", "7883", "localhost", "127.0.0.1:x", "127.0.0.1:70000"] {
            assert!(matches!(bind(&[bad]), Err(ListenError::Resolve { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_backlog_is_remembered_until_it_is_empty() {
        let mut listeners = bind(&["127.0.0.1:0"]).expect("a port");
        let address = listeners.addresses().next().expect("one listener");
        let _clients = [(); 2].map(|()| std::net::TcpStream::connect(address).expect("it listens"));
        assert!(listeners.is_ready());
        for _ in 0..2 {
            assert!(listeners.accept(Mono(0)).is_some());
            assert!(listeners.is_ready());
        }
        assert!(listeners.accept(Mono(0)).is_none());
        assert!(!listeners.is_ready());
        listeners.mark_ready(0);
        assert!(listeners.is_ready());
    }
}
