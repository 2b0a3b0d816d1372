//! Seeds in the ordinary test run, and proof that the model catches what it should.
//!
//! `SEALMQ_SIM_SEED=7 cargo test --lib sim::tests::replay` runs one seed again, with
//! `SEALMQ_SIM_LINES=2000` of its last lines. `SEALMQ_SIM_SEEDS=5000 cargo test --lib sim::tests`
//! runs more of them, from `SEALMQ_SIM_FROM=1001` on.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Failed, Fault, Rule, Summary, run};

/// Seeds of an ordinary run, in so many tests, which run side by side.
const SEEDS: u64 = 200;
const SHARES: u64 = 4;
/// Lines of a failure's history that are shown.
const LINES: u64 = 60;

fn number(variable: &str) -> Option<u64> {
    env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

/// Runs a seed; a failure says what happened last, and how to run it again.
fn hold(seed: u64) -> Result<Summary, String> {
    let replay = format!("SEALMQ_SIM_SEED={seed} cargo test --lib sim::tests::replay -- --nocapture");
    match catch_unwind(AssertUnwindSafe(|| run(seed, None))) {
        Ok(Ok(summary)) => Ok(summary),
        Ok(Err(failed)) => {
            let Failed { violation, recent } = *failed;
            let lines = number("SEALMQ_SIM_LINES").unwrap_or(LINES) as usize;
            let shown = recent[recent.len().saturating_sub(lines)..].join("\n");
            Err(format!("{shown}\n{violation}\nagain with: {replay}"))
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("of an unknown kind");
            Err(format!("a panic: {text}\nagain with: {replay}"))
        }
    }
}

fn must_hold(seed: u64) -> Summary {
    hold(seed).unwrap_or_else(|what| panic!("{what}"))
}

/// Runs a share of the seeds to its end, and tells of all that failed.
fn share(nth: u64) {
    let seeds = number("SEALMQ_SIM_SEEDS").unwrap_or(SEEDS);
    let from = number("SEALMQ_SIM_FROM").unwrap_or(1);
    let results = (from..=seeds).filter(|seed| seed % SHARES == nth).map(hold);
    let (good, bad): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
    let bad: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
    for (nth, what) in bad.iter().enumerate() {
        // One in full, of the others what was broken.
        let lines = if nth == 0 { usize::MAX } else { 2 };
        let skipped = what.lines().count().saturating_sub(lines);
        what.lines().skip(skipped).for_each(|line| eprintln!("{line}"));
    }
    assert!(bad.is_empty(), "{} of {} seeds failed", bad.len(), bad.len() + good.len());
    assert!(good.iter().flatten().any(|summary| summary.messages > 0), "nothing was ever published");
    assert!(good.iter().flatten().any(|summary| summary.brokers > 3), "the broker stayed");
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

/// The seed of `SEALMQ_SIM_SEED`, or a few: each goes the same way twice.
#[test]
fn replay() {
    let seeds = number("SEALMQ_SIM_SEED").map_or(1..=4, |seed| seed..=seed);
    for seed in seeds {
        let first = must_hold(seed);
        println!("{first:?}");
        assert_eq!(must_hold(seed), first, "seed {seed} goes two ways");
    }
}

/// Seeds that a fault is given to be caught in.
const CHANCES: u64 = 120;

/// What the first seed in which a fault shows is caught by.
fn caught(fault: Fault) -> Rule {
    let mut seeds = (1..=CHANCES).filter_map(|seed| run(seed, Some(fault)).err());
    let failed = seeds.next().unwrap_or_else(|| panic!("nobody notices {fault:?} in {CHANCES} seeds"));
    println!("{fault:?}: {}", failed.violation);
    failed.violation.rule
}

/// The rules that may notice a fault first. A model that could not fail would fail here.
fn catches(fault: Fault) -> &'static [Rule] {
    use Rule::*;
    match fault {
        Fault::LoseMessage => &[NothingIsLost, ThingsGoOn],
        Fault::RepeatMessage => &[NothingIsRepeated],
        // The one that is held back may come when its topic is no longer subscribed to.
        Fault::SwapMessages => &[NothingIsLost, ThingsGoOn, DeliveryIsAsAsked],
        Fault::ChangeContent | Fault::ChangeSender => &[ContentIsTrue],
        Fault::ShiftMessage => &[NothingIsLost, ContentIsTrue],
        Fault::WrongOffset => &[AnswersAreTrue],
        Fault::LoseAnswer => &[AnswersComeOnce, OrderHolds, ThingsGoOn],
        Fault::RepeatAnswer => &[AnswersComeOnce],
        Fault::HideGap => &[NothingIsLost, ThingsGoOn],
        Fault::InventGap => &[GapsAreTrue],
        Fault::ShiftStart => &[NothingIsLost, DeliveryIsAsAsked],
        Fault::LoseCaughtUp => &[ThingsGoOn],
        Fault::ShowKeyless | Fault::WithholdAsKeyless | Fault::TrustLeavers => &[MembersDecide],
        Fault::Accuse | Fault::CallRepeated => &[NobodyIsAccused],
        Fault::LoseAmendment => &[AnswersComeOnce, ThingsGoOn],
        Fault::InventAmendment | Fault::HideMember => &[AnswersAreTrue],
        Fault::AnswerEarly => &[OrderHolds, NothingIsLost, DeliveryIsAsAsked, NobodyIsAccused, ThingsGoOn],
        Fault::DeliverEarly => &[AnswersAreTrue, ContentIsTrue, DeliveryIsAsAsked],
        Fault::ForgetRecord => &[NobodyIsAccused, MembersDecide, NothingIsLost, ThingsGoOn],
        Fault::RepeatOffset => &[OrderHolds, NothingIsLost, DeliveryIsAsAsked],
        Fault::LoseCounter => &[NothingIsRepeated],
        // Who is turned away for good has answers to what was asked before that is told.
        Fault::LoseBytes | Fault::FlipBit | Fault::RepeatBytes => &[NobodyIsAccused, AnswersAreTrue],
    }
}

fn must_catch(faults: &[Fault]) {
    for fault in faults {
        let rule = caught(*fault);
        assert!(catches(*fault).contains(&rule), "{fault:?} was taken for {rule:?}");
    }
}

/// Faults from this one on are the store's.
const OF_STORES: usize = 24;

#[test]
fn faults_of_what_is_shown_are_caught() {
    must_catch(&Fault::ALL[..OF_STORES / 2]);
}

#[test]
fn faults_of_answers_gaps_and_networks_are_caught() {
    must_catch(&Fault::ALL[OF_STORES / 2..OF_STORES]);
}

#[test]
fn faults_of_stores_are_caught() {
    must_catch(&Fault::ALL[OF_STORES..]);
}
