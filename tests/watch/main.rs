//! `edge-vae watch`, the whole program.

#[path = "../tiny/mod.rs"]
mod tiny;

mod addresses;
mod authority;
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
mod secrets;
mod snapshot;
mod test_dir;
mod tls;
mod webhook;

use peers::{free_port, program, until};
