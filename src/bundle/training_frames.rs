//! Which frames a model was made of: digests of their pictures, in a file of their own.

use std::{collections::BTreeSet, path::Path};

use super::{Bundle, BundleError};
use crate::frame::{Frame, PictureDigest};

/// File of a bundle with the digests of its training frames, one a line, sorted. A bundle may be
/// without.
pub const TRAINING_FRAMES: &str = "training-frames.txt";

/// Digests of all frames that a model was trained on, selected by or calibrated with at its
/// training.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrainingFrames(BTreeSet<PictureDigest>);

impl TrainingFrames {
    /// Whether the picture of `frame` is among them.
    pub fn contains(&self, frame: &Frame) -> bool {
        self.0.contains(&frame.digest())
    }

    /// Adds a frame by its digest.
    pub fn insert(&mut self, digest: PictureDigest) {
        self.0.insert(digest);
    }

    /// How many different pictures there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The bytes of [`TRAINING_FRAMES`].
    pub fn to_file(&self) -> Vec<u8> {
        let lines = self.0.iter().map(|digest| format!("{digest}\n"));
        lines.collect::<String>().into_bytes()
    }

    fn parse(bytes: &[u8], path: &Path) -> Result<Self, BundleError> {
        let lines = String::from_utf8_lossy(bytes);
        let each = lines.lines().zip(1..).map(|(line, number)| {
            line.parse().map_err(|error| BundleError::Array {
                path: path.to_owned(),
                problem: format!("line {number} {error}"),
            })
        });
        each.collect::<Result<_, _>>().map(Self)
    }
}

impl FromIterator<PictureDigest> for TrainingFrames {
    fn from_iter<I: IntoIterator<Item = PictureDigest>>(digests: I) -> Self {
        Self(digests.into_iter().collect())
    }
}

impl Bundle {
    /// The frames that the model was made of; `None` where the bundle does not say.
    ///
    /// # Errors
    /// A file that holds anything but digests.
    pub fn training_frames(&self) -> Result<Option<TrainingFrames>, BundleError> {
        let Some(bytes) = self.file(TRAINING_FRAMES) else {
            return Ok(None);
        };
        TrainingFrames::parse(bytes, &self.path.join(TRAINING_FRAMES)).map(Some)
    }

    /// Says of which frames the model was made, in memory only; [`Bundle::save`] writes it.
    pub fn set_training_frames(&mut self, frames: &TrainingFrames) {
        self.put(TRAINING_FRAMES, frames.to_file());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;

    #[test]
    fn frames_are_found_again_in_the_file() {
        let frame = |sample: u8| {
            Frame::from_u8(2, 1, PixelFormat::Gray8, vec![sample, 9], "frame").unwrap()
        };
        let frames: TrainingFrames = [3, 1, 3]
            .map(|sample| frame(sample).digest())
            .into_iter()
            .collect();
        assert_eq!(frames.count(), 2);
        let file = frames.to_file();
        assert_eq!(file.len(), 2 * 17);
        let read = TrainingFrames::parse(&file, Path::new(TRAINING_FRAMES)).unwrap();
        assert_eq!(read, frames);
        assert!(read.contains(&frame(1)) && !read.contains(&frame(2)));
        let damaged = TrainingFrames::parse(&file[..20], Path::new(TRAINING_FRAMES));
        let said = damaged.unwrap_err().to_string();
        assert!(
            said.contains("training-frames.txt: line 2 is not a digest"),
            "{said}"
        );
    }
}
