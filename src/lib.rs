//! Tells on the device, in real time and with a known false-alarm rate, whether a camera frame is
//! normal.
//!
//! [`Detector`] is the whole way in one object:
//!
//! ```no_run
//! use std::path::Path;
//! use edge_vae::{Detector, DetectorOptions, Frame};
//!
//! let mut detector = Detector::open(Path::new("models/surface"), &DetectorOptions::default())?;
//! let detection = detector.score(&Frame::open(Path::new("frame.png"))?)?;
//! println!("{} {:?}", detection.verdict.label, detection.verdict.score);
//! # Ok::<(), edge_vae::Error>(())
//! ```
//!
//! # The way of a frame
//!
//! A picture enters as bytes and leaves as a verdict; each module hands it to the next:
//!
//! ```text
//! bytes ─▶ Frame ─▶ tensor ─▶ ModelOutputs ─▶ score map ─▶ score ─▶ Verdict
//!          frame  preprocess  model                scoring       calibration
//!                             on backend, vae
//! ```
//!
//! Two routes lead from the tensor to the score map. Which of them scores is chosen in training, on
//! synthetic defects:
//! 1. **Feature route**, the default for frames above 32 pixels: a frozen, pretrained backbone
//!    (EfficientNet-Lite0, strides 8 and 16) gives patch features. The score of a location is the
//!    Mahalanobis distance of its features to a Gaussian that was fitted to normal frames at this
//!    location (PaDiM), to a mixture of Gaussians, or the likelihood under a VAE over the features.
//! 2. **VAE route**: encoder, posterior, decoder. The score map is the reconstruction's residual,
//!    the negative ELBO, the KL divergence, or the output of a head that was trained on synthetic
//!    defects.
//!
//! The score of the frame is an aggregate of the map. Its threshold is conformal: it is set by
//! normal frames alone, for a target false-alarm rate.
//!
//! # Features of the crate
//!
//! `tract` and `ort` are the engines; one of them is needed. With `default-features = false` and
//! one of these, the crate is what scoring a frame needs. `dataset`, `metrics`, `render` and
//! `synth` add the modules of these names, `adapt` what learns from accepted frames, `watch` adds
//! the module `stream` (Unix; V4L2, GPIO and framebuffer on Linux), and `cli` the program.

#[cfg(not(any(feature = "tract", feature = "ort")))]
compile_error!("edge-vae needs an engine: turn on the feature `tract` or the feature `ort`");

// From bytes to a tensor.
pub mod frame;
pub mod image;
pub mod preprocess;

// From the tensor to what the model makes of it.
pub mod backend;
pub mod model;
pub mod vae;

// From that to a verdict.
pub mod calibration;
pub mod drift;
pub mod scoring;

// The model on disk, and at work.
pub mod bundle;
pub mod npy;
pub mod runtime;

// What a box believes, and what it can show afterwards.
#[cfg(feature = "trust")]
pub mod evidence;
#[cfg(feature = "trust")]
pub mod trust;

// Beside the way: data sets, metrics, pictures.
#[cfg(feature = "dataset")]
pub mod dataset;
#[cfg(feature = "metrics")]
pub mod metrics;
#[cfg(feature = "render")]
pub mod render;
#[cfg(feature = "synth")]
pub mod synth;

// Cameras.
#[cfg(all(feature = "watch", unix))]
pub mod stream;

mod bounded_read;
#[cfg(all(feature = "cli", feature = "watch", unix))]
pub mod doctor;
mod error;
#[cfg(all(any(test, fuzzing), feature = "watch", unix))]
#[doc(hidden)]
pub mod fuzzing;
mod replace;
#[cfg(any(feature = "trust", all(feature = "watch", unix)))]
mod state_folder;
mod text;
pub mod value;

pub use bounded_read::{read_bounded, read_text_bounded};
pub use error::{Error, one_line};
pub use frame::Frame;
pub use model::Model;
pub use replace::{create_folder, flush_folder, replace_file, replace_file_unflushed};
pub use runtime::{Detection, Detector, DetectorOptions, Explain, InferenceSession, Latency};
#[cfg(any(feature = "trust", all(feature = "watch", unix)))]
use state_folder::state_folder;
pub use text::{aligned, counted, timestamp};
