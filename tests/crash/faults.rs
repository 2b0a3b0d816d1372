//! A disk that fails, is full, or takes less than it was given: faults put into the real broker by
//! strace, and by a limit on its files.
//!
//! A call is counted for each thread. The files are made before, by a broker without faults; so
//! a fault meets one that starts, or serves.

use crate::house::{Answers, Customer, House};
use crate::load::broker::Broker;
use crate::strace;

/// What becomes of a broker with this fault while a customer publishes.
struct Course {
    house: House,
    customer: Customer,
    broker: Option<Broker>,
    /// How it ended instead of starting.
    start: Result<(), String>,
}

impl Course {
    /// A topic with some messages, and the broker on it anew, under strace with a fault in one of
    /// its files.
    fn begin(file: &str, fault: &str) -> Course {
        Course::begin_with(|house| {
            let path = house.data().join(file).display().to_string();
            let calls = fault.split(':').next().unwrap_or_default();
            let (calls, fault) = (format!("trace={calls}"), format!("inject={fault}"));
            house.start_under(&["--seccomp-bpf", "-P", &path, "-e", &calls, "-e", &fault])
        })
    }

    fn begin_with(start: impl FnOnce(&House) -> Result<Broker, String>) -> Course {
        let house = House::new();
        let broker = house.start();
        let mut customer = house.customer(&broker);
        customer.publish(20);
        assert_eq!(customer.wait().stored, 20);
        broker.kill();
        customer.see_the_end();
        let started = start(&house);
        let (broker, start) = match started {
            Ok(broker) => (Some(broker), Ok(())),
            Err(why) => (None, Err(why)),
        };
        Course { house, customer, broker, start }
    }

    /// Publishes until the broker has ended, which it must by itself: with 74 and one clear line.
    fn until_it_ends(&mut self, at_once: usize) -> usize {
        let mut stored = 0;
        if let Some(mut broker) = self.broker.take() {
            loop {
                self.customer.publish(at_once);
                let answers = self.customer.wait_while_connected();
                assert_eq!(answers.full, 0, "a failure is no lack of room");
                stored += answers.stored;
                if answers.unanswered > 0 {
                    break;
                }
                assert!(stored < 10_000, "the fault does not come");
            }
            assert_eq!(broker.wait().code(), Some(74), "{}", self.house.log());
        } else {
            assert!(self.start.as_ref().is_err_and(|why| why.contains("74")), "{:?}", self.start);
        }
        let log = self.house.log();
        let errors: Vec<&str> = log.lines().filter(|line| line.contains("[ERROR]")).collect();
        assert_eq!(errors.len(), 1, "one clear line: {log}");
        stored
    }

    /// Without the fault all that was answered is there, and what was not is stored once.
    fn recovers(mut self) {
        drop(self.broker.take());
        let broker = self.house.start();
        self.customer.publish(5);
        let answers = self.customer.wait_for_all();
        assert_eq!((answers.full, answers.unanswered), (0, 0));
        self.house.check(&broker, &mut self.customer);
        // A client that is there and does not listen would be waited for.
        drop(self.customer);
        assert_eq!(broker.terminate().code(), Some(0));
    }
}

const WAL: &str = "sealmq.db-wal";
const DATABASE: &str = "sealmq.db";

#[test]
fn a_sync_that_fails_ends_the_broker_and_answers_nothing() {
    if !strace::is_there() {
        return;
    }
    for (when, errors) in [(1, ["EIO", "ENOSPC"]), (2, ["EIO", "EDQUOT"]), (4, ["EIO", "ENOSPC"])] {
        for error in errors {
            let mut course = Course::begin(WAL, &format!("fsync,fdatasync:error={error}:when={when}"));
            course.until_it_ends(10);
            course.recovers();
        }
    }
}

#[test]
fn a_write_that_fails_ends_the_broker_and_answers_nothing() {
    if !strace::is_there() {
        return;
    }
    for when in [1, 2, 3, 4, 7, 20] {
        let mut course = Course::begin(WAL, &format!("pwrite64:error=EIO:when={when}"));
        course.until_it_ends(10);
        course.recovers();
    }
}

/// The write-ahead log goes into the database: its writes, its sync, its length.
#[test]
fn a_checkpoint_that_fails_ends_the_broker_and_loses_nothing() {
    if !strace::is_there() {
        return;
    }
    for fault in
        ["pwrite64:error=EIO:when=1", "pwrite64:error=EIO:when=9", "fsync,fdatasync:error=EIO:when=1"]
    {
        let mut course = Course::begin(DATABASE, fault);
        course.customer.pad(64 * 1024);
        course.until_it_ends(20);
        course.recovers();
    }
}

#[test]
fn a_full_disk_refuses_and_takes_messages_again_when_there_is_room() {
    if !strace::is_there() {
        return;
    }
    for fault in ["pwrite64:error=ENOSPC", "pwrite64:retval=0"] {
        let mut course = Course::begin(WAL, &format!("{fault}:when=9..60"));
        let broker =
            course.broker.take().unwrap_or_else(|| panic!("{:?}; {}", course.start, course.house.log()));
        let mut sums = Answers::default();
        while sums.full == 0 || sums.stored < 40 {
            course.customer.publish(8);
            let answers = course.customer.wait_while_connected();
            assert_eq!(answers.unanswered, 0, "{}", course.house.log());
            if answers.full > 0 {
                // Readers are served meanwhile, and see all that was answered and nothing else.
                course.house.check(&broker, &mut course.customer);
            }
            (sums.full, sums.stored) = (sums.full + answers.full, sums.stored + answers.stored);
            assert!(sums.full < 10_000, "it does not recover");
        }
        assert!(!course.house.log().contains("[ERROR]"), "{}", course.house.log());
        course.broker = Some(broker);
        course.recovers();
    }
}

/// Room that is gone for one write only, whichever it is: while it starts, serves, or checkpoints.
#[test]
fn no_single_lack_of_room_loses_anything() {
    if !strace::is_there() {
        return;
    }
    for (file, padding, points) in
        [(WAL, 0, 1..=12), (DATABASE, 64 * 1024, 1..=4), ("sealmq.db-shm", 0, 2..=4)]
    {
        for when in points {
            let mut course = Course::begin(file, &format!("pwrite64,fallocate:error=ENOSPC:when={when}"));
            course.customer.pad(padding);
            let Some(mut broker) = course.broker.take() else {
                assert!(course.house.log().contains(" is full"), "{:?}", course.start);
                course.recovers();
                continue;
            };
            for _ in 0..6 {
                course.customer.publish(15);
                let answers = course.customer.wait_while_connected();
                if answers.unanswered > 0 {
                    assert_eq!(broker.wait().code(), Some(74), "{}", course.house.log());
                    break;
                }
            }
            drop(broker);
            course.recovers();
        }
    }
}

/// Short writes as a system makes them: a limit on the size of files in the middle of a page.
#[test]
fn a_write_that_is_cut_short_loses_nothing() {
    for blocks in [150, 151, 333] {
        let mut course = Course::begin_with(|house| {
            // Without the signal, a write beyond the limit is short, and the next one fails.
            let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
            house.start_by(&["sh", "-c", &script, "sh"])
        });
        course.until_it_ends(10);
        course.recovers();
    }
}
