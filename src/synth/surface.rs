//! The surface and the camera: tool marks, brushed texture, light, blur and sensor noise.
//!
//! Lengths are in units of 1/256 of the frame's shorter side, so that a larger frame shows the
//! same piece of metal more finely. Light is in 8-bit grey levels, linear, before noise.

use super::noise::{Draw, Noise2, noise1};

/// What a defect does to one point of the surface.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Touch {
    /// Where the texture is taken from, relative to the point: a bent surface shifts its marks.
    pub(super) shift: [f32; 2],
    /// Factor of the reflected light.
    pub(super) gain: f32,
    /// Light added, as a share of the surface's mean light there.
    pub(super) glint: f32,
    /// Share of the texture that is left.
    pub(super) texture: f32,
}

impl Touch {
    /// An intact point.
    pub(super) const NONE: Self = Self {
        shift: [0.0; 2],
        gain: 1.0,
        glint: 0.0,
        texture: 1.0,
    };
}

/// One octave of the brushed texture.
struct Octave {
    /// Across the lay, units.
    width: f32,
    /// Along the lay, units.
    length: f32,
    amplitude: f32,
}

/// From the hairlines of the abrasive to the slow mottling of the sheet.
const OCTAVES: [Octave; 5] = [
    Octave {
        width: 0.9,
        length: 24.0,
        amplitude: 0.085,
    },
    Octave {
        width: 1.8,
        length: 56.0,
        amplitude: 0.075,
    },
    Octave {
        width: 3.9,
        length: 110.0,
        amplitude: 0.05,
    },
    Octave {
        width: 9.0,
        length: 180.0,
        amplitude: 0.035,
    },
    Octave {
        width: 46.0,
        length: 64.0,
        amplitude: 0.03,
    },
];

/// What all frames of one part share: how it was machined, and how light and camera stand.
struct Part {
    /// Unit vector along the lay.
    lay: [f32; 2],
    /// Radius of the cutter's path, units: the marks are arcs of it.
    radius: f32,
    /// Distance of tool marks, units.
    pitch: f32,
    mark_depth: f32,
    /// Mean grey level in the middle of the frame.
    tone: f32,
    /// Change of the light from the middle to an edge, horizontally and vertically.
    gradient: [f32; 2],
    /// Loss of light in the corners.
    vignetting: f32,
    /// Middle of the specular band, as a share of the half side, and its direction across.
    band_offset: f32,
    band_across: [f32; 2],
    band_light: f32,
    /// Unit vector towards the light, in the plane.
    light: [f32; 2],
}

impl Part {
    fn new(part: u64) -> Self {
        let mut draw = Draw::new(&[0x7061_7274, part]);
        // tan of half the angle between lay and horizontal: ±12°.
        let lay = rotation(draw.between(-0.1, 0.1));
        let bend = draw.between(-0.5, 0.5);
        Self {
            lay,
            radius: draw.between(420.0, 760.0),
            pitch: draw.between(8.5, 13.0),
            mark_depth: draw.between(0.045, 0.065),
            tone: draw.between(104.0, 122.0),
            gradient: [draw.between(-0.1, 0.1), draw.between(-0.08, 0.08)],
            vignetting: draw.between(0.09, 0.14),
            band_offset: draw.between(-0.35, 0.35),
            band_across: rotation(bend),
            band_light: draw.between(0.2, 0.32),
            light: {
                let [x, y] = [draw.between(-1.0, -0.4), draw.between(-1.0, -0.5)];
                let length = (x * x + y * y).sqrt();
                [x / length, y / length]
            },
        }
    }
}

/// (cos φ, sin φ) of the angle with tan(φ/2) = `half_tangent`.
fn rotation(half_tangent: f32) -> [f32; 2] {
    let square = half_tangent * half_tangent;
    [
        (1.0 - square) / (1.0 + square),
        2.0 * half_tangent / (1.0 + square),
    ]
}

/// One hairline left by a stray grain: along the lay, hardly turned.
struct Hairline {
    start: [f32; 2],
    slope: f32,
    length: f32,
    amplitude: f32,
}

/// The noise fields of a surface's texture.
pub(super) struct Grain {
    octaves: [Noise2; OCTAVES.len()],
    wander: Noise2,
    pressure: Noise2,
}

/// One frame's view of the part.
pub(super) struct Surface {
    part: Part,
    lay: [f32; 2],
    /// Units of surface per unit of the frame: small changes of the distance to the camera.
    scale: f32,
    offset: [f32; 2],
    exposure: f32,
    seeds: [u32; 8],
    /// Outer weight of the 3-tap blur kernel (w, 1 − 2w, w).
    blur: f32,
    hairlines: Vec<Hairline>,
}

impl Surface {
    /// The view that belongs to the stream.
    pub(super) fn new(part: u64, draw: &mut Draw) -> Self {
        let part = Part::new(part);
        // ±1.4° between frames.
        let [c, s] = rotation(draw.between(-0.012, 0.012));
        let lay = [
            part.lay[0] * c - part.lay[1] * s,
            part.lay[1] * c + part.lay[0] * s,
        ];
        let hairlines = (0..draw.count(14, 30))
            .map(|_| Hairline {
                start: [draw.between(-190.0, 130.0), draw.between(-185.0, 185.0)],
                slope: draw.between(-0.025, 0.025),
                length: draw.between(15.0, 110.0),
                amplitude: draw.between(-0.09, 0.11),
            })
            .collect();
        Self {
            lay,
            scale: draw.between(0.985, 1.015),
            offset: [draw.between(-900.0, 900.0), draw.between(-12.0, 12.0)],
            exposure: draw.between(0.94, 1.06),
            seeds: std::array::from_fn(|_| draw.seed()),
            blur: draw.between(0.10, 0.2),
            hairlines,
            part,
        }
    }

    /// The noise of this surface's texture, for one walk over the frame.
    pub(super) fn grain(&self) -> Grain {
        Grain {
            octaves: std::array::from_fn(|k| Noise2::new(self.seeds[k])),
            wander: Noise2::new(self.seeds[6]),
            pressure: Noise2::new(self.seeds[7]),
        }
    }

    /// Unit vector towards the light, in the plane.
    pub(super) fn light(&self) -> [f32; 2] {
        self.part.light
    }

    /// Unit vector along the tool marks in the middle of the frame.
    pub(super) fn lay(&self) -> [f32; 2] {
        self.lay
    }

    /// Outer weight of the blur kernel.
    pub(super) fn blur(&self) -> f32 {
        self.blur
    }

    /// Along and across the tool marks.
    fn along_across(&self, point: [f32; 2]) -> [f32; 2] {
        let [x, y] = [point[0] * self.scale, point[1] * self.scale];
        let along = x * self.lay[0] + y * self.lay[1];
        let below = y * self.lay[0] - x * self.lay[1] + self.part.radius;
        [
            along,
            (along * along + below * below).sqrt() - self.part.radius,
        ]
    }

    /// Relative deviation of the reflectance from its mean. `pixel` is the size of a pixel in
    /// units: detail below it is left out, as the camera's lens would.
    fn texture(&self, point: [f32; 2], pixel: f32, grain: &mut Grain) -> f32 {
        let [along, across] = self.along_across(point);
        let mut sum = 0.0;
        for (octave, noise) in OCTAVES.iter().zip(&mut grain.octaves) {
            let visible = (2.0 * octave.width / pixel - 0.6).clamp(0.0, 1.0);
            if visible > 0.0 {
                let u = (along + self.offset[0]) / octave.length;
                sum += visible * octave.amplitude * noise.at(u, across / octave.width);
            }
        }
        if self.part.pitch > 2.0 * pixel {
            let position = (across + self.offset[1]) / self.part.pitch;
            let wander = 0.3 * noise1(position * 0.31 + 40.0, self.seeds[5])
                + 0.12 * grain.wander.at(along / 90.0, position * 0.5);
            let phase = position + wander;
            let phase = phase - phase.floor();
            // A round-nosed tool leaves parabolic grooves, steeper on the side it leaves.
            let groove = if phase < 0.62 {
                let t = phase / 0.62;
                1.0 - t * t
            } else {
                let t = (1.0 - phase) / 0.38;
                1.0 - t * t
            };
            let pressure = 0.75 + 0.35 * grain.pressure.at(along / 130.0, position * 0.7);
            sum += self.part.mark_depth * pressure * (2.0 * groove - 1.33);
        }
        sum
    }

    /// Mean light at a point, exposure included, grey levels. `half` is half the frame, units.
    fn light_at(&self, point: [f32; 2], half: [f32; 2]) -> f32 {
        let (x, y) = (point[0] / half[0], point[1] / half[1]);
        let part = &self.part;
        let across = x * part.band_across[0] + y * part.band_across[1] - part.band_offset;
        let band = part.band_light / (1.0 + 6.0 * across * across);
        let falloff = 1.0 - part.vignetting * (x * x + y * y);
        let slope = 1.0 + part.gradient[0] * x + part.gradient[1] * y;
        part.tone * self.exposure * (slope * falloff + band)
    }

    /// Light of one point with what a defect did to it.
    pub(super) fn value(
        &self,
        point: [f32; 2],
        half: [f32; 2],
        pixel: f32,
        touch: &Touch,
        grain: &mut Grain,
    ) -> f32 {
        let light = self.light_at(point, half);
        let from = [point[0] + touch.shift[0], point[1] + touch.shift[1]];
        let texture = touch.texture * self.texture(from, pixel, grain);
        light * ((1.0 + texture) * touch.gain + touch.glint)
    }

    /// Adds the hairlines to a picture of `width × height`; `pixel` is the size of a pixel in
    /// units, `half` half the frame in units.
    pub(super) fn add_hairlines(
        &self,
        picture: &mut [f32],
        [width, height]: [usize; 2],
        half: [f32; 2],
        pixel: f32,
    ) {
        for line in &self.hairlines {
            let steps = (line.length / pixel) as usize;
            for step in 0..steps {
                let t = step as f32 / steps as f32;
                let along = line.start[0] + t * line.length;
                let across = line.start[1] + t * line.length * line.slope;
                let x = along * self.lay[0] - across * self.lay[1] + half[0];
                let y = along * self.lay[1] + across * self.lay[0] + half[1];
                // Half a pixel: pixel centres.
                let (x, y) = (x / pixel, y / pixel - 0.5);
                if x < 0.0 || y < 0.0 {
                    continue;
                }
                let (column, row, below) = (x as usize, y as usize, y - y.floor());
                let strength = line.amplitude * (4.0 * t * (1.0 - t));
                for (row, weight) in [(row, 1.0 - below), (row + 1, below)] {
                    if column < width && row < height {
                        picture[row * width + column] *= 1.0 + strength * weight;
                    }
                }
            }
        }
    }
}

/// Blurs a picture by the kernel (w, 1 − 2w, w) in both directions; edges repeat.
pub(super) fn blur(picture: &mut [f32], width: usize, weight: f32) {
    let height = picture.len() / width;
    for row in picture.chunks_exact_mut(width) {
        let mut before = row[0];
        for x in 0..width {
            let here = row[x];
            let after = if x + 1 < width { row[x + 1] } else { here };
            row[x] = here + weight * (before + after - 2.0 * here);
            before = here;
        }
    }
    let mut before = picture[..width].to_vec();
    for y in 0..height {
        for x in 0..width {
            let here = picture[y * width + x];
            let after = if y + 1 < height {
                picture[(y + 1) * width + x]
            } else {
                here
            };
            picture[y * width + x] = here + weight * (before[x] + after - 2.0 * here);
            before[x] = here;
        }
    }
}

/// What the sensor makes of light: shot noise that grows with the light, read noise, and 8 bits.
/// `light` is in grey levels.
pub(super) fn expose(light: &[f32], draw: &mut Draw) -> Vec<u8> {
    /// Read noise, grey levels.
    const READ: f32 = 1.1;
    /// Variance of the shot noise a grey level: a sensor filling 10,000 electrons at level 255.
    const SHOT: f32 = 0.0255;
    light
        .iter()
        .map(|&value| {
            let deviation = (READ * READ + SHOT * value.max(0.0)).sqrt();
            // `as` saturates: what is too bright is clipped, as a sensor does.
            (value + deviation * draw.normal() + 0.5) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blur_keeps_the_mean_and_matches_the_kernel() {
        let mut picture = vec![0.0; 25];
        picture[12] = 1.0;
        blur(&mut picture, 5, 0.25);
        // Outer product of (¼, ½, ¼) with itself.
        assert_eq!(picture[12], 0.25);
        assert_eq!(picture[11], 0.125);
        assert_eq!(picture[7], 0.125);
        assert_eq!(picture[6], 0.0625);
        assert_eq!(picture.iter().sum::<f32>(), 1.0);
    }

    #[test]
    fn noise_of_the_sensor_has_the_stated_variance() {
        let mut draw = Draw::new(&[9]);
        let light = vec![120.0; 40_000];
        let values = expose(&light, &mut draw);
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / 4e4;
        let variance = values
            .iter()
            .map(|&v| (f64::from(v) - mean).powi(2))
            .sum::<f64>()
            / 4e4;
        // 1.1² + 0.0255·120, and 1/12 of rounding.
        let expected = 1.21 + 3.06 + 1.0 / 12.0;
        assert!((mean - 120.0).abs() < 0.05, "{mean}");
        assert!((variance / expected - 1.0).abs() < 0.03, "{variance}");
    }

    #[test]
    fn rotation_is_of_unit_length() {
        for t in [-0.5f32, 0.0, 0.012, 0.1] {
            let [c, s] = rotation(t);
            assert!((c * c + s * s - 1.0).abs() < 1e-6);
            assert!((s - (2.0 * t.atan()).sin()).abs() < 1e-6);
        }
    }
}
