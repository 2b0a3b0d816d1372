//! The broker as a process: started, and ended in this way or that.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A broker that listens. It is killed if nobody has ended it.
pub struct Broker {
    child: Child,
    pub port: u16,
}

impl Broker {
    /// Starts it, and waits until it says where it listens, or ends.
    pub fn start(mut command: Command) -> Result<Broker, String> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| e.to_string())?;
        let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        // No line: it has closed its output, or is stuck.
        let line = lines.recv_timeout(PATIENCE).unwrap_or_default();
        let mut broker = Broker { child, port: 0 };
        match line.rsplit(':').next().and_then(|port| port.parse().ok()) {
            Some(port) => {
                broker.port = port;
                Ok(broker)
            }
            None => Err(format!("the broker does not start: {}", broker.wait())),
        }
    }

    pub fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Ends it as its service manager does.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("it was not waited for yet");
    }

    /// Waits for its own end. One that does not come to it is killed.
    pub fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            if began.elapsed() > PATIENCE {
                self.child.kill().expect("it is our child");
            }
            thread::park_timeout(Duration::from_millis(5));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Longer is a failure. Generous, for a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);
