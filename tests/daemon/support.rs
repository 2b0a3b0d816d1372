//! A home folder with certificates, and a `sealmqd` that runs on it.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use sealmq::base::Wall;
use sealmq::crypto::cert::crl::Revocation;
use sealmq::crypto::cert::issue::Issuer;
use sealmq::crypto::cert::testing::{Seeded, World, world_at};
use sealmq::crypto::cert::{Role, pem};
use sealmq::crypto::key::PrivateKey;
use tempfile::TempDir;

/// A test that waits longer has failed. Generous, for a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A folder with a CA's certificate, a revocation list, a broker's and a client's identity.
pub struct Home {
    folder: TempDir,
    pub world: World,
}

/// A broker that runs; it is killed if the test ends before it does.
pub struct Daemon {
    child: Child,
    pub addresses: Vec<SocketAddr>,
    pub log: PathBuf,
}

impl Home {
    pub fn new() -> Home {
        Home::valid_from(Wall(now().0 - 3_600_000))
    }

    /// A home whose certificates are valid from this time on.
    pub fn valid_from(start: Wall) -> Home {
        let home = Home { folder: tempfile::tempdir().expect("a scratch folder"), world: world_at(start) };
        for sub in ["keys", "certs"] {
            fs::create_dir(home.path(sub)).expect("a folder is made");
        }
        home.write_certificate("ca", &home.world.ca_cert_der);
        let (key, certificate) = &home.world.broker;
        home.write_key("broker", key);
        home.write_certificate("broker", certificate);
        home.write_certificate("alice", &home.world.client("alice").1);
        home.write_crl(1);
        home
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    pub fn write_key(&self, name: &str, key: &PrivateKey) {
        let path = self.path(&format!("keys/{name}.key"));
        fs::write(&path, key.to_pem().as_bytes()).expect("a key is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("our own file");
    }

    pub fn write_certificate(&self, name: &str, der: &[u8]) {
        let path = self.path(&format!("certs/{name}.crt"));
        fs::write(path, pem::certificate_to_pem(der)).expect("a certificate is written");
    }

    /// A revocation list of this number, in place of the one before. Nobody is revoked.
    pub fn write_crl(&self, number: u64) {
        self.replace_crl(number, &[]);
    }

    /// The same, with one client's certificate on it.
    pub fn write_crl_revoking(&self, number: u64, client: &str) {
        let der = self.world.client(client).1;
        let serial = *self.world.verified(&der, Role::Client).serial();
        self.replace_crl(number, &[Revocation { serial, at: now() }]);
    }

    fn replace_crl(&self, number: u64, revoked: &[Revocation]) {
        let issuer = Issuer::new(&self.world.ca_key, &self.world.ca_cert_der).expect("they belong together");
        let start = self.world.now();
        let end = Wall(start.0 + 30 * 86_400_000);
        let der = issuer.crl(number, revoked, start, end, &mut Seeded::new(number)).expect("a list is made");
        let new = self.path("certs/.new");
        fs::write(&new, pem::crl_to_pem(&der)).expect("a list is written");
        fs::rename(new, self.path("certs/ca.crl")).expect("a list is replaced");
    }

    /// `sealmqd` on this home, with nothing of the surroundings.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealmqd"));
        command.env_remove("SEALMQ_HOME").env_remove("XDG_CONFIG_HOME").env("HOME", self.folder.path());
        command.stdin(Stdio::null()).arg("--home").arg(self.folder.path());
        command
    }

    /// Runs `sealmqd` to its end.
    pub fn output(&self, args: &[&str]) -> Output {
        self.command().args(args).output().expect("sealmqd can be started")
    }

    /// Every file and folder, with its content: to see that nothing was written.
    pub fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path.clone());
                    found.push((path, Vec::new()));
                } else {
                    let bytes = fs::read(&path).expect("a file");
                    found.push((path, bytes));
                }
            }
        }
        found.sort();
        found
    }

    /// A broker on a port that the system chooses, logging to a file.
    pub fn start(&self) -> Daemon {
        self.start_with(&["--listen", "127.0.0.1:0"])
    }

    pub fn start_with(&self, args: &[&str]) -> Daemon {
        let log = self.path("broker.log");
        let mut command = self.command();
        command.arg("--log-file").arg(&log).args(args);
        Daemon::spawn(command, log)
    }
}

impl Daemon {
    /// Starts it, and waits until it says where it listens.
    pub fn spawn(mut command: Command, log: PathBuf) -> Daemon {
        let asked = command.get_args().filter(|arg| *arg == "--listen").count();
        let mut child = command.stdout(Stdio::piped()).spawn().expect("sealmqd can be started");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let mut addresses = Vec::new();
        while addresses.len() < asked {
            let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it listens; {}", read(&log)));
            let address = line.strip_prefix("listening on ").expect("nothing else is printed");
            addresses.push(address.parse().expect("an address with its real port"));
        }
        Daemon { child, addresses, log }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the broker ends", || {
            status = self.child.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("it has ended")
    }

    /// What it has said on standard error, if that is piped: up to its end.
    pub fn stderr(&mut self) -> String {
        let mut said = String::new();
        let mut pipe = self.child.stderr.take().expect("it is piped");
        pipe.read_to_string(&mut said).expect("text");
        said
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    /// Waits until the log has a line with this text, `count` times.
    pub fn expect_log(&self, text: &str, count: usize) {
        eventually(&format!("{count} times {text:?} in the log"), || {
            read(&self.log).matches(text).count() >= count
        });
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).expect("it accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket takes a timeout");
        stream
    }

    /// Whether it answers a newcomer: with a refusal in clear, for bytes that are no hello.
    pub fn answers(&self) -> bool {
        let mut stream = self.connect();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("it takes bytes");
        is_refusal(&read_to_end(&mut stream))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether bytes are one Refusal: length, type 6, payload.
pub fn is_refusal(bytes: &[u8]) -> bool {
    let Some((length, message)) = bytes.split_first_chunk::<4>() else { return false };
    u32::from_be_bytes(*length) as usize == message.len() && message.first() == Some(&6)
}

/// All that comes until the peer closes. A reset counts as a close: what came before it stays.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return all,
            Ok(n) => all.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return all,
            Err(e) => panic!("the broker neither answers nor closes: {e}"),
        }
    }
}

/// Tries until it is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// A file's text; of one that is not there yet, none.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

pub fn now() -> Wall {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    Wall(u64::try_from(since.as_millis()).expect("a year below 500 million"))
}

/// Lines as they come, so that waiting for one can time out.
fn lines_of(stdout: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
