//! The brokers that are compared: how each is configured, started and ended.
//!
//! All get the same certificates, a port that the system chooses, and no limit that could lose a message.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::folder::TempFolder;
use crate::pki::Pki;
use crate::process;

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Mosquitto,
    Nats,
    Rumqttd,
    /// sealmqd, topics in memory.
    Sealmq,
    /// sealmqd, topics on disk: answered and delivered once they are there.
    SealmqDisk,
}

/// What a broker is told of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// As it comes; for the peers, see below.
    Usual,
    /// sealmqd as somebody sets it who has thousands of clients and topics, and long histories.
    Wide,
}

/// What [`Room::Wide`] is. Nobody is silent so long that a ping comes between; the tail is short, so that the past
/// of a topic on disk comes from the disk, and what is small enough for RAM does not look like growth.
const WIDE: &str = "\
[limits]
connections = 30_000
topics_per_client = 100_000
keepalive = \"10h\"
storage = \"16 GiB\"
memory_storage = \"4 GiB\"
tail = \"4 MiB\"
";

/// A program that was found, and what can be said of it.
#[derive(Clone, Debug)]
pub struct Program {
    pub kind: Kind,
    pub path: PathBuf,
    pub version: String,
    pub bytes: u64,
    /// What it says to `--help`, to know what it can do.
    help: String,
}

/// A broker at work. Ends when dropped.
pub struct Running {
    child: Child,
    pub port: u16,
    /// Configuration, log and data; goes with the broker.
    folder: TempFolder,
}

/// Slow machines and large keys included.
const START_TIME_MAX: Duration = Duration::from_secs(20);
const END_TIME_MAX: Duration = Duration::from_secs(10);

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Mosquitto, Kind::Nats, Kind::Rumqttd, Kind::Sealmq, Kind::SealmqDisk];

    pub fn title(self) -> &'static str {
        match self {
            Kind::Mosquitto => "mosquitto",
            Kind::Nats => "NATS",
            Kind::Rumqttd => "rumqttd",
            Kind::Sealmq => "sealmq, memory",
            Kind::SealmqDisk => "sealmq, disk",
        }
    }

    pub fn is_peer(self) -> bool {
        !matches!(self, Kind::Sealmq | Kind::SealmqDisk)
    }

    pub fn program(self) -> &'static str {
        match self {
            Kind::Mosquitto => "mosquitto",
            Kind::Nats => "nats-server",
            Kind::Rumqttd => "rumqttd",
            Kind::Sealmq | Kind::SealmqDisk => "sealmqd",
        }
    }
}

impl Program {
    /// The program at `path`, or of its usual name where programs are.
    pub fn find(kind: Kind, path: Option<&Path>) -> Result<Program> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => on_path(kind.program()).with_context(|| format!("there is no {}", kind.program()))?,
        };
        let (version, help) = match kind {
            // It has no flag for it: its help begins with it.
            Kind::Mosquitto => (said_by(&path, "-h")?, String::new()),
            _ => (said_by(&path, "--version")?, said_by(&path, "--help")?),
        };
        let version = version.lines().next().unwrap_or("").trim().to_owned();
        let bytes = fs::metadata(&path).with_context(|| path.display().to_string())?.len();
        let program = Program { kind, path, version, bytes, help };
        ensure!(kind != Kind::SealmqDisk || program.knows("--data"), "this sealmqd keeps no topics on disk");
        Ok(program)
    }

    /// Starts it; it listens when this returns.
    pub fn start(&self, pki: &Pki, room: Room) -> Result<Running> {
        let folder = TempFolder::new()?;
        let port = free_port()?;
        let args = self.configure(pki, folder.path(), port, room)?;
        let log = File::create(folder.path().join("log"))?;
        let child = tied_to_us(&self.path)
            .args(&args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        let mut running = Running { child, port, folder };
        running.await_listening().with_context(|| self.kind.title())?;
        Ok(running)
    }

    fn knows(&self, flag: &str) -> bool {
        self.help.split_whitespace().any(|word| word == flag)
    }

    /// Writes the configuration below `folder`; returns the arguments.
    fn configure(&self, pki: &Pki, folder: &Path, port: u16, room: Room) -> Result<Vec<String>> {
        // rumqttd knows the format by the ending; the others do not care.
        let file = folder.join("config.toml");
        let path = |path: &Path| path.display().to_string();
        let (text, args) = match self.kind {
            Kind::Mosquitto => (mosquitto(pki, port), vec!["-c".into(), path(&file)]),
            Kind::Nats => (nats(pki, port), vec!["-c".into(), path(&file)]),
            Kind::Rumqttd => (rumqttd(pki, port), vec!["-c".into(), path(&file)]),
            Kind::Sealmq | Kind::SealmqDisk => {
                let mut args = ["--log-level", "warn", "--home"].map(String::from).to_vec();
                args.extend([
                    path(&pki.home),
                    "--listen".into(),
                    format!("127.0.0.1:{port}"),
                    "-c".into(),
                    path(&file),
                ]);
                match self.kind {
                    Kind::SealmqDisk => args.extend(["--data".into(), path(&folder.join("data"))]),
                    _ if self.knows("--memory") => args.push("--memory".into()),
                    _ => {}
                }
                let data = path(&folder.join("data"));
                fs::DirBuilder::new().mode(0o700).create(folder.join("data"))?;
                let limits = if room == Room::Wide { WIDE } else { "" };
                (format!("data = {data:?}\n{limits}"), args)
            }
        };
        fs::write(&file, text)?;
        Ok(args)
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid())
    }

    /// The last lines that it said, for when something went wrong.
    pub fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    fn await_listening(&mut self) -> Result<()> {
        let end = Instant::now() + START_TIME_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once, with {status}: {}", self.last_words());
            }
            ensure!(Instant::now() < end, "it does not listen: {}", self.last_words());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Asks it to end; whoever does not is killed.
    fn end(&mut self) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM)?;
        let end = Instant::now() + END_TIME_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= end {
                self.child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.end().is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Persistence and log off, no limit on what waits, small writes at once. Names come from certificates.
fn mosquitto(pki: &Pki, port: u16) -> String {
    let mut text = format!(
        "listener {port} 127.0.0.1\n\
         cafile {}\ncertfile {}\nkeyfile {}\n\
         tls_version tlsv1.3\nrequire_certificate true\nuse_identity_as_username true\n\
         allow_anonymous false\n\
         persistence false\nlog_dest none\nconnection_messages false\n\
         max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\nmax_inflight_bytes 0\n\
         set_tcp_nodelay true\n",
        pki.file("certs/ca.crt"),
        pki.file("certs/broker.crt"),
        pki.file("keys/broker.key"),
    );
    if nix::unistd::geteuid().is_root() {
        // Else it becomes a user who may not read the key.
        text.push_str("user root\n");
    }
    text
}

/// Room for the window on each connection, and patience; the log says only what is wrong.
fn nats(pki: &Pki, port: u16) -> String {
    format!(
        "listen: \"127.0.0.1:{port}\"\n\
         tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true, timeout: 60 }}\n\
         max_pending: 268435456\nwrite_deadline: \"60s\"\nmax_payload: 2097152\nmax_connections: 100000\n\
         ping_interval: \"10m\"\n",
        pki.file("certs/broker.crt"),
        pki.file("keys/broker.key"),
        pki.file("certs/ca.crt"),
    )
}

/// As its own example configuration has it, with TLS and room for many connections.
fn rumqttd(pki: &Pki, port: u16) -> String {
    let mut text = String::from(
        "id = 0\n[router]\nid = 0\nmax_connections = 10010\nmax_outgoing_packet_count = 4096\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n[v4.1]\nname = \"v4-1\"\n",
    );
    let _ = write!(
        text,
        "listen = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 0\n\
         [v4.1.tls]\ncapath = {:?}\ncertpath = {:?}\nkeypath = {:?}\n\
         [v4.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 2097152\n\
         max_inflight_count = 4096\ndynamic_filters = true\n",
        pki.file("certs/ca.crt"),
        pki.file("certs/broker.crt"),
        pki.file("keys/broker.key"),
    );
    text
}

/// A port that is free now. Somebody may take it before the broker does; then that one does not start.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Debian has brokers where only root looks.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Ended by the kernel if we are killed before we can do it ourselves, where there is a tool for that.
fn tied_to_us(program: &Path) -> Command {
    let Some(setpriv) = on_path("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

fn said_by(path: &Path, flag: &str) -> Result<String> {
    let output = Command::new(path).arg(flag).output().with_context(|| path.display().to_string())?;
    Ok(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}
