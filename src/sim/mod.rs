//! The simulator: the real broker core and real client cores, driven through seeded pipes by a
//! virtual clock, and held against a shadow model of topics, offsets and members.
//!
//! ```text
//! workload   what people, networks and clocks do      finale    healing, audits, the end
//! intrigue   who changes whose membership
//! stage      clock, broker, clients, connections ──── link, pipe
//! player     a client and what its caller was told ── reader    its place in one topic
//! changes    what it asks of memberships, and whether the answers are true
//! model      every log and every message ──────────── ledger    who may read what
//! engine     a disk that is late, full or broken ──── platter   what is on it, which tells the model
//! rules      what is promised                         tamper    faults, to see that it catches them
//! ```
//!
//! There is no thread, no socket and no sleeping here. A seed decides everything, so one that
//! fails can be run again: the message says how.

mod cast;
mod changes;
mod dice;
mod engine;
mod finale;
mod intrigue;
mod ledger;
mod link;
#[cfg(test)]
mod members;
mod model;
mod pipe;
mod platter;
mod player;
mod reader;
mod rules;
mod stage;
mod tamper;
mod trace;
mod workload;

#[cfg(test)]
mod tests;

use crate::wire::values::Start;

pub use rules::{Rule, Violation};
pub use tamper::Fault;

use crate::base::Wall;
use crate::base::ids::Offset;
use dice::Dice;
use stage::Stage;
use tamper::Tamper;
use workload::Workload;

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Of all that happened, without what is random beyond the seed.
    pub trace: u64,
    pub steps: u64,
    pub messages: usize,
    /// How many brokers there were, one after the other.
    pub brokers: u32,
}

/// A run that broke a promise: which one, and what happened last.
#[derive(Debug)]
pub struct Failed {
    pub violation: Violation,
    pub recent: Vec<String>,
}

/// Runs a seed from its start to its end, with a fault put in or without.
pub fn run(seed: u64, fault: Option<Fault>) -> Result<Summary, Box<Failed>> {
    let tamper = fault.map_or_else(Tamper::nothing, |fault| Tamper::with(fault, seed));
    let mut workload = Workload::new(seed);
    let mut stage = workload.stage(tamper, seed);
    match play(&mut stage, &mut workload) {
        Ok(()) => Ok(Summary {
            trace: stage.trace.hash(),
            steps: stage.steps,
            messages: stage.model.messages_stored(),
            brokers: stage.generation,
        }),
        Err(violation) => {
            Err(Box::new(Failed { violation, recent: stage.trace.recent().map(str::to_owned).collect() }))
        }
    }
}

fn play(stage: &mut Stage, workload: &mut Workload) -> Result<(), Violation> {
    workload.run(stage)?;
    stage.heal(workload)?;
    let mut dice = Dice::new(stage.seed, 3);
    let person = dice.below(stage.players.len() as u64) as usize;
    let start = match dice.below(8) {
        0 => Start::Latest,
        1 => Start::Last(dice.below(8)),
        2 => Start::Since(Wall(stage.now().wall.0 - dice.below(3_000))),
        3 => Start::Offset(Offset(dice.below(20))),
        _ => Start::Earliest,
    };
    stage.compare_members(workload)?;
    stage.compare_requests()?;
    stage.check_open_doors()?;
    stage.audit(person, start)?;
    stage.model.check_publishers_order()?;
    stage.close()
}
