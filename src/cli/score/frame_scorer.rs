//! One frame: read, scored, and its files written.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use edge_vae::{
    Detection, Detector, Frame,
    frame::DecodeOptions,
    render::{MapPicture, judged_overlay, png},
};
use ndarray::Array2;
use serde::Serialize;

use super::super::{
    frames::with_frame,
    names::{MAP, OVERLAY, ResultNames},
    output::write_whole,
};

/// What is wanted of each frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) decode: DecodeOptions,
    pub(super) names: &'a ResultNames,
    /// Folder for overlays.
    pub(super) overlay: Option<&'a Path>,
    /// Folder for maps.
    pub(super) map: Option<&'a Path>,
    /// Whether the digest of the picture is.
    pub(super) digest: bool,
}

/// Scores one frame after the other.
pub(super) struct FrameScorer<'a> {
    pub(super) detector: Detector,
    pub(super) wanted: Wanted<'a>,
}

/// What is left of a frame to be printed.
pub(super) struct ScoredFrame {
    pub(super) captured: SystemTime,
    pub(super) detection: Detection,
    /// Reading the picture's file and decoding it.
    pub(super) read: Duration,
    pub(super) map_max: Option<f64>,
    pub(super) files: Files,
    /// The digest of the picture, where it is wanted.
    pub(super) sha256: Option<String>,
    /// Why a picture or a map could not be written.
    pub(super) lost_files: Vec<anyhow::Error>,
}

/// The files that were written of a frame.
#[derive(Default)]
pub(super) struct Files {
    pub(super) overlay: Option<String>,
    pub(super) map: Option<MapRecord>,
}

#[derive(Serialize)]
pub(super) struct MapRecord {
    npy: String,
    png: String,
    minimum: f32,
    maximum: f32,
}

impl FrameScorer<'_> {
    /// Scores one frame and writes its files.
    ///
    /// # Errors
    /// A frame that can't be read or scored.
    pub(super) fn score(&mut self, path: &Path) -> anyhow::Result<ScoredFrame> {
        let began = Instant::now();
        let (frame, detection, read) = with_frame(path, &self.wanted.decode, |frame| {
            let read = began.elapsed();
            let detection = self.detector.score(&frame)?;
            Ok((frame, detection, read))
        })?;
        let mut lost_files = Vec::new();
        let files = self.write_files(path, (&frame, &detection), &mut lost_files);
        Ok(ScoredFrame {
            captured: frame.captured(),
            sha256: self.wanted.digest.then(|| frame.sha256()),
            detection,
            read,
            map_max: self.detector.map_maximum(),
            files,
            lost_files,
        })
    }

    fn write_files(
        &mut self,
        path: &Path,
        (frame, detection): (&Frame, &Detection),
        lost: &mut Vec<anyhow::Error>,
    ) -> Files {
        let mut files = Files::default();
        let (overlay, map) = (self.wanted.overlay, self.wanted.map);
        if overlay.is_none() && map.is_none() {
            return files;
        }
        let frame_map = self.detector.frame_map(detection);
        if let Some(folder) = overlay {
            match self.write_overlay(folder, path, (frame, detection), frame_map.as_ref()) {
                Ok(written) => files.overlay = Some(written),
                Err(error) => lost.push(error),
            }
        }
        if let (Some(folder), Some(frame_map)) = (map, &frame_map) {
            match self.write_map(folder, path, frame_map) {
                Ok(written) => files.map = Some(written),
                Err(error) => lost.push(error),
            }
        }
        files
    }

    fn write_overlay(
        &self,
        folder: &Path,
        path: &Path,
        (frame, detection): (&Frame, &Detection),
        map: Option<&Array2<f32>>,
    ) -> anyhow::Result<String> {
        let target = self.wanted.names.path(folder, path, OVERLAY);
        let calibration = self.detector.calibration();
        let picture = judged_overlay(
            frame,
            detection,
            map.map(|map| map.view()),
            [0.0, calibration.map_threshold as f32],
            calibration.threshold,
            self.detector.model_id(),
        );
        write_whole(&target, &png(picture).context("PNG")?)?;
        Ok(target.display().to_string())
    }

    fn write_map(
        &self,
        folder: &Path,
        path: &Path,
        map: &Array2<f32>,
    ) -> anyhow::Result<MapRecord> {
        let npy_path = self.wanted.names.path(folder, path, ".map.npy");
        let png_path = self.wanted.names.path(folder, path, MAP);
        let mut npy = Vec::new();
        ndarray_npy::WriteNpyExt::write_npy(map, &mut npy).context("NPY")?;
        let picture = MapPicture::of(map.view());
        write_whole(&npy_path, &npy)?;
        write_whole(&png_path, &picture.png().context("PNG")?)?;
        Ok(MapRecord {
            npy: npy_path.display().to_string(),
            png: png_path.display().to_string(),
            minimum: picture.minimum(),
            maximum: picture.maximum(),
        })
    }
}
