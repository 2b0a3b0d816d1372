//! What outlives a crash: the real broker, killed, told lies by its disk, and cut from its power.

mod books;
mod faults;
mod house;
mod load;
mod power;
mod strace;
#[path = "../daemon/support.rs"]
#[allow(dead_code)]
mod support;
mod synced;

use load::Plan;

/// A short run of `benches/crash.rs`.
#[test]
fn nothing_answered_is_lost_when_the_broker_is_killed() {
    let plan = Plan { rounds: 8, seed: seed(), window: 48, answers_max: 300 };
    match load::run(plan, |_, _| ()) {
        Ok(outcome) => {
            println!("{outcome}");
            assert!(outcome.sums.answered > 100 && outcome.kills > 4, "it was busy: {outcome}");
        }
        Err(violation) => {
            panic!("{violation}\nagain: cargo bench --bench crash -- --rounds 8 --seed {}", plan.seed)
        }
    }
}

/// Another one each day: a failure says which.
fn seed() -> u64 {
    support::now().0 / 86_400_000
}
