//! From sources through one model to sinks, on a model that can be worked out by hand.

#[path = "../tiny/mod.rs"]
mod tiny;

mod changes;
mod fakes;
mod frames;
mod successor;
