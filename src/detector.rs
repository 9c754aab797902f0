//! `Detector`: bundle, engine and calibration in one object.

/// Bundle, engine and calibration in one object.
pub struct Detector {}
/// How to open a [`Detector`].
pub struct DetectorOptions {}
/// What a [`Detector`] says of one frame.
pub struct Judgement {}
