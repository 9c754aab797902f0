//! A bundle at work: from a frame to its [`Detection`].
//!
//! [`Detector`] holds an [`InferenceSession`] (preprocessing and graphs), a
//! [`Scorer`](crate::scoring::Scorer) and the calibration, and checks the engine on the golden
//! frame before it scores the first one.

#[cfg(feature = "adapt")]
mod adaptation;
mod detector;
mod engine_choice;
mod golden;
mod golden_check;
mod latency;
mod load;
mod mask;
mod regions;
mod session;
pub mod tensor_rt;
mod verdict;

#[cfg(feature = "adapt")]
pub use adaptation::{AdaptationParams, AdaptationScore, Adapter, FoldModel};
pub use detector::{Detection, Detector, DetectorOptions, Explain};
pub use engine_choice::{EngineChoice, EngineTrial, MeasuredEngines};
pub use golden::{GoldenTensor, GoldenValues};
pub use golden_check::{Difference, GoldenCheck};
pub use latency::Latency;
pub use load::{check_sealed, golden_frame, load_model, load_preprocessor, load_scorer, load_vae};
pub use mask::{renew_golden, replace_mask};
pub use session::InferenceSession;
pub use verdict::{Label, Verdict};
