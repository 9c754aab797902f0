//! Sinks against real peers: a Mosquitto broker, a web server.

mod broker;
mod events;
mod gate;
mod mqtt;
mod peers;
mod webhook;

use peers::{free_port, program, until};
