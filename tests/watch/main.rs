//! `edge-vae watch`, the whole program.

#[path = "../tiny/mod.rs"]
mod tiny;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "../faults/driver.rs"]
mod faults;

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
mod storage;
mod test_dir;
mod tls;
mod webhook;

use peers::{free_port, program, until};
