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

pub mod anomaly;
pub mod backend;
pub mod bundle;
pub mod dataset;
mod detector;
mod error;
pub mod frame;
pub mod metrics;
pub mod npy;
mod observer;
pub mod preprocess;
mod reconstructor;
pub mod render;
mod replace;
mod smoothing;
pub mod stream;
pub mod synth;
pub mod vae;

pub use detector::{Detector, DetectorOptions, Explain, Judgement, Latency};
pub use error::{Error, one_line};
pub use frame::Frame;
pub use observer::Observer;
pub use reconstructor::Reconstructor;
pub use replace::{replace_file, replace_file_unflushed};
