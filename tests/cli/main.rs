//! The real binary in scratch folders, as a user would run it.

#![allow(unreachable_pub, reason = "modules of tests are shared between crates")]

#[path = "../tiny/mod.rs"]
mod tiny;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[path = "../faults/driver.rs"]
mod faults;

mod adapt;
mod bench;
mod calibrate;
#[cfg(all(feature = "watch", unix))]
mod doctor;
mod engine;
mod engine_choice;
mod evaluate;
mod evidence;
mod flags;
mod frames;
mod guides;
mod interruption;
mod latents;
mod likelihood;
#[cfg(unix)]
mod limits;
#[cfg(unix)]
mod links;
mod masks;
mod metrics;
mod models;
mod outputs;
mod pictures;
mod power;
mod score;
mod score_source;
mod sealed;
mod shipped;
mod test_dir;
mod training_frames;
mod trust;
mod unguaranteed;
mod without_vae;
