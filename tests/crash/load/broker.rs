//! The broker as a process: started, and ended in this way or that.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A broker that listens. It is killed if nobody has ended it.
pub struct Broker {
    child: Child,
    pub port: u16,
    /// Kept open: nobody else says anything there.
    _stdout: BufReader<ChildStdout>,
}

impl Broker {
    /// Starts it, and waits until it says where it listens, or ends.
    pub fn start(mut command: Command) -> Result<Broker, String> {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).map_err(|e| e.to_string())?;
        let port = line.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
        match port {
            Some(port) => Ok(Broker { child, port, _stdout: stdout }),
            None => {
                let _ = child.kill();
                let status = child.wait().map_err(|e| e.to_string())?;
                Err(format!("the broker does not start: {status}"))
            }
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

    /// Waits for its own end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
