//! `edge-vae watch`, the whole program.

#[path = "../tiny/mod.rs"]
mod tiny;

mod crash;
mod room;
mod run;
