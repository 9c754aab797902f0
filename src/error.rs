//! The error of the whole library: one variant a room, each with that room's own typed error.

/// Any error of the library. Every message names the file or setting, what was found, and what
/// to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A frame could not be read or decoded.
    #[error(transparent)]
    Frame(#[from] crate::frame::FrameError),
    /// A frame could not be prepared, or the preprocessing settings are impossible.
    #[error(transparent)]
    Preprocess(#[from] crate::preprocess::PreprocessError),
    /// An engine could not be opened, or a graph could not be loaded or run.
    #[error(transparent)]
    Backend(#[from] crate::backend::BackendError),
    /// The model or its values were unusable.
    #[error(transparent)]
    Vae(#[from] crate::vae::VaeError),
    /// A model could not be put together, or did not run.
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    /// A score could not be computed.
    #[error(transparent)]
    Scoring(#[from] crate::scoring::ScoringError),
    /// A calibration could not be made.
    #[error(transparent)]
    Calibration(#[from] crate::calibration::CalibrationError),
    /// A setting outside of its domain.
    #[error(transparent)]
    Value(#[from] crate::value::ValueError),
    /// A bundle could not be opened, verified or written.
    #[error(transparent)]
    Bundle(#[from] crate::bundle::BundleError),
    /// A data set could not be read.
    #[cfg(feature = "dataset")]
    #[error(transparent)]
    Dataset(#[from] crate::dataset::DatasetError),
}

/// An error with its causes on one line, `context: cause: cause`. Errors of the library name
/// their cause themselves, so a cause that its context already ends with is not repeated.
pub fn one_line(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let cause = cause.to_string();
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_one_line_and_names_each_cause_once() {
        let error = anyhow!("no space\n  left")
            .context("a.png: cannot write: no space left")
            .context("overlay");
        assert_eq!(
            one_line(error.as_ref()),
            "overlay: a.png: cannot write: no space left"
        );
        let error = anyhow!("no space").context("a.png");
        assert_eq!(one_line(error.as_ref()), "a.png: no space");
    }
}
