//! The command line: arguments, identity files, one-shot verbs, the shell, and what goes wrong with them.

pub mod args;
pub mod error;
pub mod format;
pub mod home;
pub mod output;
pub mod payload;
pub mod shell;
pub mod state;
pub mod surroundings;
pub mod units;
