//! Live frames: sources, a bounded pipeline, detection over time, sinks.
//!
//! ```text
//! source ─▶ capture ─▶ [queue] ─▶ Detector ─▶ detection over time ─▶ [queue] ─▶ sink
//! (one thread each)              (one thread for all sources)        (one thread for each sink)
//! ```
//!
//! A source may simply fail; a supervisor in its thread opens it again for as long as it is asked
//! to. Queues are bounded: a full one holds its writer up, or loses its oldest frame and counts it.

mod address;
mod backoff;
mod capture;
mod configuration;
pub mod control;
pub mod drift;
pub mod event;
mod event_tracker;
mod frame_queue;
pub mod health;
mod loss_log;
mod monitor;
mod pipeline;
mod plan;
mod pool;
mod quantity;
pub mod record;
pub mod sink;
mod sink_worker;
pub mod source;
mod source_state;
mod stages;
mod successor;
mod temperature;
mod tls;
mod web;

pub use configuration::{Configuration, ConfigurationError, SourceEntry};
pub use frame_queue::Policy;
pub use monitor::MonitorSettings;
pub use pipeline::run;
pub use plan::{
    Host, PipelineOptions, Plan, RunSummary, SinkConfig, SinkOpener, SourceConfig, StreamError,
};
pub use successor::Successor;
