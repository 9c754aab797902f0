//! Which frames are estimated: a data set's, or pictures.

use std::path::PathBuf;

use edge_vae::{
    Frame,
    dataset::{Dataset, DatasetError, DatasetOptions, Layout, Sample},
};

use super::SplitChoice;
use crate::cli::{frames, reporter::Reporter};

/// A frame that can be had when its turn comes.
#[derive(Debug)]
pub(super) enum FrameSource {
    Sample(Box<Sample>),
    File { path: PathBuf, shown: String },
}

impl FrameSource {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Sample(sample) => sample.name(),
            Self::File { shown, .. } => shown,
        }
    }

    pub(super) fn frame(&self) -> anyhow::Result<Frame> {
        Ok(match self {
            Self::Sample(sample) => sample.frame()?,
            Self::File { path, .. } => Frame::open(path)?,
        })
    }
}

/// What the arguments stand for.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) frames: Vec<FrameSource>,
    /// Arguments without a frame; each was reported.
    pub(super) failed: usize,
}

/// A single folder may be a data set; everything else is pictures.
pub(super) fn find(
    arguments: &[PathBuf],
    split: Option<SplitChoice>,
    reporter: Reporter,
) -> anyhow::Result<Source> {
    if let [folder] = arguments
        && folder.is_dir()
    {
        match Dataset::open(folder, &DatasetOptions::default()) {
            Ok(dataset) if dataset.layout == Layout::Folder => {}
            Ok(dataset) => return of(dataset, split.unwrap_or(SplitChoice::Test), folder),
            // Folders of pictures may be called so, too, as long as none is of masks.
            Err(DatasetError::NoTrainGood { found, .. })
                if split.is_none() && ["train", "test"].contains(&found.as_str()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    anyhow::ensure!(
        split.is_none(),
        "--split: {} is no data set with parts; leave it out",
        arguments[0].display()
    );
    let list = frames::find(arguments, &[], reporter)?;
    let file = |path: PathBuf| FrameSource::File {
        shown: path.to_string_lossy().into_owned(),
        path,
    };
    Ok(Source {
        frames: list.paths.into_iter().map(file).collect(),
        failed: list.failed,
    })
}

fn of(dataset: Dataset, split: SplitChoice, folder: &std::path::Path) -> anyhow::Result<Source> {
    let samples = match split {
        SplitChoice::Test => dataset.test,
        SplitChoice::Train => dataset.train,
    };
    anyhow::ensure!(
        !samples.is_empty(),
        "{}: the data set has no test part; take the other with --split train",
        folder.display()
    );
    Ok(Source {
        frames: samples
            .into_iter()
            .map(|sample| FrameSource::Sample(Box::new(sample)))
            .collect(),
        failed: 0,
    })
}
