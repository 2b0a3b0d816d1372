//! A home folder for a broker and some clients, the broker on it, and ways to run `sealmq`.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use sealmq::base::Wall;
use sealmq::crypto::cert::issue::Issuer;
use sealmq::crypto::cert::testing::{Seeded, World, key, world_at};
use sealmq::crypto::cert::{Role, pem};
use sealmq::crypto::key::PrivateKey;
use tempfile::TempDir;

/// A test that waits longer has failed. Generous, for a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a CA's certificate and the identities of a broker, alice, bob and carol, and
/// the broker that runs on it.
pub struct Town {
    folder: TempDir,
    pub world: World,
    broker: Option<Child>,
    pub port: u16,
}

/// A `sealmq` that runs; it is killed if the test ends before it does.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

/// How a `sealmq` ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Town {
    /// With a broker that has started.
    pub fn new() -> Town {
        let mut town = Town::without_broker();
        town.start_broker();
        town
    }

    pub fn without_broker() -> Town {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
        let an_hour_ago = u64::try_from(since.as_millis()).expect("a year below 500 million") - 3_600_000;
        let town = Town {
            folder: tempfile::tempdir().expect("a scratch folder"),
            world: world_at(Wall(an_hour_ago)),
            broker: None,
            port: 0,
        };
        for sub in ["keys", "certs", "state"] {
            fs::create_dir(town.path(sub)).expect("a folder is made");
        }
        town.write_certificate("ca", &town.world.ca_cert_der);
        town.write_crl();
        town.write_key("broker", &town.world.broker.0);
        town.write_certificate("broker", &town.world.broker.1);
        for name in ["alice", "bob", "carol"] {
            let (key, certificate) = town.world.client(name);
            town.write_key(name, &key);
            town.write_certificate(name, &certificate);
        }
        town
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

    /// What `sealmq ca revoke` does, on the CA's host, for the certificate of a name; and the broker hears of it.
    pub fn revoke(&self, name: &str) {
        let (_, der) = self.world.client(name);
        let certificate = self.world.verified(&der, Role::Client);
        let list = self.world.crl(&[*certificate.serial()], 2);
        fs::write(self.path("certs/ca.crl"), pem::crl_to_pem(&list)).expect("a list is written");
        self.hang_up();
    }

    /// Gives a name another key, with a certificate of the same CA. A broker that runs is not told.
    pub fn reissue(&self, name: &str) {
        let certificate = self.world.issue(name, "other-ca", Role::Client, &[]);
        self.write_key(name, &key("other-ca"));
        self.write_certificate(name, certificate.der());
    }

    /// A revocation list on which nobody is.
    fn write_crl(&self) {
        let issuer = Issuer::new(&self.world.ca_key, &self.world.ca_cert_der).expect("they belong together");
        let start = self.world.now();
        let end = Wall(start.0 + 30 * 86_400_000);
        let der = issuer.crl(1, &[], start, end, &mut Seeded::new(1)).expect("a list is made");
        fs::write(self.path("certs/ca.crl"), pem::crl_to_pem(&der)).expect("a list is written");
    }

    /// Starts the broker: the first time on a port of the system's choice, then on the same.
    pub fn start_broker(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealmqd"));
        command.env_clear().env("HOME", self.path("")).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::null()).arg("--home").arg(self.path(""));
        let config = self.path("sealmqd.toml");
        if config.exists() {
            command.arg("--config").arg(config);
        }
        let mut child =
            command.arg("--listen").arg(format!("127.0.0.1:{}", self.port)).spawn().expect("it starts");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        self.broker = Some(child);
        let line = lines.recv_timeout(PATIENCE).expect("it says where it listens");
        let port = line.rsplit(':').next().and_then(|port| port.parse().ok());
        self.port = port.expect("an address with its port");
    }

    /// Has the broker read its files again.
    pub fn hang_up(&self) {
        signal(self.broker.as_ref().expect("it runs"), Signal::HUP);
    }

    /// Ends the broker at once, without a goodbye.
    pub fn kill_broker(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            broker.kill().expect("it runs");
            broker.wait().expect("it ends");
        }
    }

    /// Starts a broker that knows nothing of what the one before knew.
    pub fn replace_broker(&mut self) {
        self.kill_broker();
        fs::remove_dir_all(self.path("data")).expect("the broker's own folder");
        self.start_broker();
    }

    /// `sealmq` as `who`, with nothing of the surroundings.
    pub fn sealmq(&self, who: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealmq"));
        command.env_clear().env("HOME", self.path("")).env("XDG_STATE_HOME", self.path("state"));
        command.env("SEALMQ_HOME", self.path("")).env("SEALMQ_AS", who).env("TZ", "UTC");
        command.env("SEALMQ_HOST", "127.0.0.1").env("SEALMQ_PORT", self.port.to_string());
        command
    }

    /// Runs a command line, parted at spaces, to its end.
    pub fn run(&self, who: &str, line: &str) -> Ended {
        self.run_with(who, line, b"")
    }

    /// The same, with something on standard input.
    pub fn run_with(&self, who: &str, line: &str, input: &[u8]) -> Ended {
        let mut command = self.sealmq(who);
        command.args(line.split_whitespace());
        run(command, input)
    }

    /// The same, and all has to go well; returns what it printed.
    pub fn good(&self, who: &str, line: &str) -> String {
        let ended = self.run(who, line);
        assert_eq!(ended.code, 0, "{who}: sealmq {line}: {ended:?}");
        ended.out
    }

    /// Starts one that goes on by itself.
    pub fn start(&self, who: &str, line: &str) -> Running {
        let mut command = self.sealmq(who);
        command.args(line.split_whitespace()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let errors = lines_of(child.stderr.take().expect("it is piped"));
        Running { child, lines, errors }
    }

    /// Makes a topic of alice's that bob can read.
    pub fn topic(&self, name: &str) {
        self.good("alice", &format!("create {name} --to bob --trust-new"));
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        self.kill_broker();
    }
}

impl Running {
    /// The next line of its output.
    pub fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            let said: Vec<String> = self.errors.try_iter().collect();
            panic!("it prints another line; it said {said:?}")
        })
    }

    /// Waits until it has said a line with this text on standard error.
    pub fn says(&self, text: &str) -> String {
        let start = Instant::now();
        let mut said = Vec::new();
        while start.elapsed() < PATIENCE {
            match self.errors.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => said.push(line),
                Err(_) => break,
            }
        }
        panic!("it says {text:?}; it said {said:?}")
    }

    pub fn type_in(&mut self, text: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("it is piped");
        stdin.write_all(text).and_then(|()| stdin.flush()).expect("it takes input");
    }

    pub fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits until it has printed a line with this text.
    pub fn prints(&self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Ends it as Ctrl-C does.
    pub fn interrupt(&self) {
        signal(&self.child, Signal::INT);
    }

    /// Ends it at once, whatever it does.
    pub fn kill(&self) {
        signal(&self.child, Signal::KILL);
    }

    /// What else it has printed, once it has ended.
    pub fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    /// Stops reading its output, as `head` does.
    pub fn close_output(&mut self) {
        let (_, nothing) = channel();
        self.lines = nothing;
    }

    pub fn wait(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "it ends; it said {:?}",
                self.errors.try_iter().collect::<Vec<_>>()
            );
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has a number");
    kill_process(pid, signal).expect("it runs");
}

/// Runs a command to its end.
pub fn run(mut command: Command, input: &[u8]) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_vec();
    // It may end before it has read all.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("nothing in it panics");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ended {
        code: output.status.code().expect("it is not killed"),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// A file's text.
pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Lines as they come, so that waiting for one can time out. Reading ends when nobody waits.
fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
