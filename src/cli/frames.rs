//! Which frames a command line means: files, folders, globs, and lists on standard input.

use std::{
    io::{self, BufRead},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use clap::Args;
use edge_vae::{Frame, dataset::discover, frame::DecodeOptions, preprocess::PreprocessSettings};
use rand::{SeedableRng, seq::index};
use rand_pcg::Pcg64;

use super::{
    names::is_result,
    reporter::{Reported, Reporter, one_line},
};

/// The frames of a verb.
#[derive(Args, Debug)]
pub(crate) struct FrameFlags {
    /// Pictures, folders of pictures (with all folders in them), globs in quotes, or `-` for a list
    /// of paths on standard input, one on each line.
    #[arg(value_name = "FRAMES", required = true)]
    frames: Vec<PathBuf>,
}

impl FrameFlags {
    pub(crate) fn resolve(self) -> Vec<PathBuf> {
        self.frames
    }
}

/// How picture files are read.
#[derive(Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Picture files")]
pub(crate) struct PictureFlags {
    /// Read pictures of up to N pixels, width × height, if they are trusted [default: the model's
    /// limit, else 100 million].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: Option<u64>,

    /// Of files with several pictures (TIFF, PNM, MPO), read the N-th.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    page: Option<u32>,
}

impl PictureFlags {
    /// These over the settings of a model.
    pub(crate) fn over(self, settings: &PreprocessSettings) -> DecodeOptions {
        let of_model = settings.decode_options();
        DecodeOptions {
            max_pixels: self.max_pixels.unwrap_or(of_model.max_pixels),
            page: self.page.map(|page| page as usize),
            ..of_model
        }
        .with_room()
    }
}

/// The frames that were found, and how many arguments led to none.
#[derive(Debug, Default)]
pub(crate) struct FrameList {
    pub(crate) paths: Vec<PathBuf>,
    /// Arguments without a frame; each was reported.
    pub(crate) failed: usize,
}

/// Finds the frames that the arguments mean, in their order. What leads to no frame is reported and
/// counted, and the rest goes on. Results of an earlier run, which lie in the `outputs`, are no
/// frames.
///
/// # Errors
/// No frame at all, and a list that can't be read.
pub(crate) fn find(
    arguments: &[PathBuf],
    outputs: &[&Path],
    reporter: Reporter,
) -> anyhow::Result<FrameList> {
    let mut list = FrameList::default();
    let mut left_out = 0;
    for argument in arguments {
        let found = if argument.as_os_str() == "-" {
            let paths = listed(io::stdin().lock()).context("list of frames on standard input")?;
            discover(&paths)
        } else {
            discover(&[argument])
        };
        let (results, frames): (Vec<_>, Vec<_>) = found
            .frames
            .into_iter()
            .partition(|path| outputs.iter().any(|folder| is_result(path, folder)));
        left_out += results.len();
        list.paths.extend(frames);
        list.failed += found.errors.len();
        for error in found.errors {
            reporter.error(&one_line(&error.into()));
        }
    }
    if list.paths.is_empty() {
        match (list.failed, left_out) {
            (0, 0) => bail!("no frames: the list on standard input is empty"),
            (0, _) => bail!("no frames: all pictures found are results of an earlier run"),
            _ => return Err(Reported.into()),
        }
    }
    if left_out > 0 {
        reporter.note(&format_args!(
            "{left_out} of the pictures found are results of an earlier run, and left out"
        ));
    }
    Ok(list)
}

/// Opens a frame and does something with it; errors name the frame.
pub(crate) fn with_frame<T>(
    path: &Path,
    decode: &DecodeOptions,
    run: impl FnOnce(Frame) -> Result<T, edge_vae::Error>,
) -> anyhow::Result<T> {
    run(Frame::open_with(path, decode)?).with_context(|| path.display().to_string())
}

/// Indices of the frames to take, ascending: all, or `limit` of them at random.
pub(crate) fn choose(frames: usize, limit: Option<usize>, seed: u64) -> Vec<usize> {
    match limit {
        Some(limit) if limit < frames => {
            let mut rng = Pcg64::seed_from_u64(seed);
            let mut chosen = index::sample(&mut rng, frames, limit).into_vec();
            chosen.sort_unstable();
            chosen
        }
        _ => (0..frames).collect(),
    }
}

/// Paths, one a line.
fn listed(input: impl BufRead) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for (index, line) in input.split(b'\n').enumerate() {
        let line = line?;
        let line = if index == 0 {
            without_mark(&line)
        } else {
            &line
        };
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() {
            paths.push(path_of(line.to_vec())?);
        }
    }
    Ok(paths)
}

/// A text without the byte-order mark that some editors, and PowerShell, begin it with.
pub(crate) fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

#[cfg(unix)]
fn path_of(bytes: Vec<u8>) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::ffi::OsString::from_vec(bytes).into())
}

#[cfg(not(unix))]
fn path_of(bytes: Vec<u8>) -> io::Result<PathBuf> {
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_a_path_a_line() {
        let paths = listed(&b"\xef\xbb\xbfa.png\r\n\nb c.png\nlast.png"[..]).unwrap();
        assert_eq!(paths, ["a.png", "b c.png", "last.png"].map(PathBuf::from));
    }

    #[test]
    fn a_subset_is_drawn_by_the_seed() {
        let chosen = choose(1000, Some(50), 3);
        assert_eq!(chosen, choose(1000, Some(50), 3));
        assert_ne!(chosen, choose(1000, Some(50), 4));
        assert_eq!(chosen.len(), 50);
        assert!(chosen.is_sorted_by(|a, b| a < b) && chosen[49] < 1000);
        assert_eq!(choose(3, Some(5), 0), [0, 1, 2]);
        assert_eq!(choose(3, None, 0), [0, 1, 2]);
    }
}
