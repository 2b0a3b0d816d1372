//! The command line: arguments, identity files, one-shot verbs, the shell, and what goes wrong with them.

pub mod format;
pub mod payload;
pub mod units;
