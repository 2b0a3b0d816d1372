//! A run: every broker through every workload, round after round, each time another one first.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::args::Run;
use crate::broker::{Kind, Program};
use crate::folder::TempFolder;
use crate::pki::Pki;
use crate::plan::{WORKLOADS, Workload};
use crate::sample::{Machine, Machines, Sample};
use crate::work::Metrics;
use crate::{process, report, work};

pub fn run(run: &Run) -> Result<()> {
    for id in &run.only {
        ensure!(
            WORKLOADS.iter().any(|workload| workload.id == id),
            "there is no workload {id}; see `peers list`"
        );
    }
    let programs = find_programs(run)?;
    let rounds = if run.quick { 1 } else { run.rounds };
    process::raise_descriptors()?;
    let machine = Machine::describe(&programs, rounds, run.quick, run.mqtt_qos);
    Machines::update(&run.out, |machines| machines.peers = Some(machine))?;
    let mut samples = File::create(run.out.join("samples.jsonl"))?;

    let home = TempFolder::new()?;
    eprintln!("making certificates ...");
    let pki = Rc::new(Pki::make(home.path())?);
    let chosen = |workload: &&Workload| run.only.is_empty() || run.only.iter().any(|id| id == workload.id);
    let mut times = BTreeMap::<&str, Duration>::new();
    for round in 1..=rounds {
        for (turn, workload) in WORKLOADS.iter().filter(chosen).enumerate() {
            let work = if run.quick { workload.work.quick() } else { workload.work };
            // Whoever comes first finds the caches and the clock of the CPU as they are: take turns.
            let first = (round as usize + turn) % programs.len();
            let (later, sooner) = programs.split_at(first);
            let programs = sooner.iter().chain(later);
            for program in programs.filter(|program| workload.work.is_for(program.kind)) {
                let began = Instant::now();
                let mut done = work::measure(program, &pki, run.mqtt_qos, work);
                let took = began.elapsed();
                if let Ok(metrics) = &mut done {
                    metrics.insert("took_s".to_owned(), took.as_secs_f64());
                }
                *times.entry(workload.id).or_default() += took;
                let sample = sample(round, workload, program, done);
                say(&sample, rounds);
                writeln!(samples, "{}", serde_json::to_string(&sample)?)?;
            }
        }
    }
    say_times(&times);
    report::write(&run.out)?;
    println!("{}", fs::read_to_string(run.out.join("table.md"))?);
    Ok(())
}

/// The brokers that are there. sealmqd has to be, and so has one peer; what else is missing is said.
fn find_programs(run: &Run) -> Result<Vec<Program>> {
    let mut found = Vec::new();
    for kind in Kind::ALL {
        if !run.brokers.is_empty() && !run.brokers.contains(&kind) {
            continue;
        }
        let path = match kind {
            Kind::Rumqttd => run.rumqttd.as_deref(),
            Kind::Sealmq | Kind::SealmqDisk => run.sealmqd.as_deref(),
            _ => None,
        };
        match Program::find(kind, path) {
            Ok(program) => {
                eprintln!("{}: {}, {}", kind.title(), program.version, program.path.display());
                found.push(program);
            }
            Err(e) => eprintln!("{}: left out: {e:#}", kind.title()),
        }
    }
    ensure!(!found.is_empty(), "there is no broker to measure");
    Ok(found)
}

fn sample(round: u32, workload: &Workload, program: &Program, done: Result<Metrics>) -> Sample {
    let (metrics, error) = match done {
        Ok(metrics) => (metrics, None),
        Err(e) => (Metrics::new(), Some(format!("{e:#}"))),
    };
    Sample { round, workload: workload.id.into(), broker: program.kind, metrics, error }
}

fn say(sample: &Sample, rounds: u32) {
    let Sample { round, workload, broker, metrics, error } = sample;
    let names =
        ["broker_us_per_delivery", "p50_us", "p99_us", "broker_ms_per_connection", "kib_per_connection"];
    let shares = ["broker_share", "generator_share", "client_us_per_delivery"];
    let shown =
        names.iter().chain(&shares).filter_map(|name| Some(format!("{name} {:.2}", metrics.get(*name)?)));
    let figures = error.clone().unwrap_or_else(|| shown.collect::<Vec<_>>().join(", "));
    eprintln!("round {round} of {rounds}  {workload:18} {:15} {figures}", broker.title());
}

/// How long each part has taken, setting up included: for whoever wants to know where the minutes go.
pub fn say_times(times: &BTreeMap<&str, Duration>) {
    for (id, took) in times {
        eprintln!("{id:20} took {:6.1} s", took.as_secs_f64());
    }
    eprintln!("{:20} took {:6.1} s", "all", times.values().sum::<Duration>().as_secs_f64());
}
