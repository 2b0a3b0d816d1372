//! Seeds in the ordinary test run, and proof that the model catches what it should.
//!
//! `SEALMQ_SIM_SEED=7 cargo test --lib sim::tests::replay` runs one seed again,
//! `SEALMQ_SIM_SEEDS=5000 cargo test --lib sim::tests` runs more of them.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Failed, Fault, Rule, Summary, run};

/// Seeds of an ordinary run, in so many tests, which run side by side.
const SEEDS: u64 = 240;
const SHARES: u64 = 4;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Runs a seed; a failure says how to run it again.
fn must_hold(seed: u64) -> Summary {
    let replay = format!("SEALMQ_SIM_SEED={seed} cargo test --lib sim::tests::replay -- --nocapture");
    match catch_unwind(AssertUnwindSafe(|| run(seed, None))) {
        Ok(Ok(summary)) => summary,
        Ok(Err(failed)) => panic!("{}\nseed {seed}; again with\n  {replay}", told(&failed)),
        Err(panic) => {
            eprintln!("seed {seed} panicked; again with\n  {replay}");
            std::panic::resume_unwind(panic)
        }
    }
}

fn told(failed: &Failed) -> String {
    format!("{}\n{}", failed.recent.join("\n"), failed.violation)
}

fn share(nth: u64) {
    let seeds = number("SEALMQ_SIM_SEEDS").unwrap_or(SEEDS);
    let messages: usize =
        (1..=seeds).filter(|seed| seed % SHARES == nth).map(|seed| must_hold(seed).messages).sum();
    assert!(messages > 0, "nothing was ever published");
}

#[test]
fn seeds_of_the_first_share_hold() {
    share(0);
}

#[test]
fn seeds_of_the_second_share_hold() {
    share(1);
}

#[test]
fn seeds_of_the_third_share_hold() {
    share(2);
}

#[test]
fn seeds_of_the_fourth_share_hold() {
    share(3);
}

/// The seed of `SEALMQ_SIM_SEED`, or one whose trace must be the same twice.
#[test]
fn replay() {
    let seed = number("SEALMQ_SIM_SEED").unwrap_or(1);
    let first = must_hold(seed);
    println!("{first:?}");
    assert_eq!(must_hold(seed), first, "seed {seed} goes two ways");
}
