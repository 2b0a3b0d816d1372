//! The client and the CA tool: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    sealmq::cli::sealmq(std::env::args_os())
}
