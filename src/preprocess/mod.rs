//! From frame to tensor, and from tensor geometry back to the frame's: the only implementation,
//! used by training, calibration and every back end.

mod denoise;
mod geometry;
mod settings;

use fast_image_resize::{
    FilterType, ResizeAlg, ResizeOptions, Resizer,
    images::{TypedImage, TypedImageRef},
    pixels::F32,
};
use image::DynamicImage;

use crate::frame::{Frame, Samples};

pub use geometry::{Geometry, PixelRect};
pub use settings::{Colour, Crop, Denoise, Normalise, PreprocessSettings, ResizeFilter};

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
    /// The resampling failed.
    #[error("{name}: cannot resize the frame: {reason}")]
    Resize {
        /// Source of the frame.
        name: String,
        /// What the resizer said.
        reason: String,
    },
}

/// Makes tensors of frames: crop, colour, denoise, resize, normalise, in this order.
///
/// Samples are scaled by their full range (v/255 or v/65535), never by what a picture contains,
/// and all computing after that is in f32, the resampling sums in f64. It runs on one thread.
/// Buffers are kept, so that frames of one size allocate nothing but the resampling weights (some
/// kilobytes); the noise filters allocate planes of the frame's size.
#[derive(Debug)]
pub struct Preprocessor {
    settings: PreprocessSettings,
    options: ResizeOptions,
    resizer: Resizer,
    /// One channel of the region at the frame's resolution.
    plane: Vec<f32>,
}

impl Preprocessor {
    /// A preprocessor that carries the settings out.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Settings`] naming the first setting that is impossible.
    pub fn new(settings: PreprocessSettings) -> Result<Self, PreprocessError> {
        settings.validate()?;
        let filter = match settings.filter {
            ResizeFilter::Area => FilterType::Box,
            ResizeFilter::Bilinear => FilterType::Bilinear,
            ResizeFilter::Cubic => FilterType::CatmullRom,
            ResizeFilter::Lanczos3 => FilterType::Lanczos3,
        };
        Ok(Self {
            settings,
            options: ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)),
            resizer: Resizer::new(),
            plane: Vec::new(),
        })
    }

    /// What is carried out.
    pub fn settings(&self) -> &PreprocessSettings {
        &self.settings
    }

    /// Writes the tensor of a frame, C×H×W, into `out`, and says which part of the frame it
    /// covers.
    ///
    /// # Errors
    ///
    /// [`PreprocessError::Tensor`] if `out` has not exactly C·H·W values.
    pub fn prepare(&mut self, frame: &Frame, out: &mut [f32]) -> Result<Geometry, PreprocessError> {
        check_tensor(&self.settings, out.len())?;
        let geometry = Geometry::of(frame.width(), frame.height(), self.settings.crop);
        let size = self.settings.width * self.settings.height;

        // The channels of a grey frame are all the same, so one is made and copied.
        let grey = frame.format().channels() == 1;
        let made = if grey { 1 } else { self.settings.channels() };
        for (channel, tensor) in out.chunks_exact_mut(size).take(made).enumerate() {
            self.fill_plane(frame, geometry.region, channel);
            if let Some(denoise) = self.settings.denoise {
                denoise::apply(
                    denoise,
                    &mut self.plane,
                    geometry.region.width,
                    geometry.region.height,
                );
            }
            resize(
                &mut self.resizer,
                &self.options,
                &self.plane,
                geometry.region,
                tensor,
                &self.settings,
            )
            .map_err(|reason| PreprocessError::Resize {
                name: frame.source().to_owned(),
                reason,
            })?;
        }
        let (first, rest) = out.split_at_mut(size);
        if grey {
            for tensor in rest.chunks_exact_mut(size) {
                tensor.copy_from_slice(first);
            }
        }

        self.settings.normalise.apply(out);
        Ok(geometry)
    }

    /// Fills `self.plane` with the region of the frame in [0, 1]: its luma, or one channel.
    fn fill_plane(&mut self, frame: &Frame, region: PixelRect, channel: usize) {
        let grey = self.settings.colour == Colour::Grey;
        match frame.samples() {
            Samples::U8(samples) => fill(&mut self.plane, samples, frame, region, channel, grey),
            Samples::U16(samples) => fill(&mut self.plane, samples, frame, region, channel, grey),
        }
    }
}

fn fill<T: Copy + Into<f32>>(
    plane: &mut Vec<f32>,
    samples: &[T],
    frame: &Frame,
    region: PixelRect,
    channel: usize,
    grey: bool,
) {
    let channels = frame.format().channels();
    let white = f32::from(frame.format().white());
    let [x, y, width, height] = region.as_usize();
    plane.resize(width * height, 0.0);
    let rows = samples
        .chunks_exact(frame.width() as usize * channels)
        .skip(y);
    for (target, row) in plane.chunks_exact_mut(width).zip(rows) {
        let row = &row[x * channels..][..width * channels];
        if channels == 1 {
            for (value, &sample) in target.iter_mut().zip(row) {
                *value = sample.into() / white;
            }
        } else if grey {
            let (pixels, _) = row.as_chunks::<3>();
            for (value, &[r, g, b]) in target.iter_mut().zip(pixels) {
                let luma = LUMA[0] * r.into() + LUMA[1] * g.into() + LUMA[2] * b.into();
                *value = luma / white;
            }
        } else {
            let (pixels, _) = row.as_chunks::<3>();
            for (value, pixel) in target.iter_mut().zip(pixels) {
                *value = pixel[channel].into() / white;
            }
        }
    }
}

fn resize(
    resizer: &mut Resizer,
    options: &ResizeOptions,
    plane: &[f32],
    region: PixelRect,
    tensor: &mut [f32],
    settings: &PreprocessSettings,
) -> Result<(), String> {
    let source =
        TypedImageRef::<F32>::from_buffer(region.width, region.height, bytemuck::cast_slice(plane))
            .map_err(|error| error.to_string())?;
    let mut target = TypedImage::<F32>::from_buffer(
        settings.width as u32,
        settings.height as u32,
        bytemuck::cast_slice_mut(tensor),
    )
    .map_err(|error| error.to_string())?;
    resizer
        .resize_typed(&source, &mut target, options)
        .map_err(|error| error.to_string())
}

fn check_tensor(settings: &PreprocessSettings, found: usize) -> Result<(), PreprocessError> {
    let shape = settings.shape();
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
    settings.validate()?;
    check_tensor(settings, tensor.len())?;
    let channels = settings.channels();
    let size = settings.width * settings.height;
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
    let (width, height) = (settings.width as u32, settings.height as u32);
    Ok(match settings.colour {
        Colour::Grey => image::GrayImage::from_raw(width, height, samples)
            .expect("check_tensor compared the size")
            .into(),
        Colour::Rgb => image::RgbImage::from_raw(width, height, samples)
            .expect("check_tensor compared the size")
            .into(),
    })
}
