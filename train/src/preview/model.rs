//! What a finished model makes of a picture.

use anyhow::Result;
use edge_vae::{
    Detector, Frame,
    backend::{Engine, EngineOptions},
    bundle::Bundle,
    frame::PixelFormat,
    preprocess::{Normalise, PreprocessSettings, denormalise},
    render::{MapScale, Tile, heat_map},
    runtime::Label,
};
use image::{RgbImage, imageops};

use super::draw::{enlarged, picture};

/// A bundle that is shown pictures.
pub(super) struct Watcher {
    detector: Detector,
}

/// What a model made of a picture; nothing where the frame was invalid.
pub(super) struct Seen {
    reconstruction: Option<RgbImage>,
    map: Option<RgbImage>,
    verdict: String,
}

impl Seen {
    /// Reconstruction and map.
    pub(super) fn tiles(self) -> [Tile; 2] {
        let tile = |picture: Option<RgbImage>, caption: String| {
            Tile::new(picture.unwrap_or_default(), caption)
        };
        [
            tile(self.reconstruction, "reconstruction".to_owned()),
            tile(self.map, self.verdict),
        ]
    }
}

impl Watcher {
    /// Loads a bundle on the default engine.
    pub(super) fn open(bundle: &Bundle) -> Result<Self> {
        let engine = Engine::for_bundle(bundle, &EngineOptions::default())?;
        Ok(Self {
            detector: Detector::new(bundle, &engine)?,
        })
    }

    /// The bundle's preprocessing without the steps that depend on what the picture shows, and
    /// without normalisation: a defect comes before these.
    pub(super) fn plain_settings(&self) -> PreprocessSettings {
        let settings = &self.detector.manifest().preprocess;
        let [channels, height, width] = settings.canvas_shape();
        PreprocessSettings {
            width,
            height,
            exposure: None,
            contrast: None,
            mask: None,
            tiles: None,
            normalise: Normalise::identity(channels),
            ..settings.clone()
        }
    }

    /// Judges a picture, C×H×W in [0, 1], of [`Watcher::plain_settings`].
    pub(super) fn look(&mut self, values: &[f32], shape: [usize; 3]) -> Result<Seen> {
        let frame = self.frame(&picture(values, shape))?;
        let detection = self.detector.score(&frame)?;
        let verdict = &detection.verdict;
        let Some(map) = self.detector.anomaly_map() else {
            return Ok(Seen {
                reconstruction: None,
                map: None,
                verdict: verdict.reasons.join("; "),
            });
        };
        let label = match verdict.label {
            Label::Normal => "normal",
            Label::Anomalous => "anomalous",
            Label::Invalid => "invalid",
        };
        // The cold end: the mean of normal frames, which is 0 for a standardised map.
        let threshold = self.detector.calibration().map_threshold as f32;
        let scale = MapScale::around(threshold, 0.0_f32.min(threshold.next_down()));
        let settings = &self.detector.manifest().preprocess;
        let reconstruction = match self.detector.reconstruction() {
            Some(decoded) => {
                let picture = denormalise(settings, &decoded.reconstruction)?;
                Some(enlarged(&picture.into_rgb8()))
            }
            None => None,
        };
        Ok(Seen {
            reconstruction,
            map: Some(enlarged(&heat_map(map, &scale))),
            verdict: match verdict.score {
                Some(score) => format!("{label}, score {score:.2}"),
                None => label.to_owned(),
            },
        })
    }

    /// A frame of which the bundle's region of interest is `picture`. A noise filter is run on it a
    /// second time, which changes little.
    fn frame(&self, picture: &RgbImage) -> Result<Frame> {
        let (width, height) = picture.dimensions();
        let mut whole = picture.clone();
        if let Some(crop) = self.detector.manifest().preprocess.crop {
            let (w, h) = (f64::from(width), f64::from(height));
            let wide = (w / (crop.right - crop.left)).round() as u32;
            let high = (h / (crop.bottom - crop.top)).round() as u32;
            whole = RgbImage::new(wide.max(width), high.max(height));
            let left = (crop.left * f64::from(whole.width())).round() as i64;
            let top = (crop.top * f64::from(whole.height())).round() as i64;
            imageops::replace(&mut whole, picture, left, top);
        }
        let (width, height) = whole.dimensions();
        let samples = whole.into_raw();
        Ok(Frame::from_u8(
            width,
            height,
            PixelFormat::Rgb8,
            samples,
            "preview",
        )?)
    }
}
