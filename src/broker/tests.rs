mod certificates;
mod connections;
mod harness;
mod limits;
mod membership;
mod requests;
mod rotation;
mod topics;
