//! Procedural frames of a machined surface, with and without defects, as a camera would see them.
//!
//! [`surface_frame`] draws one frame, [`write_dataset`] a whole data set in MVTec AD layout, and
//! [`glyph`] a handwritten-looking digit. Nothing is read and nothing but integer arithmetic and
//! the exact operations of IEEE 754 is used, so the same numbers give the same bits on every
//! processor.

mod dataset;
mod defect;
mod glyph;
mod noise;
mod surface;

use image::GrayImage;

pub use dataset::{DatasetCounts, write_dataset};
pub use defect::DefectKind;
pub use glyph::glyph;

use defect::Defect;
use noise::Draw;
use surface::{Surface, Touch, blur, expose};

/// A pixel belongs to a defect's mask if the defect changed it by more than this many grey levels
/// of 255, before sensor noise and rounding: about twice the deviation of the noise.
pub const MASK_DIFFERENCE: f32 = 4.0;

/// Fewest pixels of a mask, as a share of the frame's pixels: 6 pixels of 256×256.
const SMALLEST_MASK: f32 = 1e-4;

/// Which frames have a defect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Defects {
    /// None.
    Never,
    /// Each with this probability, of a kind drawn by lot; as a live line would show.
    Rate(f64),
    /// All, of this kind.
    Always(DefectKind),
}

/// What the frames show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SurfaceSettings {
    /// Width, pixels, 16–16384; 256 by default.
    pub width: u32,
    /// Height, pixels, 16–16384; 256 by default. The shorter side always shows the same length of
    /// metal.
    pub height: u32,
    /// Which part is seen: direction, pitch and curvature of its tool marks, its tone and its
    /// light are drawn from this number. 1 by default. Frames of one part are one kind of normal,
    /// whatever their seed.
    pub part: u64,
    /// Which frames have a defect; none by default.
    pub defects: Defects,
}

impl Default for SurfaceSettings {
    fn default() -> Self {
        Self {
            width: 256,
            height: 256,
            part: 1,
            defects: Defects::Never,
        }
    }
}

impl SurfaceSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`SynthError::Settings`] names the setting out of range.
    pub fn check(&self) -> Result<(), SynthError> {
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if !(16..=16_384).contains(&side) {
                return Err(SynthError::Settings(format!(
                    "{name} is {side}: choose 16 to 16384 pixels"
                )));
            }
        }
        if let Defects::Rate(rate) = self.defects
            && !(0.0..=1.0).contains(&rate)
        {
            return Err(SynthError::Settings(format!(
                "the rate of defects is {rate}: choose a probability from 0 to 1"
            )));
        }
        Ok(())
    }
}

/// One drawn frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurfaceFrame {
    /// The picture, 8-bit grey.
    pub picture: GrayImage,
    /// 255 where the defect changed the light by more than [`MASK_DIFFERENCE`], else 0; `None`
    /// for a frame without defect.
    pub mask: Option<GrayImage>,
    /// The kind of defect ([`DefectKind::name`]), or `good`.
    pub kind: &'static str,
}

/// Why frames could not be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// A setting is out of range.
    #[error("procedural frames: {0}")]
    Settings(String),
    /// A character for which there are no strokes.
    #[error("glyph {character:?}: only the digits 0 to 9 can be drawn")]
    Glyph {
        /// The character asked for.
        character: char,
    },
    /// The target folder is in use.
    #[error(
        "{path}: the folder is not empty; choose another one or remove it first",
        path = path.display()
    )]
    NotEmpty {
        /// The folder.
        path: std::path::PathBuf,
    },
    /// The target is a file.
    #[error(
        "{path}: there is a file in the place of the folder; choose another name",
        path = path.display()
    )]
    NotAFolder {
        /// The file.
        path: std::path::PathBuf,
    },
    /// A file or folder could not be written.
    #[error("{path}: cannot write: {source}", path = path.display())]
    Write {
        /// The file or folder.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Draws frame `index` of the sequence `seed`. The same arguments give the same bits.
///
/// # Errors
/// [`SynthError::Settings`] if the settings are out of range.
pub fn surface_frame(
    seed: u64,
    index: u64,
    settings: &SurfaceSettings,
) -> Result<SurfaceFrame, SynthError> {
    settings.check()?;
    let chosen = match settings.defects {
        Defects::Never | Defects::Rate(_) => 0,
        Defects::Always(kind) => 1 + kind as u64,
    };
    let mut draw = Draw::new(&[seed, index, settings.part, chosen]);
    let kind = match settings.defects {
        Defects::Never => None,
        Defects::Always(kind) => Some(kind),
        Defects::Rate(rate) => {
            let defective = f64::from(draw.unit()) < rate;
            let kind = DefectKind::ALL[draw.count(0, DefectKind::ALL.len() as u32 - 1) as usize];
            defective.then_some(kind)
        }
    };
    let surface = Surface::new(settings.part, &mut draw);
    let view = View::new(settings);

    let mut intact = vec![0.0; view.width * view.height];
    view.render(&mut intact, &surface, None);
    let plain = kind.map(|kind| (kind, intact.clone()));
    view.finish(&mut intact, &surface);

    let Some((kind, plain)) = plain else {
        return Ok(SurfaceFrame {
            picture: view.picture(expose(&intact, &mut draw)),
            mask: None,
            kind: "good",
        });
    };
    let smallest = (SMALLEST_MASK * intact.len() as f32).ceil() as usize;
    let mut emphasis = 1.0;
    loop {
        let defect = Defect::new(kind, &surface, view.half, view.pixel, emphasis, &mut draw);
        let mut light = plain.clone();
        view.render(&mut light, &surface, Some(&defect));
        view.finish(&mut light, &surface);
        let mask: Vec<u8> = intact
            .iter()
            .zip(&light)
            .map(|(a, b)| {
                let change = (b.clamp(0.0, 255.0) - a.clamp(0.0, 255.0)).abs();
                if change > MASK_DIFFERENCE { 255 } else { 0 }
            })
            .collect();
        // Too faint or out of the frame: another one, a little stronger. The last resort of the
        // smallest frames is that any mask will do.
        let pixels = mask.iter().filter(|&&m| m > 0).count();
        if pixels >= smallest.max(1) || (emphasis > 1e3 && pixels > 0) {
            return Ok(SurfaceFrame {
                picture: view.picture(expose(&light, &mut draw)),
                mask: Some(view.picture(mask)),
                kind: kind.name(),
            });
        }
        emphasis *= 1.15;
    }
}

/// The frame's geometry.
struct View {
    width: usize,
    height: usize,
    /// Size of a pixel in units of the surface: 256 units are the shorter side.
    pixel: f32,
    /// Half the frame, units.
    half: [f32; 2],
}

impl View {
    fn new(settings: &SurfaceSettings) -> Self {
        let pixel = 256.0 / settings.width.min(settings.height) as f32;
        Self {
            width: settings.width as usize,
            height: settings.height as usize,
            pixel,
            half: [
                0.5 * pixel * settings.width as f32,
                0.5 * pixel * settings.height as f32,
            ],
        }
    }

    /// Middle of a pixel, units from the frame's middle.
    fn point(&self, x: usize, y: usize) -> [f32; 2] {
        [
            (x as f32 + 0.5) * self.pixel - self.half[0],
            (y as f32 + 0.5) * self.pixel - self.half[1],
        ]
    }

    /// The light of every pixel without defect, or of those that a defect reaches.
    fn render(&self, light: &mut [f32], surface: &Surface, defect: Option<&Defect>) {
        let mut grain = surface.grain();
        let (half, pixel) = (self.half, self.pixel);
        let Some(defect) = defect else {
            for (y, row) in light.chunks_exact_mut(self.width).enumerate() {
                for (x, value) in row.iter_mut().enumerate() {
                    let point = self.point(x, y);
                    *value = surface.value(point, half, pixel, &Touch::NONE, &mut grain);
                }
            }
            return;
        };
        let reached = |axis: usize, size: usize| {
            let middle = defect.centre()[axis] + self.half[axis];
            // `as` saturates at 0.
            let from = ((middle - defect.reach) / self.pixel) as usize;
            let to = ((middle + defect.reach) / self.pixel) as usize + 1;
            from.min(size)..to.min(size)
        };
        for y in reached(1, self.height) {
            for x in reached(0, self.width) {
                let point = self.point(x, y);
                let touch = self.touch(defect, point);
                if touch != Touch::NONE {
                    light[y * self.width + x] =
                        surface.value(point, half, pixel, &touch, &mut grain);
                }
            }
        }
    }

    /// The mean of the defect's touch over four points of a pixel, so that thin lines are not
    /// broken into steps.
    fn touch(&self, defect: &Defect, [x, y]: [f32; 2]) -> Touch {
        let quarter = 0.25 * self.pixel;
        let touches = [
            defect.at([x - quarter, y - quarter]),
            defect.at([x + quarter, y - quarter]),
            defect.at([x - quarter, y + quarter]),
            defect.at([x + quarter, y + quarter]),
        ];
        let mean = |part: fn(&Touch) -> f32| 0.25 * touches.iter().map(part).sum::<f32>();
        Touch {
            shift: [mean(|t| t.shift[0]), mean(|t| t.shift[1])],
            gain: mean(|t| t.gain),
            glint: mean(|t| t.glint),
            texture: mean(|t| t.texture),
        }
    }

    /// Hairlines and the lens.
    fn finish(&self, light: &mut [f32], surface: &Surface) {
        surface.add_hairlines(light, [self.width, self.height], self.half, self.pixel);
        blur(light, self.width, surface.blur());
    }

    fn picture(&self, samples: Vec<u8>) -> GrayImage {
        GrayImage::from_raw(self.width as u32, self.height as u32, samples)
            .expect("one sample a pixel of the same size")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(side: u32, defects: Defects) -> SurfaceSettings {
        SurfaceSettings {
            width: side,
            height: side,
            defects,
            ..SurfaceSettings::default()
        }
    }

    /// FNV-1a.
    fn fingerprint(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &b| {
            (hash ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    #[test]
    fn same_numbers_same_bits_on_every_machine() {
        let dent = settings(64, Defects::Always(DefectKind::Dent));
        let frame = surface_frame(7, 3, &dent).unwrap();
        assert_eq!(frame, surface_frame(7, 3, &dent).unwrap());
        let bytes = [
            frame.picture.as_raw().as_slice(),
            frame.mask.as_ref().unwrap().as_raw(),
        ]
        .concat();
        // A change here changes every data set and asks for a new shipped model.
        assert_eq!(fingerprint(&bytes), 12_276_702_114_689_493_504);
        for (seed, index) in [(8, 3), (7, 4)] {
            assert_ne!(frame, surface_frame(seed, index, &dent).unwrap());
        }
    }

    #[test]
    fn mask_is_where_the_picture_differs() {
        for kind in DefectKind::ALL {
            for index in 0..6 {
                let settings = settings(128, Defects::Always(kind));
                let frame = surface_frame(11, index, &settings).unwrap();
                assert_eq!(frame.kind, kind.name());
                let mask = frame.mask.unwrap();

                // The same metal without defect and without noise.
                let mut draw = Draw::new(&[11, index, settings.part, 1 + kind as u64]);
                let surface = Surface::new(settings.part, &mut draw);
                let view = View::new(&settings);
                let mut intact = vec![0.0; 128 * 128];
                view.render(&mut intact, &surface, None);
                view.finish(&mut intact, &surface);

                let (mut inside, mut count) = (0.0, 0.0);
                for ((seen, mask), light) in frame.picture.pixels().zip(mask.pixels()).zip(&intact)
                {
                    let difference = (f32::from(seen.0[0]) - light).abs();
                    let noise = (1.21 + 0.0255 * light).sqrt();
                    match mask.0[0] {
                        // No sample of the noise exceeds 3.47 deviations; half a level is rounding.
                        0 => assert!(
                            difference <= MASK_DIFFERENCE + 3.6 * noise + 0.5,
                            "{kind:?} {index}: {difference} outside the mask"
                        ),
                        255 => {
                            inside += difference;
                            count += 1.0;
                        }
                        other => panic!("mask value {other}"),
                    }
                }
                assert!(inside / count > MASK_DIFFERENCE, "{kind:?} {index}");
                assert!((2.0..0.35 * 16_384.0).contains(&count), "{kind:?}: {count}");
            }
        }
    }

    /// The light of one pixel with and without defect, noise and blur aside, decides whether it is
    /// in the mask: compared by brute force over the whole frame, not only the defect's reach.
    #[test]
    fn rendering_only_the_reach_misses_nothing() {
        let settings = settings(96, Defects::Never);
        let view = View::new(&settings);
        for (index, kind) in DefectKind::ALL.into_iter().enumerate() {
            let mut draw = Draw::new(&[21, index as u64]);
            let surface = Surface::new(1, &mut draw);
            let defect = Defect::new(kind, &surface, view.half, view.pixel, 1.0, &mut draw);
            let mut light = vec![0.0; 96 * 96];
            view.render(&mut light, &surface, None);
            let intact = light.clone();
            view.render(&mut light, &surface, Some(&defect));
            for y in 0..96 {
                for x in 0..96 {
                    let point = view.point(x, y);
                    let touch = view.touch(&defect, point);
                    let mut grain = surface.grain();
                    let expected = surface.value(point, view.half, view.pixel, &touch, &mut grain);
                    let found = light[y * 96 + x];
                    assert!((found - expected).abs() < 1e-3, "{kind:?} {x},{y}");
                    if touch == Touch::NONE {
                        assert_eq!(found, intact[y * 96 + x]);
                    }
                }
            }
        }
    }

    #[test]
    fn frames_are_exposed_like_a_camera_would() {
        for part in 1..5 {
            for index in 0..4 {
                let settings = SurfaceSettings {
                    part,
                    ..settings(128, Defects::Rate(0.5))
                };
                let picture = surface_frame(2, index, &settings).unwrap().picture;
                let values: Vec<f64> = picture.pixels().map(|p| f64::from(p.0[0])).collect();
                let count = values.len() as f64;
                let mean = values.iter().sum::<f64>() / count;
                let deviation =
                    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
                let clipped =
                    values.iter().filter(|&&v| v <= 0.0 || v >= 255.0).count() as f64 / count;
                assert!((80.0..170.0).contains(&mean), "mean {mean}");
                assert!((6.0..30.0).contains(&deviation), "deviation {deviation}");
                assert!(clipped < 0.02, "clipped {clipped}");
            }
        }
    }

    #[test]
    fn a_rate_of_defects_shows_all_kinds() {
        let settings = settings(32, Defects::Rate(0.5));
        let kinds: Vec<&str> = (0..150)
            .map(|index| surface_frame(4, index, &settings).unwrap().kind)
            .collect();
        for kind in DefectKind::ALL {
            assert!(kinds.contains(&kind.name()), "{kind:?}");
        }
        let good = kinds.iter().filter(|&&kind| kind == "good").count();
        // 75 ± 4.9 deviations of a fair coin.
        assert!((45..=105).contains(&good), "{good}");
    }

    #[test]
    fn odd_sizes_are_drawn_and_impossible_ones_refused() {
        for (width, height) in [(16, 16), (16, 300), (333, 17)] {
            for kind in DefectKind::ALL {
                let settings = SurfaceSettings {
                    width,
                    height,
                    part: 2,
                    defects: Defects::Always(kind),
                };
                let frame = surface_frame(1, 1, &settings).unwrap();
                assert_eq!(frame.picture.dimensions(), (width, height));
                assert!(frame.mask.unwrap().pixels().any(|p| p.0[0] == 255));
            }
        }
        let error = surface_frame(1, 1, &settings(0, Defects::Never)).unwrap_err();
        assert!(error.to_string().contains("width is 0"), "{error}");
        assert!(surface_frame(1, 1, &settings(64, Defects::Rate(f64::NAN))).is_err());
    }
}
