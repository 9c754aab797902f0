//! Masks of defects, as pixels of a frame or of a tensor.

use std::path::Path;

use anyhow::ensure;
use edge_vae::{
    Frame,
    frame::Samples,
    preprocess::{Geometry, PixelRect},
};
use ndarray::Array2;

/// Reads the mask of a frame, `H×W` of the frame: set where any of its channels is above 0.
pub(super) fn read(path: &Path, frame: &Frame) -> anyhow::Result<Array2<bool>> {
    let mask = Frame::open(path)?;
    let shape = (frame.height() as usize, frame.width() as usize);
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
    let set: Vec<bool> = match mask.samples() {
        Samples::U8(samples) => above_zero(samples, channels),
        Samples::U16(samples) => above_zero(samples, channels),
    };
    Ok(Array2::from_shape_vec(shape, set)?)
}

fn above_zero<T: Copy + Default + PartialOrd>(samples: &[T], channels: usize) -> Vec<bool> {
    samples
        .chunks_exact(channels)
        .map(|pixel| pixel.iter().any(|sample| *sample > T::default()))
        .collect()
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
        let mask = read(&path, &frame(3, 2)).unwrap();
        assert_eq!(
            mask,
            ndarray::array![[false, true, true], [false, false, true]]
        );
        let error = read(&path, &frame(2, 3)).unwrap_err().to_string();
        assert!(
            error.contains("a_mask.png: the mask has 3×2 pixels and its frame 2×3"),
            "{error}"
        );
        assert!(read(&dir.path().join("none.png"), &frame(3, 2)).is_err());
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
