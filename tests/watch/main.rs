//! `edge-vae watch`, the whole program.

#[path = "../tiny/mod.rs"]
mod tiny;

mod addresses;
#[path = "../sinks/broker.rs"]
mod broker;
mod clock;
mod commands;
mod control;
mod crash;
mod log;
mod mqtt;
#[path = "../sinks/peers.rs"]
mod peers;
mod pictures;
mod run;
mod snapshot;
mod test_dir;
mod webhook;

use peers::{free_port, program, until};
