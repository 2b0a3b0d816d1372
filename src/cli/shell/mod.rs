//! `sealmq shell`.

pub mod words;
