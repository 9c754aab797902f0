//! Which part of a frame a tensor covers, and the way back.

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedCroppedImageMut, TypedImage, TypedImageRef},
    pixels::F32,
};
use ndarray::{Array2, ArrayView2};

use super::Crop;

/// A rectangle in whole pixels of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelRect {
    /// Left column.
    pub x: u32,
    /// Upper row.
    pub y: u32,
    /// Columns, at least 1.
    pub width: u32,
    /// Rows, at least 1.
    pub height: u32,
}

impl PixelRect {
    pub(super) fn as_usize(self) -> [usize; 4] {
        [self.x, self.y, self.width, self.height].map(|v| v as usize)
    }
}

/// Which part of a frame a tensor covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Width of the frame in pixels.
    pub frame_width: u32,
    /// Height of the frame in pixels.
    pub frame_height: u32,
    /// What the tensor covers, in frame pixels.
    pub region: PixelRect,
}

impl Geometry {
    /// The region of a crop in a frame of this size: edges rounded to whole pixels, and never
    /// less than one pixel wide or high.
    pub(super) fn of(frame_width: u32, frame_height: u32, crop: Option<Crop>) -> Self {
        let span = |from: f64, to: f64, length: u32| {
            let from = ((from * f64::from(length)).round() as u32).min(length - 1);
            let to = ((to * f64::from(length)).round() as u32).clamp(from + 1, length);
            (from, to - from)
        };
        let crop = crop.unwrap_or(Crop {
            left: 0.0,
            top: 0.0,
            right: 1.0,
            bottom: 1.0,
        });
        let (x, width) = span(crop.left, crop.right, frame_width);
        let (y, height) = span(crop.top, crop.bottom, frame_height);
        Self {
            frame_width,
            frame_height,
            region: PixelRect {
                x,
                y,
                width,
                height,
            },
        }
    }

    /// A map in tensor geometry, H×W, as one in frame geometry, frame height × frame width:
    /// interpolated bilinearly with the centres of pixels aligned (where the region has fewer
    /// pixels than the map, averaged over them), so that no value leaves the map's range. Outside
    /// the region it has the map's minimum.
    pub fn map_to_frame(&self, map: ArrayView2<f32>) -> Array2<f32> {
        let minimum = map.iter().copied().fold(f32::INFINITY, f32::min);
        let outside = if minimum.is_finite() { minimum } else { 0.0 };
        let mut frame = Array2::from_elem(
            (self.frame_height as usize, self.frame_width as usize),
            outside,
        );
        if map.is_empty() {
            return frame;
        }
        let (height, width) = map.dim();
        let map = map.as_standard_layout();
        let map = map.as_slice().expect("the layout is standard");
        let source = TypedImageRef::<F32>::from_buffer(
            width as u32,
            height as u32,
            bytemuck::cast_slice(map),
        )
        .expect("an array has as many values as its shape says");
        let target = TypedImage::<F32>::from_buffer(
            self.frame_width,
            self.frame_height,
            bytemuck::cast_slice_mut(frame.as_slice_mut().expect("a new array is contiguous")),
        )
        .expect("the array was made in this size");
        let PixelRect {
            x,
            y,
            width,
            height,
        } = self.region;
        let mut target = TypedCroppedImageMut::new(target, x, y, width, height)
            .expect("a region lies within its frame");
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
        Resizer::new()
            .resize_typed(&source, &mut target, &options)
            .expect("without cropping the source, there is nothing to fail");
        frame
    }
}
