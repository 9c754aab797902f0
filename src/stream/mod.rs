//! Live frames: sources, a bounded pipeline, judgement over time, sinks.
//!
//! ```text
//! source ─▶ capture ─▶ [queue] ─▶ Detector ─▶ judgement over time ─▶ [queue] ─▶ sink
//! (one thread each)              (one thread for all sources)        (one thread for each sink)
//! ```
//!
//! A source may simply fail; a supervisor in its thread opens it again for as long as it is asked
//! to. Queues are bounded: a full one holds its writer up, or loses its oldest frame and counts it.

mod backoff;
mod capture;
mod configuration;
pub mod drift;
pub mod event;
pub mod health;
mod intake;
mod lane;
mod outlet;
mod password;
mod pipeline;
mod plan;
mod pool;
mod quantity;
pub mod record;
pub mod sink;
pub mod source;
mod stages;
mod temperature;

pub use capture::Opener;
pub use configuration::{Configuration, ConfigurationError, SourceEntry};
pub use intake::Policy;
pub use lane::Judging;
pub use pipeline::run;
pub use plan::{Camera, Ended, Host, Options, Outflow, Plan, SinkOpener, StreamError};
