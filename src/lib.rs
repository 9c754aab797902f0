//! Tells on the device, in real time and with a known false-alarm rate, whether a camera frame is
//! normal.
//!
//! A picture enters as bytes and leaves as a verdict; each module hands it to the next:
//!
//! ```text
//! bytes ─▶ Frame ─▶ Preprocessor ─▶ tensor ─▶ Vae (encode ─▶ decode) ─▶ anomaly map ─▶ score ─▶ Verdict
//!          frame     preprocess                vae    on  backend        anomaly
//! ```
//!
//! [`Detector`] is the whole way in one object; a model lives in a folder, the [`bundle`].

pub mod backend;
pub mod bundle;
pub mod calibration;
pub mod dataset;
pub mod drift;
mod error;
pub mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
pub mod image;
pub mod metrics;
pub mod model;
pub mod npy;
pub mod preprocess;
pub mod render;
mod replace;
pub mod runtime;
pub mod scoring;
pub mod stream;
pub mod synth;
pub mod vae;
pub mod value;

pub use error::{Error, one_line};
pub use frame::Frame;
pub use model::Model;
pub use replace::{replace_file, replace_file_unflushed};
pub use runtime::{Detection, Detector, DetectorOptions, Explain, InferenceSession, Latency};
