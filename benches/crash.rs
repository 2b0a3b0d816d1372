//! The broker killed again and again under load: `cargo bench --bench crash -- --rounds 200 --seed 1`.
//!
//! Says what was answered, re-sent and found, and ends with 1 where something answered was lost,
//! stored twice or out of its order; the broker's files are kept then. A short run of the same is
//! among the tests.

#[path = "../tests/crash/load/mod.rs"]
mod load;
#[path = "../tests/daemon/support.rs"]
#[allow(dead_code)]
mod support;

use std::process::ExitCode;

use load::Plan;

fn main() -> ExitCode {
    let mut plan = Plan { rounds: 200, seed: 1, window: 64, answers_max: 500 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let field = match arg.as_str() {
            "--rounds" => &mut plan.rounds,
            "--seed" => &mut plan.seed,
            // `cargo bench` says so to every program of its kind.
            "--bench" => continue,
            _ => return usage(),
        };
        match args.next().and_then(|text| text.parse().ok()) {
            Some(number) => *field = number,
            None => return usage(),
        }
    }
    let told = |round: u64, sums: &load::ledger::Sums| {
        if round.is_multiple_of(10) {
            eprintln!("round {round}: {} answered, {} found", sums.answered, sums.found);
        }
    };
    match load::run(plan, told) {
        Ok(outcome) => {
            print!("{outcome}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            println!("seed {}: {violation}", plan.seed);
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo bench --bench crash -- [--rounds N] [--seed S]");
    ExitCode::from(2)
}
