//! The client core against a broker that says what the test tells it to.

mod create;
mod deliver;
mod peer;
mod pins;
mod publish;
mod rig;
mod rude;
mod session;
mod subscribe;
mod topic;
