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
pub(crate) use settings::MAX_SIDE;
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
    /// v/255 for every 8-bit sample: to look it up is several times faster than to convert it.
    unit: [f32; 256],
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
            unit: std::array::from_fn(|v| v as f32 / 255.0),
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
            Samples::U8(samples) => {
                let unit = |v: u8| self.unit[usize::from(v)];
                fill(&mut self.plane, samples, frame, region, channel, grey, unit);
            }
            Samples::U16(samples) => {
                let unit = |v: u16| f32::from(v) / 65535.0;
                fill(&mut self.plane, samples, frame, region, channel, grey, unit);
            }
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
    grey: bool,
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
        } else if grey {
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

#[cfg(test)]
mod tests {
    use rand::{Rng, RngExt, SeedableRng};

    use super::*;
    use crate::frame::PixelFormat;

    fn settings(
        width: usize,
        height: usize,
        colour: Colour,
        filter: ResizeFilter,
    ) -> PreprocessSettings {
        PreprocessSettings {
            width,
            height,
            colour,
            crop: None,
            denoise: None,
            filter,
            normalise: Normalise::identity(colour.channels()),
        }
    }

    const FILTERS: [ResizeFilter; 4] = [
        ResizeFilter::Area,
        ResizeFilter::Bilinear,
        ResizeFilter::Cubic,
        ResizeFilter::Lanczos3,
    ];

    fn random_bytes(count: usize, seed: u64) -> Vec<u8> {
        let mut random = rand_pcg::Pcg64::seed_from_u64(seed);
        (0..count).map(|_| random.next_u32() as u8).collect()
    }

    fn frame8(width: u32, height: u32, format: PixelFormat, samples: Vec<u8>) -> Frame {
        Frame::from_u8(width, height, format, samples, "test").unwrap()
    }

    fn prepare(settings: &PreprocessSettings, frame: &Frame) -> Vec<f32> {
        let mut out = vec![f32::NAN; settings.shape().iter().product()];
        Preprocessor::new(settings.clone())
            .unwrap()
            .prepare(frame, &mut out)
            .unwrap();
        out
    }

    fn assert_near(found: f32, expected: f64, tolerance: f64) {
        assert!(
            (f64::from(found) - expected).abs() <= tolerance,
            "found {found}, expected {expected}"
        );
    }

    #[test]
    fn constant_pictures_stay_constant() {
        for filter in FILTERS {
            for (width, height) in [(640, 480), (3, 7), (61, 17)] {
                for colour in [Colour::Grey, Colour::Rgb] {
                    let count = (width * height) as usize;
                    let grey = frame8(width, height, PixelFormat::Gray8, vec![77; count]);
                    let rgb = frame8(width, height, PixelFormat::Rgb8, vec![77; 3 * count]);
                    for frame in [grey, rgb] {
                        for value in prepare(&settings(20, 30, colour, filter), &frame) {
                            assert_near(value, 77.0 / 255.0, 1e-6);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn area_is_the_mean_of_blocks() {
        let samples = random_bytes(60 * 40, 1);
        let frame = frame8(60, 40, PixelFormat::Gray8, samples.clone());
        let out = prepare(&settings(20, 10, Colour::Grey, ResizeFilter::Area), &frame);
        for y in 0..10 {
            for x in 0..20 {
                let block = (0..4).flat_map(|dy| (0..3).map(move |dx| (dx, dy)));
                let sum: u32 = block
                    .map(|(dx, dy)| u32::from(samples[(4 * y + dy) * 60 + 3 * x + dx]))
                    .sum();
                assert_near(out[y * 20 + x], f64::from(sum) / 12.0 / 255.0, 1e-7);
            }
        }
    }

    #[test]
    fn edges_stay_where_they_are() {
        let samples: Vec<u8> = (0..100 * 50)
            .map(|i| if i % 100 < 50 { 0 } else { 255 })
            .collect();
        let frame = frame8(100, 50, PixelFormat::Gray8, samples);
        for filter in FILTERS {
            let out = prepare(&settings(10, 5, Colour::Grey, filter), &frame);
            for row in out.chunks(10) {
                // antisymmetric about the edge, and beyond the filter's reach black and white
                for x in 0..5 {
                    assert_near(row[x] + row[9 - x], 1.0, 1e-6);
                }
                assert_near(row[0], 0.0, 0.01);
                assert!(row[4] < 0.2, "{filter:?}: {row:?}");
            }
        }
        let out = prepare(&settings(10, 5, Colour::Grey, ResizeFilter::Area), &frame);
        assert_eq!(
            out[..10],
            [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        );
    }

    #[test]
    fn bilinear_widens_when_shrinking() {
        // Triangle filter of a halving: weights 1, 3, 3, 1 over 8 in the middle; at the edge the
        // first is missing.
        let frame = frame8(4, 1, PixelFormat::Gray8, vec![10, 20, 60, 200]);
        let out = prepare(
            &settings(2, 1, Colour::Grey, ResizeFilter::Bilinear),
            &frame,
        );
        assert_near(out[0], (3.0 * 10.0 + 3.0 * 20.0 + 60.0) / 7.0 / 255.0, 1e-7);
        assert_near(
            out[1],
            (20.0 + 3.0 * 60.0 + 3.0 * 200.0) / 7.0 / 255.0,
            1e-7,
        );
    }

    #[test]
    fn grey_is_luma_and_rgb_keeps_its_channels() {
        let frame = frame8(1, 1, PixelFormat::Rgb8, vec![200, 100, 50]);
        let grey = prepare(&settings(1, 1, Colour::Grey, ResizeFilter::Area), &frame);
        assert_near(
            grey[0],
            (0.299 * 200.0 + 0.587 * 100.0 + 0.114 * 50.0) / 255.0,
            1e-7,
        );
        let rgb = prepare(&settings(2, 1, Colour::Rgb, ResizeFilter::Area), &frame);
        let expected = [200.0, 200.0, 100.0, 100.0, 50.0, 50.0].map(|v: f32| v / 255.0);
        assert_eq!(rgb, expected);
        let frame = frame8(1, 1, PixelFormat::Gray8, vec![51]);
        let rgb = prepare(&settings(1, 1, Colour::Rgb, ResizeFilter::Area), &frame);
        assert_eq!(rgb, [0.2; 3]);
    }

    #[test]
    fn eight_and_sixteen_bits_agree() {
        let samples = random_bytes(33 * 21 * 3, 2);
        let wide: Vec<u16> = samples.iter().map(|&v| u16::from(v) * 257).collect();
        for (format8, format16, count) in [
            (PixelFormat::Gray8, PixelFormat::Gray16, 33 * 21),
            (PixelFormat::Rgb8, PixelFormat::Rgb16, 33 * 21 * 3),
        ] {
            let frame = frame8(33, 21, format8, samples[..count].to_vec());
            let frame16 =
                Frame::from_u16(33, 21, format16, wide[..count].to_vec(), "test").unwrap();
            for denoise in [
                None,
                Some(Denoise::Median { radius: 1 }),
                Some(Denoise::Gaussian { sigma: 0.8 }),
            ] {
                for colour in [Colour::Grey, Colour::Rgb] {
                    let settings = PreprocessSettings {
                        denoise,
                        ..settings(16, 16, colour, ResizeFilter::Cubic)
                    };
                    let narrow = prepare(&settings, &frame);
                    for (a, b) in narrow.iter().zip(prepare(&settings, &frame16)) {
                        assert_near(*a, f64::from(b), 1.0 / 65535.0);
                    }
                }
            }
        }
    }

    #[test]
    fn grey_levels_between_eight_bits_survive() {
        // The mean of 100 and 101 must not be rounded to either.
        let frame = frame8(2, 1, PixelFormat::Gray8, vec![100, 101]);
        let out = prepare(&settings(1, 1, Colour::Grey, ResizeFilter::Area), &frame);
        assert_near(out[0], 100.5 / 255.0, 1e-7);
    }

    #[test]
    fn crops_are_fractions() {
        let samples: Vec<u8> = (0..20 * 10).map(|i| (i % 20 * 10 + i / 20) as u8).collect();
        let frame = frame8(20, 10, PixelFormat::Gray8, samples);
        let settings = PreprocessSettings {
            crop: Some(Crop {
                left: 0.25,
                top: 0.3,
                right: 0.75,
                bottom: 0.5,
            }),
            ..settings(10, 2, Colour::Grey, ResizeFilter::Area)
        };
        let mut out = vec![0.0; 20];
        let geometry = Preprocessor::new(settings)
            .unwrap()
            .prepare(&frame, &mut out)
            .unwrap();
        let region = PixelRect {
            x: 5,
            y: 3,
            width: 10,
            height: 2,
        };
        assert_eq!(geometry.region, region);
        assert_eq!((geometry.frame_width, geometry.frame_height), (20, 10));
        for y in 0..2 {
            for x in 0..10 {
                let expected = ((x + 5) * 10 + y + 3) as f32 / 255.0;
                assert_eq!(out[y * 10 + x], expected);
            }
        }
    }

    #[test]
    fn normalisation_and_back() {
        let frame = frame8(2, 1, PixelFormat::Rgb8, vec![0, 128, 255, 7, 200, 31]);
        let settings = PreprocessSettings {
            normalise: Normalise {
                mean: vec![0.485, 0.456, 0.406],
                std: vec![0.229, 0.224, 0.225],
            },
            ..settings(2, 1, Colour::Rgb, ResizeFilter::Area)
        };
        let tensor = prepare(&settings, &frame);
        assert_near(tensor[0], (0.0 - 0.485) / 0.229, 1e-6);
        assert_near(tensor[3], (200.0 / 255.0 - 0.456) / 0.224, 1e-6);
        let picture = denormalise(&settings, &tensor).unwrap();
        assert_eq!(picture.into_rgb8().into_raw(), [0, 128, 255, 7, 200, 31]);

        let grey = self::settings(4, 1, Colour::Grey, ResizeFilter::Area);
        let picture = denormalise(&grey, &[-1.0, f32::NAN, 0.5, f32::INFINITY]).unwrap();
        assert_eq!(picture.into_luma8().into_raw(), [0, 0, 128, 255]);
        assert!(denormalise(&grey, &[0.0; 3]).is_err());
    }

    #[test]
    fn one_preprocessor_serves_frames_of_all_sizes() {
        let mut random = rand_pcg::Pcg64::seed_from_u64(3);
        for filter in FILTERS {
            for colour in [Colour::Grey, Colour::Rgb] {
                let settings = PreprocessSettings {
                    crop: Some(Crop {
                        left: 0.4,
                        top: 0.0,
                        right: 0.6,
                        bottom: 0.999,
                    }),
                    ..settings(28, 17, colour, filter)
                };
                let mut preprocessor = Preprocessor::new(settings.clone()).unwrap();
                let mut sizes = vec![(1, 1), (4000, 3), (3, 4000), (1, 500), (28, 17), (2, 2)];
                sizes.extend(
                    (0..10).map(|_| (random.random_range(1..200), random.random_range(1..200))),
                );
                for (width, height) in sizes {
                    let samples = random_bytes((width * height * 3) as usize, 4);
                    let frame = frame8(width, height, PixelFormat::Rgb8, samples);
                    let mut out = vec![f32::NAN; settings.shape().iter().product()];
                    let geometry = preprocessor.prepare(&frame, &mut out).unwrap();
                    assert!(out.iter().all(|v| (-0.5..1.5).contains(v)));
                    assert_eq!(out, prepare(&settings, &frame), "{width}×{height}");
                    let PixelRect {
                        x,
                        y,
                        width: w,
                        height: h,
                    } = geometry.region;
                    assert!(w >= 1 && h >= 1 && x + w <= width && y + h <= height);
                }
            }
        }
    }

    #[test]
    fn impossible_settings_are_refused() {
        let good = settings(8, 8, Colour::Grey, ResizeFilter::Area);
        type Spoil = fn(&mut PreprocessSettings);
        let crop = |left, right| Crop {
            left,
            top: 0.0,
            right,
            bottom: 1.0,
        };
        let crops = [
            crop(f64::NAN, 1.0),
            crop(0.5, 0.5),
            crop(0.6, 0.5),
            crop(-0.1, 0.5),
            crop(0.0, 1.1),
        ];
        for crop in crops {
            let settings = PreprocessSettings {
                crop: Some(crop),
                ..good.clone()
            };
            let error = Preprocessor::new(settings).unwrap_err().to_string();
            assert!(error.contains("crop has left"), "{error}");
        }
        let spoils: [(Spoil, &str); 12] = [
            (|s| s.width = 0, "width is 0"),
            (|s| s.height = 0, "height is 0"),
            (|s| s.width = 100_000, "width is 100000"),
            (|s| s.colour = Colour::Rgb, "colour asks for 3"),
            (|s| s.normalise.mean = vec![], "mean has 0 values"),
            (|s| s.normalise.mean = vec![f32::NAN], "mean has NaN"),
            (|s| s.normalise.std = vec![0.0], "std has 0"),
            (|s| s.normalise.std = vec![f32::INFINITY], "std has inf"),
            (|s| s.normalise.std = vec![-1.0], "std has -1"),
            (
                |s| s.denoise = Some(Denoise::Median { radius: 0 }),
                "radius is 0",
            ),
            (
                |s| s.denoise = Some(Denoise::Median { radius: 17 }),
                "radius is 17",
            ),
            (
                |s| s.denoise = Some(Denoise::Gaussian { sigma: f32::NAN }),
                "sigma is NaN",
            ),
        ];
        for (spoil, expected) in spoils {
            let mut settings = good.clone();
            spoil(&mut settings);
            let error = Preprocessor::new(settings).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let frame = frame8(1, 1, PixelFormat::Gray8, vec![0]);
        let mut preprocessor = Preprocessor::new(good).unwrap();
        for length in [0, 63, 65] {
            assert!(
                preprocessor
                    .prepare(&frame, &mut vec![0.0; length])
                    .is_err()
            );
        }
    }
}
