//! `sealmq` and `sealmqd` together, as a person or a script runs them.

mod identity;
mod members;
mod oneshot;
mod ownership;
mod publish;
mod reconnect;
mod resume;
mod shell;
mod support;
mod terminal;
mod trust;
