//! The broker: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser;
use sealmq::cli::daemon::{self, Args};

fn main() -> ExitCode {
    match daemon::run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sealmqd: {error}");
            error.exit().into()
        }
    }
}
