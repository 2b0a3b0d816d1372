//! `sealmq` and `sealmqd` together, as a person or a script runs them.

mod bench;
mod export;
mod identity;
mod members;
mod oneshot;
mod ownership;
mod publish;
mod reconnect;
mod resume;
mod shell;
mod spool;
mod support;
mod terminal;
mod trust;
