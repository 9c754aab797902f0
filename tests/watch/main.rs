//! `edge-vae watch`, the whole program.

#[path = "../tiny/mod.rs"]
mod tiny;

mod crash;
mod run;
mod test_dir;
