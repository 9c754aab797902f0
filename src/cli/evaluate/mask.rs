//! Masks of defects, as pixels of a frame or of a tensor.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use edge_vae::{
    Frame,
    frame::Samples,
    preprocess::{Geometry, PixelRect},
};
use ndarray::Array2;

/// When a mask is doubted, or read by its halves.
#[derive(Clone, Copy, Debug)]
struct MaskParams {
    /// Most values of a mask whose values are labels: each of them above 0 is a defect. With more,
    /// edges are soft or the file was compressed as a photograph is, and what is brighter than half
    /// of the brightest is a defect.
    labels: usize,
    /// Pixels whose values lie between these shares of the brightest are neither dark nor bright.
    between: [f64; 2],
    /// Share of such pixels above which a mask looks like a photograph.
    most_between: f64,
    /// Share of the frame above which a defect covers so much that black and white may be
    /// exchanged.
    most_set: f64,
}

const PARAMS: MaskParams = MaskParams {
    labels: 16,
    between: [0.25, 0.75],
    most_between: 0.1,
    most_set: 0.5,
};

/// Where a frame has a defect.
#[derive(Debug)]
pub(super) struct Mask {
    /// Set at defects; height × width of the frame.
    pub(super) set: Array2<bool>,
    /// What makes it look as if it meant something else.
    pub(super) doubt: Option<Doubt>,
}

/// Why a mask may mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    /// Many of its values are neither dark nor bright.
    Photograph,
    /// Most of the frame is set.
    Inverted,
}

impl Doubt {
    /// What is said of it.
    pub(super) fn problem(self) -> &'static str {
        match self {
            Self::Photograph => {
                "many of the mask's values are neither dark nor bright; it was cut at half of the \
                 brightest: is it a mask?"
            }
            Self::Inverted => {
                "the mask says that more than half of the frame is a defect: are black and white \
                 exchanged?"
            }
        }
    }
}

/// Reads the masks of a frame. A pixel is set where any of them is.
pub(super) fn read(paths: &[PathBuf], frame: &Frame) -> anyhow::Result<Mask> {
    let shape = (frame.height() as usize, frame.width() as usize);
    let mut mask = Mask {
        set: Array2::from_elem(shape, false),
        doubt: None,
    };
    for path in paths {
        let (set, photograph) = read_one(path, frame)?;
        let set = Array2::from_shape_vec(shape, set)?;
        mask.set.zip_mut_with(&set, |whole, set| *whole |= set);
        if photograph {
            mask.doubt = Some(Doubt::Photograph);
        }
    }
    let set = mask.set.iter().filter(|&&set| set).count() as f64;
    if set > PARAMS.most_set * mask.set.len() as f64 {
        mask.doubt.get_or_insert(Doubt::Inverted);
    }
    Ok(mask)
}

/// Whether each pixel is set, and whether the file looks like a photograph. An alpha channel that
/// is not the same all over is the mask, whatever colours lie beneath it.
fn read_one(path: &Path, frame: &Frame) -> anyhow::Result<(Vec<bool>, bool)> {
    let alpha = Frame::open_alpha(path)?.filter(|alpha| match alpha.samples() {
        Samples::U8(samples) => samples.iter().any(|sample| *sample != samples[0]),
        Samples::U16(_) => false,
    });
    let mask = match alpha {
        Some(alpha) => alpha,
        None => Frame::open(path)?,
    };
    ensure!(
        (mask.width(), mask.height()) == (frame.width(), frame.height()),
        "{}: the mask has {}×{} pixels and its frame {}×{}; make them of one size",
        path.display(),
        mask.width(),
        mask.height(),
        frame.width(),
        frame.height()
    );
    let channels = mask.format().channels();
    let brightest = |pixel: &[u16]| pixel.iter().copied().max().unwrap_or(0);
    let values: Vec<u16> = match mask.samples() {
        Samples::U8(samples) => samples
            .chunks_exact(channels)
            .map(|pixel| pixel.iter().copied().max().unwrap_or(0).into())
            .collect(),
        Samples::U16(samples) => samples.chunks_exact(channels).map(brightest).collect(),
    };
    Ok(set(&values))
}

/// Whether each value is set, and whether the values are those of a photograph.
fn set(values: &[u16]) -> (Vec<bool>, bool) {
    let mut distinct = values.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() <= PARAMS.labels {
        return (values.iter().map(|&value| value > 0).collect(), false);
    }
    let most = f64::from(distinct.last().copied().unwrap_or(0));
    let share = |value: u16| f64::from(value) / most;
    let [low, high] = PARAMS.between;
    let between = values
        .iter()
        .filter(|&&value| (low..high).contains(&share(value)))
        .count() as f64;
    let set = values.iter().map(|&value| share(value) >= 0.5).collect();
    (set, between > PARAMS.most_between * values.len() as f64)
}

/// What a tensor of `height` × `width` covers of a mask, each of its pixels taking the mask's
/// nearest to its centre.
pub(super) fn in_tensor(
    mask: &Array2<bool>,
    geometry: &Geometry,
    (height, width): (usize, usize),
) -> Array2<bool> {
    let PixelRect {
        x: left,
        y: top,
        width: columns,
        height: rows,
    } = geometry.region;
    // Centre of pixel i of n, in m pixels: (i + ½)·m/n, of which the whole part is the pixel.
    let nearest = |i: usize, n: usize, m: u32| ((2 * i + 1) * m as usize) / (2 * n);
    Array2::from_shape_fn((height, width), |(y, x)| {
        let y = top as usize + nearest(y, height, rows);
        let x = left as usize + nearest(x, width, columns);
        mask.get([y, x]).copied().unwrap_or(false)
    })
}

#[cfg(test)]
mod tests {
    use edge_vae::frame::PixelFormat;

    use super::*;

    fn write(path: &Path, rows: &[&[u8]]) {
        let width = rows[0].len() as u32;
        image::GrayImage::from_vec(width, rows.len() as u32, rows.concat())
            .unwrap()
            .save(path)
            .unwrap();
    }

    #[test]
    fn a_mask_is_set_above_zero_and_has_the_frames_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a_mask.png");
        write(&path, &[&[0, 1, 255], &[0, 0, 128]]);
        let frame = |width, height| {
            let samples = vec![9; (width * height) as usize];
            Frame::from_u8(width, height, PixelFormat::Gray8, samples, "a.png").unwrap()
        };
        let mask = read(std::slice::from_ref(&path), &frame(3, 2)).unwrap();
        assert_eq!(
            mask.set,
            ndarray::array![[false, true, true], [false, false, true]]
        );
        let error = read(&[path], &frame(2, 3)).unwrap_err().to_string();
        assert!(
            error.contains("a_mask.png: the mask has 3×2 pixels and its frame 2×3"),
            "{error}"
        );
        assert!(read(&[dir.path().join("none.png")], &frame(3, 2)).is_err());
    }

    #[test]
    fn a_tensor_takes_the_nearest_pixel_of_what_it_covers() {
        let mask = Array2::from_shape_fn((6, 8), |(y, x)| (x, y) == (3, 4) || (x, y) == (7, 5));
        let geometry = |x, y, width, height| Geometry {
            frame_width: 8,
            frame_height: 6,
            region: PixelRect {
                x,
                y,
                width,
                height,
            },
        };
        assert_eq!(in_tensor(&mask, &geometry(0, 0, 8, 6), (6, 8)), mask);
        let cropped = in_tensor(&mask, &geometry(2, 3, 3, 3), (3, 3));
        assert_eq!(
            cropped
                .indexed_iter()
                .filter(|p| *p.1)
                .map(|p| p.0)
                .collect::<Vec<_>>(),
            [(1, 1)]
        );
        // Every other pixel: (i + ½)·2 = 1, 3, 5, 7.
        let halved = in_tensor(&mask, &geometry(0, 0, 8, 6), (3, 4));
        let set: Vec<_> = halved
            .indexed_iter()
            .filter(|p| *p.1)
            .map(|p| p.0)
            .collect();
        assert_eq!(set, [(2, 3)]);
        let doubled = in_tensor(&mask, &geometry(0, 0, 8, 6), (12, 16));
        assert_eq!(doubled.iter().filter(|set| **set).count(), 8);
    }
}
