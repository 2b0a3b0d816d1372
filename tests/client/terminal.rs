//! `sealmq shell` on a terminal: the line that is being typed stays whole.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{PATIENCE, Town, read};

/// A program on a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    fn start(town: &Town, who: &str, line: &str) -> Terminal {
        let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&main).and_then(|()| unlockpt(&main)).expect("it is ours");
        let name = ptsname(&main, Vec::new()).expect("it has a name").into_string().expect("in ASCII");
        let side =
            || Stdio::from(File::options().read(true).write(true).open(&name).expect("its other side"));
        let mut command = town.sealmq(who);
        command.args(line.split_whitespace()).env("TERM", "xterm").env("NO_COLOR", "1");
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().expect("it starts");
        drop(command);
        let screen = read_screen(main.try_clone().expect("a descriptor more"));
        Terminal { child, keyboard: File::from(main), screen, shown: String::new() }
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).expect("it takes keys");
    }

    /// Waits until this was shown, behind what was waited for before.
    fn expect(&mut self, text: &str) {
        let start = Instant::now();
        loop {
            if let Some(at) = self.shown.find(text) {
                self.shown.drain(..at + text.len());
                return;
            }
            match self.screen.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
                Ok(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
                Err(_) => panic!("{text:?} is shown, not {:?}", self.shown),
            }
        }
    }

    fn wait(&mut self) -> bool {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status.success();
            }
            assert!(start.elapsed() < PATIENCE, "it ends");
            thread::park_timeout(Duration::from_millis(10));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_screen(main: OwnedFd) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut main = File::from(main);
        let mut buffer = [0; 4096];
        // A terminal whose other side is closed gives an error.
        while let Ok(n @ 1..) = main.read(&mut buffer) {
            if sender.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

#[test]
fn a_message_does_not_tear_the_line_that_is_typed() {
    let town = Town::new();
    town.topic("home/kitchen");
    let mut terminal = Terminal::start(&town, "bob", "shell");
    terminal.expect("connected to broker");
    terminal.expect("bob@127.0.0.1> ");
    terminal.type_in("sub home/kitchen\r");
    terminal.expect("subscribed to home/kitchen");
    terminal.expect("bob@127.0.0.1> ");
    terminal.type_in("publish home/kitchen half a li");
    terminal.expect("half a li");
    town.good("alice", "pub -t home/kitchen -m between");
    terminal.expect(" home/kitchen alice between\n".replace('\n', "\r\n").as_str());
    terminal.expect("bob@127.0.0.1> publish home/kitchen half a li");
    terminal.type_in("ne\r");
    terminal.expect(" home/kitchen bob half a line\r\n");
    terminal.type_in("\x04");
    assert!(terminal.wait(), "Ctrl-D leaves");
}

#[test]
fn keys_complete_cancel_and_bring_back() {
    let town = Town::new();
    town.topic("home/kitchen");
    let mut terminal = Terminal::start(&town, "bob", "shell");
    terminal.expect("bob@127.0.0.1> ");
    terminal.type_in("whoa\t\r");
    terminal.expect("subscribed to nothing");
    terminal.expect("bob@127.0.0.1> ");
    terminal.type_in("publish nowhere never\x03");
    // A line being typed is shown again and again, prompt and all.
    terminal.expect("never\r\n");
    terminal.expect("bob@127.0.0.1> ");
    terminal.type_in("publish ho\tcompleted\r");
    terminal.expect("published to home/kitchen, offset 2");
    terminal.expect("bob@127.0.0.1> ");
    terminal.type_in("frobnicate\r");
    terminal.expect("there is no command frobnicate");
    terminal.expect("bob@127.0.0.1> ");
    terminal.type_in("exit\r");
    assert!(terminal.wait());
    assert_eq!(town.good("alice", "sub -t home/kitchen -e"), "completed\n");
    let bob = town.world.client("bob").0.public().fingerprint().to_string();
    let history = read(&town.path(&format!("state/sealmq/{bob}/history")));
    assert!(history.contains("publish home/kitchen completed") && !history.contains("never"), "{history}");
}

#[test]
fn somebody_new_is_asked_about() {
    let town = Town::new();
    let mut terminal = Terminal::start(&town, "alice", "shell");
    terminal.expect("alice@127.0.0.1> ");
    for (answer, outcome) in [("n", "a was not made"), ("y", "created a for 2 members")] {
        terminal.type_in("create a --to bob\r");
        terminal.expect("  new");
        terminal.expect("[y/N]> ");
        terminal.type_in(&format!("{answer}\r"));
        terminal.expect(outcome);
        terminal.expect("alice@127.0.0.1> ");
    }
    let mut one_shot = Terminal::start(&town, "carol", "create b --to bob");
    one_shot.expect("[y/N] ");
    one_shot.type_in("y\n");
    one_shot.expect("created b for 2 members");
    assert!(one_shot.wait());
}

#[test]
fn a_topic_is_deleted_by_typing_its_name() {
    let town = Town::new();
    town.topic("home/door");
    let mut one_shot = Terminal::start(&town, "alice", "delete home/door");
    one_shot.expect("home/door has 0 messages and 2 members; nothing of it can be brought back.");
    one_shot.expect("Type home/door to delete it:");
    one_shot.type_in("yes\n");
    one_shot.expect("was not deleted: that was not its name");
    assert!(!one_shot.wait());
    let mut shell = Terminal::start(&town, "alice", "shell");
    shell.expect("alice@127.0.0.1> ");
    shell.type_in("grant home/door carol\r");
    shell.expect("  new");
    shell.expect("Let them into home/door? [y/N]");
    shell.type_in("y\r");
    shell.expect("carol can read and publish; 3 members");
    shell.expect("alice@127.0.0.1> ");
    shell.type_in("delete home/door\r");
    shell.expect("name> ");
    shell.type_in("home/door\r");
    shell.expect("deleted home/door");
    shell.expect("alice@127.0.0.1> ");
    shell.type_in("exit\r");
    assert!(shell.wait());
}

#[test]
fn a_request_shows_up_while_a_line_is_typed() {
    let town = Town::new();
    town.good("alice", "create home/door --only-me");
    let mut shell = Terminal::start(&town, "alice", "shell");
    shell.expect("connected to broker");
    shell.expect("alice@127.0.0.1> ");
    shell.type_in("publish home/door half a li");
    shell.expect("half a li");
    assert_eq!(town.run("bob", "sub home/door").code, 6);
    shell.expect("asks to join home/door: grant home/door bob");
    shell.expect("alice@127.0.0.1> publish home/door half a li");
    shell.type_in("ne\r");
    shell.expect("published to home/door");
}

#[test]
fn a_broker_that_goes_away_and_comes_back() {
    let mut town = Town::new();
    let mut terminal = Terminal::start(&town, "alice", "shell");
    terminal.expect("alice@127.0.0.1> ");
    town.kill_broker();
    terminal.expect("trying again in");
    terminal.type_in("topics\r");
    terminal.expect("not connected");
    terminal.expect("alice (offline)> ");
    town.start_broker();
    terminal.expect("connected again");
    terminal.expect("no topics");
    terminal.type_in("\r");
    terminal.expect("alice@127.0.0.1> ");
}

#[test]
fn payloads_do_not_drive_the_terminal() {
    let town = Town::new();
    town.topic("a");
    assert_eq!(town.run_with("alice", "pub -t a -s", b"\x1b]0;owned\x07").code, 0);
    let mut shell = Terminal::start(&town, "bob", "shell");
    shell.expect("bob@127.0.0.1> ");
    shell.type_in("sub a\r");
    shell.expect("a alice \\u{1b}]0;owned\\u{7}");
    let mut sub = Terminal::start(&town, "bob", "sub -t a -C 1");
    sub.expect("\\u{1b}]0;owned\\u{7}");
}
