mod connections;
mod harness;
mod limits;
mod topics;
