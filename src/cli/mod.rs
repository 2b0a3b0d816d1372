//! The command line: arguments, identity files, one-shot verbs, the shell, and what goes wrong with them.

pub mod daemon;
pub mod error;
pub mod format;
pub mod home;
pub mod keyfiles;
pub mod payload;
pub mod units;
