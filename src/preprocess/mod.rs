//! From frame to tensor, and from tensor geometry back to the frame's: the only implementation,
//! used by training, calibration and every back end.

mod canvas;
mod denoise;
mod geometry;
mod levels;
mod mask;
mod median;
mod settings;
mod tile_grid;
mod tiles;

use image::DynamicImage;

use crate::{
    frame::{Frame, FrameError, Samples},
    image::{ImageError, PlaneSize, Resampler},
};
use denoise::Denoiser;
use levels::LevelNormaliser;

pub use canvas::CanvasLayout;
pub use geometry::{Geometry, PixelRect};
pub use levels::Levels;
pub use mask::{Interior, Mask};
pub(crate) use settings::MAX_SIDE;
pub use settings::{
    Colour, Contrast, Crop, Denoise, Exposure, Normalise, PreprocessSettings, ResizeFilter,
};
pub use tile_grid::Tiles;
pub use tiles::{TileBlend, TileLayout};

/// Weights of red, green and blue in luma (ITU-R BT.601-7, section 2.5.1).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// Why a frame could not be prepared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// The settings can't be carried out.
    #[error("preprocessing settings: {0}")]
    Settings(String),
    /// A tensor of another size than the settings say.
    #[error("tensor has {found} values, expected {expected} (C×H×W = {shape:?})")]
    Tensor {
        /// Values in the tensor.
        found: usize,
        /// Values that the settings ask for.
        expected: usize,
        /// Shape that the settings ask for.
        shape: [usize; 3],
    },
    /// The settings cut frames into tiles, and one tensor was asked for.
    #[error(
        "a frame makes {count} tensors, not one: prepare its canvas and take them tile by tile"
    )]
    Tiled {
        /// Tiles of a canvas.
        count: usize,
    },
    /// A tile beyond the last.
    #[error("there is no tile {index}: a canvas has {count}, counted from 0")]
    NoTile {
        /// The tile asked for.
        index: usize,
        /// Tiles of a canvas.
        count: usize,
    },
    /// A picture that can't be the mask.
    #[error("{name}: {problem}")]
    Mask {
        /// The mask's file.
        name: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The mask's picture can't be decoded.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The resampling failed.
    #[error("{name}: cannot resize the frame: {source}")]
    Resize {
        /// Source of the frame.
        name: String,
        /// Why.
        source: ImageError,
    },
}

/// Makes tensors of frames: crop, colour, denoise, resize, exposure, mask, contrast, normalise,
/// tiles, in this order.
///
/// Samples are scaled by their full range (v/255, or v/65535 where no fewer bits are used), never
/// by what a picture contains unless exposure or contrast ask for it, and all computing after that
/// is in f32, the resampling sums in f64. It runs on one thread. Buffers are kept, so that frames
/// of one size allocate nothing but the resampling weights (some kilobytes).
#[derive(Debug)]
pub struct Preprocessor {
    settings: PreprocessSettings,
    resampler: Resampler,
    denoiser: Option<Denoiser>,
    layout: CanvasLayout,
    /// The mask on the canvas.
    interior: Option<Interior>,
    levels: LevelNormaliser,
    /// The last frame, C×H'×W'.
    canvas: Vec<f32>,
    /// One channel of the region at the frame's resolution.
    plane: Vec<f32>,
    /// v/255 for every 8-bit sample: to look it up is several times faster than to convert it.
    unit: [f32; 256],
}

impl Preprocessor {
    /// A preprocessor that carries out settings without a mask.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Settings`] naming the first setting that is impossible, or `mask`.
    pub fn new(settings: PreprocessSettings) -> Result<Self, PreprocessError> {
        if let Some(name) = &settings.mask {
            return Err(PreprocessError::Settings(format!(
                "mask is `{name}`, but that file was not given"
            )));
        }
        Self::build(settings, None)
    }

    /// A preprocessor for settings that may name a mask; `mask` holds the bytes of that PNG and is
    /// not looked at where they name none.
    ///
    /// # Errors
    ///
    /// Those of [`Preprocessor::new`] and of [`Mask::from_png`], and a mask so thin that no pixel
    /// of the canvas is white.
    pub fn with_mask(
        settings: PreprocessSettings,
        mask: Option<&[u8]>,
    ) -> Result<Self, PreprocessError> {
        let (Some(name), Some(bytes)) = (&settings.mask, mask) else {
            return Self::new(settings);
        };
        let mask = Mask::from_png(bytes, name, settings.crop)?;
        Self::build(settings, Some(mask))
    }

    fn build(settings: PreprocessSettings, mask: Option<Mask>) -> Result<Self, PreprocessError> {
        settings.validate()?;
        let [channels, height, width] = settings.canvas_shape();
        let layout = CanvasLayout::new(TileLayout::new(&settings), mask);
        let interior = layout.interior([height, width]);
        if interior.as_ref().is_some_and(|inside| inside.count() == 0) {
            return Err(PreprocessError::Mask {
                name: settings.mask.unwrap_or_default(),
                problem: format!(
                    "nothing of it is left at {width}×{height} pixels; paint a larger area white"
                ),
            });
        }
        Ok(Self {
            resampler: Resampler::new(settings.filter.into()),
            denoiser: settings.denoise.map(Denoiser::new),
            interior,
            levels: LevelNormaliser::new(
                settings.exposure,
                settings.contrast,
                PlaneSize { width, height },
            ),
            layout,
            canvas: vec![0.0; channels * height * width],
            plane: Vec::new(),
            unit: std::array::from_fn(|v| v as f32 / 255.0),
            settings,
        })
    }

    /// What is carried out.
    pub fn settings(&self) -> &PreprocessSettings {
        &self.settings
    }

    /// The mask that the settings name.
    pub fn mask(&self) -> Option<&Mask> {
        self.layout.mask()
    }

    /// Tiles and mask of the canvas, as a scorer needs them.
    pub fn canvas_layout(&self) -> &CanvasLayout {
        &self.layout
    }

    /// How the canvas is cut; one tile, where the settings ask for no tiles.
    pub fn layout(&self) -> &TileLayout {
        self.layout.tiles()
    }

    /// Writes the tensor of a frame, C×H×W, into `out`, and says which part of the frame it
    /// covers.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Tensor`] if `out` has not exactly C·H·W values, and
    /// [`PreprocessError::Tiled`] if the settings cut a frame into several tensors.
    pub fn prepare(&mut self, frame: &Frame, out: &mut [f32]) -> Result<Geometry, PreprocessError> {
        let count = self.layout().count();
        if count > 1 {
            return Err(PreprocessError::Tiled { count });
        }
        check_tensor(&self.settings, out.len())?;
        let geometry = self.prepare_canvas(frame)?;
        self.tile(0, out)?;
        Ok(geometry)
    }

    /// Prepares the canvas of a frame, from which [`tile`](Self::tile) takes tensors, and says
    /// which part of the frame it covers: a map of the canvas goes through
    /// [`Geometry::map_to_frame`].
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Resize`].
    pub fn prepare_canvas(&mut self, frame: &Frame) -> Result<Geometry, PreprocessError> {
        self.fill_canvas(frame)?;
        self.finish(frame.source())?;
        Ok(Geometry::of(
            frame.width(),
            frame.height(),
            self.settings.crop,
        ))
    }

    /// Prepares the canvas of values that were resized already, C×H'×W' in [0, 1]: exposure, mask,
    /// contrast and normalisation, as for a frame. `name` names it in errors.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Tensor`] if there are not exactly C·H'·W' values, and
    /// [`PreprocessError::Resize`].
    pub fn prepare_values(&mut self, values: &[f32], name: &str) -> Result<(), PreprocessError> {
        check_shape(self.settings.canvas_shape(), values.len())?;
        self.canvas.copy_from_slice(values);
        self.finish(name)
    }

    /// The canvas that was prepared last, C×H'×W'.
    pub fn canvas(&self) -> &[f32] {
        &self.canvas
    }

    /// Writes tile `index` of the canvas that was prepared last, C×H×W, into `out`.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Tensor`] if `out` has not exactly C·H·W values, and
    /// [`PreprocessError::NoTile`].
    pub fn tile(&self, index: usize, out: &mut [f32]) -> Result<(), PreprocessError> {
        check_tensor(&self.settings, out.len())?;
        let tiles = self.layout.tiles();
        let tile = tiles.tile(index).ok_or(PreprocessError::NoTile {
            index,
            count: tiles.count(),
        })?;
        tiles.copy(&self.canvas, tile, out);
        Ok(())
    }

    /// What a frame has of brightness and contrast: the medians of both over the training frames
    /// make the targets of [`Exposure`] and [`Contrast`]. The canvas holds this frame afterwards,
    /// not normalised.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Resize`].
    pub fn measure(&mut self, frame: &Frame) -> Result<Levels, PreprocessError> {
        self.fill_canvas(frame)?;
        self.apply_levels(frame.source(), true)
    }

    /// From a canvas in [0, 1] to a normalised one.
    fn finish(&mut self, name: &str) -> Result<(), PreprocessError> {
        if self.settings.exposure.is_some() || self.settings.contrast.is_some() {
            self.apply_levels(name, false)?;
        } else if let Some(interior) = &self.interior {
            interior.fill(&mut self.canvas);
        }
        self.settings.normalise.apply(&mut self.canvas);
        Ok(())
    }

    /// From frame to canvas in [0, 1]: crop, colour, denoise, resize.
    fn fill_canvas(&mut self, frame: &Frame) -> Result<(), PreprocessError> {
        let region = Geometry::of(frame.width(), frame.height(), self.settings.crop).region;
        let [_, height, width] = self.settings.canvas_shape();
        let to = PlaneSize { width, height };
        let size = to.pixels();
        // The channels of a grey frame are all the same, so one is made and copied.
        let grey = frame.format().channels() == 1;
        let made = if grey { 1 } else { self.settings.channels() };
        let [_, _, width, height] = region.as_usize();
        let from = PlaneSize { width, height };
        let channels = self.canvas.chunks_exact_mut(size).take(made);
        for (channel, target) in channels.enumerate() {
            let luma = self.settings.colour == Colour::Grey;
            fill_plane(&mut self.plane, frame, region, channel, luma, &self.unit);
            if let Some(denoiser) = &mut self.denoiser {
                denoiser.apply(&mut self.plane, width, height);
            }
            self.resampler
                .run(&self.plane, from, target, to)
                .map_err(|error| resize_error(frame.source(), error))?;
        }
        let (first, rest) = self.canvas.split_at_mut(size);
        if grey {
            for target in rest.chunks_exact_mut(size) {
                target.copy_from_slice(first);
            }
        }
        Ok(())
    }

    /// Exposure, mask and contrast.
    fn apply_levels(&mut self, name: &str, measure: bool) -> Result<Levels, PreprocessError> {
        self.levels
            .run(&mut self.canvas, self.interior.as_ref(), measure)
            .map_err(|error| resize_error(name, error))
    }
}

fn resize_error(name: &str, source: ImageError) -> PreprocessError {
    PreprocessError::Resize {
        name: name.to_owned(),
        source,
    }
}

/// Fills a plane with the region of the frame in [0, 1]: its luma, or one channel.
fn fill_plane(
    plane: &mut Vec<f32>,
    frame: &Frame,
    region: PixelRect,
    channel: usize,
    luma: bool,
    unit: &[f32; 256],
) {
    match frame.samples() {
        Samples::U8(samples) => {
            let unit = |v: u8| unit[usize::from(v)];
            fill(plane, samples, frame, region, channel, luma, unit);
        }
        Samples::U16(samples) => {
            let white = f32::from(frame.white());
            let unit = |v: u16| f32::from(v) / white;
            fill(plane, samples, frame, region, channel, luma, unit);
        }
    }
}

/// `unit` brings a sample to [0, 1].
fn fill<T: Copy>(
    plane: &mut Vec<f32>,
    samples: &[T],
    frame: &Frame,
    region: PixelRect,
    channel: usize,
    luma: bool,
    unit: impl Fn(T) -> f32,
) {
    let channels = frame.format().channels();
    let [x, y, width, height] = region.as_usize();
    plane.resize(width * height, 0.0);
    let rows = samples
        .chunks_exact(frame.width() as usize * channels)
        .skip(y);
    for (target, row) in plane.chunks_exact_mut(width).zip(rows) {
        let row = &row[x * channels..][..width * channels];
        if channels == 1 {
            for (value, &sample) in target.iter_mut().zip(row) {
                *value = unit(sample);
            }
        } else if luma {
            let (pixels, _) = row.as_chunks::<3>();
            for (value, &[r, g, b]) in target.iter_mut().zip(pixels) {
                *value = LUMA[0] * unit(r) + LUMA[1] * unit(g) + LUMA[2] * unit(b);
            }
        } else {
            let (pixels, _) = row.as_chunks::<3>();
            for (value, pixel) in target.iter_mut().zip(pixels) {
                *value = unit(pixel[channel]);
            }
        }
    }
}

fn check_tensor(settings: &PreprocessSettings, found: usize) -> Result<(), PreprocessError> {
    check_shape(settings.shape(), found)
}

fn check_shape(shape: [usize; 3], found: usize) -> Result<(), PreprocessError> {
    let expected = shape.iter().product();
    if found != expected {
        return Err(PreprocessError::Tensor {
            found,
            expected,
            shape,
        });
    }
    Ok(())
}

/// The picture that a tensor, C×H×W, stands for, of the tensor's size with 8 bits: normalisation
/// undone, values cut off to [0, 1] and rounded. A NaN becomes black.
///
/// # Errors
///
/// [`PreprocessError::Settings`] if the settings are impossible, [`PreprocessError::Tensor`] if
/// the tensor has not exactly C·H·W values.
pub fn denormalise(
    settings: &PreprocessSettings,
    tensor: &[f32],
) -> Result<DynamicImage, PreprocessError> {
    picture_of(settings, settings.shape(), tensor)
}

/// [`denormalise`] of a canvas, C×H'×W', which is larger than the tensor where the settings have
/// tiles; the picture is of the canvas's size.
///
/// # Errors
///
/// Those of [`denormalise`].
pub fn denormalise_canvas(
    settings: &PreprocessSettings,
    canvas: &[f32],
) -> Result<DynamicImage, PreprocessError> {
    picture_of(settings, settings.canvas_shape(), canvas)
}

fn picture_of(
    settings: &PreprocessSettings,
    shape: [usize; 3],
    tensor: &[f32],
) -> Result<DynamicImage, PreprocessError> {
    settings.validate()?;
    check_shape(shape, tensor.len())?;
    let [channels, height, width] = shape;
    let size = width * height;
    let mut samples = vec![0; tensor.len()];
    let Normalise { mean, std } = &settings.normalise;
    for (channel, plane) in tensor.chunks_exact(size).enumerate() {
        let targets = samples[channel..].iter_mut().step_by(channels);
        for (target, value) in targets.zip(plane) {
            let value = value * std[channel] + mean[channel];
            // the cast saturates, and turns NaN into 0
            *target = (value * 255.0).round() as u8;
        }
    }
    let (width, height) = (width as u32, height as u32);
    Ok(match settings.colour {
        Colour::Grey => image::GrayImage::from_raw(width, height, samples)
            .expect("check_shape compared the size")
            .into(),
        Colour::Rgb => image::RgbImage::from_raw(width, height, samples)
            .expect("check_shape compared the size")
            .into(),
    })
}

#[cfg(test)]
mod tests;
