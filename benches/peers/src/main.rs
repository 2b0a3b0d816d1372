//! The same work for mosquitto, NATS and sealmq, on this host, in one run. See README.md.
//!
//! ```text
//! plan      what is measured, which figures the table has, what sealmq is to reach
//! growth    what is let grow, and what sealmq's cost may do meanwhile
//! broker    how each broker is configured, started and ended ── process  CPU time and memory
//! talk/     one client's side of each protocol, without sockets ── pki  certificates
//! swarm     many clients in one poll loop
//! work/     a broker is put through a workload
//! report/   samples to tables and chart
//! ```
#![forbid(unsafe_code)]

mod args;
mod broker;
mod folder;
mod growth;
mod pki;
mod plan;
mod process;
mod report;
mod round;
mod sample;
mod swarm;
mod talk;
mod work;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Verb};

fn main() -> ExitCode {
    let done = match &Args::parse().verb {
        Verb::Run(run) => round::run(run),
        Verb::Growth(growth) => growth::run(growth),
        Verb::Report(report) => report::write(&report.out),
        Verb::List => {
            plan::WORKLOADS.iter().for_each(|workload| println!("{:20} {:?}", workload.id, workload.work));
            println!("\nwhat grows:");
            growth::AXES.iter().for_each(|axis| println!("{:20} {:?}", axis.id, axis.sizes));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}
