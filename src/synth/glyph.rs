//! Digits drawn with a pen.

use image::GrayImage;

use super::SynthError;

/// Points of the strokes of each digit in the unit square, y downwards; each stroke is a smooth
/// curve through its points.
fn strokes(character: char) -> Option<&'static [&'static [[f32; 2]]]> {
    Some(match character {
        '0' => &[&[
            [0.52, 0.17],
            [0.36, 0.26],
            [0.30, 0.50],
            [0.36, 0.74],
            [0.50, 0.83],
            [0.64, 0.74],
            [0.70, 0.50],
            [0.65, 0.27],
            [0.52, 0.17],
        ]],
        '1' => &[&[[0.55, 0.17], [0.52, 0.50], [0.49, 0.83]]],
        '2' => &[&[
            [0.32, 0.33],
            [0.40, 0.20],
            [0.56, 0.18],
            [0.66, 0.30],
            [0.60, 0.48],
            [0.44, 0.66],
            [0.31, 0.81],
            [0.33, 0.82],
            [0.50, 0.80],
            [0.70, 0.80],
        ]],
        '3' => &[
            &[
                [0.33, 0.24],
                [0.48, 0.17],
                [0.63, 0.24],
                [0.62, 0.39],
                [0.46, 0.47],
            ],
            &[
                [0.46, 0.47],
                [0.64, 0.54],
                [0.68, 0.68],
                [0.56, 0.81],
                [0.40, 0.82],
                [0.30, 0.75],
            ],
        ],
        '4' => &[
            &[[0.40, 0.18], [0.35, 0.36], [0.32, 0.54]],
            &[[0.32, 0.54], [0.50, 0.53], [0.72, 0.51]],
            &[[0.64, 0.20], [0.61, 0.50], [0.58, 0.83]],
        ],
        '5' => &[
            &[[0.67, 0.19], [0.53, 0.19], [0.39, 0.20]],
            &[[0.39, 0.20], [0.37, 0.33], [0.35, 0.46]],
            &[
                [0.35, 0.46],
                [0.52, 0.44],
                [0.66, 0.54],
                [0.66, 0.70],
                [0.53, 0.82],
                [0.33, 0.79],
            ],
        ],
        '6' => &[&[
            [0.62, 0.18],
            [0.45, 0.30],
            [0.34, 0.52],
            [0.34, 0.70],
            [0.46, 0.82],
            [0.62, 0.77],
            [0.65, 0.62],
            [0.54, 0.53],
            [0.38, 0.62],
        ]],
        '7' => &[
            &[[0.30, 0.21], [0.50, 0.20], [0.69, 0.20]],
            &[[0.69, 0.20], [0.57, 0.45], [0.45, 0.83]],
        ],
        '8' => &[&[
            [0.51, 0.48],
            [0.37, 0.37],
            [0.39, 0.22],
            [0.53, 0.17],
            [0.65, 0.25],
            [0.61, 0.40],
            [0.46, 0.52],
            [0.34, 0.66],
            [0.39, 0.80],
            [0.53, 0.83],
            [0.66, 0.74],
            [0.64, 0.59],
            [0.51, 0.48],
        ]],
        '9' => &[&[
            [0.65, 0.36],
            [0.52, 0.46],
            [0.37, 0.40],
            [0.36, 0.25],
            [0.51, 0.17],
            [0.64, 0.24],
            [0.65, 0.36],
            [0.63, 0.58],
            [0.57, 0.83],
        ]],
        _ => return None,
    })
}

/// Draws a digit, white on black with the soft edge of a pen, `size × size` pixels: at 28 it looks
/// like a digit of MNIST (strokes about 2.5 pixels wide, a margin of 4).
///
/// # Errors
/// [`SynthError::Glyph`] for anything but a digit, [`SynthError::Settings`] for a size outside
/// 8–4096.
pub fn glyph(size: u32, character: char) -> Result<GrayImage, SynthError> {
    if !(8..=4096).contains(&size) {
        return Err(SynthError::Settings(format!(
            "size of the glyph is {size}: choose 8 to 4096 pixels"
        )));
    }
    let strokes = strokes(character).ok_or(SynthError::Glyph { character })?;
    let curve: Vec<[[f32; 2]; 2]> = strokes.iter().flat_map(|stroke| pieces(stroke)).collect();
    let side = size as f32;
    // Half the pen's width and half the width of its soft edge, as shares of the size.
    let (radius, soft) = (0.042, 0.03f32.max(0.6 / side));
    Ok(GrayImage::from_fn(size, size, |x, y| {
        let p = [(x as f32 + 0.5) / side, (y as f32 + 0.5) / side];
        let distance = curve
            .iter()
            .map(|piece| distance(p, piece))
            .fold(f32::MAX, f32::min);
        let ink = ((radius + soft - distance) / (2.0 * soft)).clamp(0.0, 1.0);
        image::Luma([(255.0 * ink * ink * (3.0 - 2.0 * ink) + 0.5) as u8])
    }))
}

/// A Catmull–Rom curve through the points, as short straight pieces.
fn pieces(points: &[[f32; 2]]) -> Vec<[[f32; 2]; 2]> {
    const STEPS: usize = 8;
    let last = points.len() - 1;
    let mut curve = Vec::with_capacity(last * STEPS);
    for k in 0..last {
        let control = [
            points[k.saturating_sub(1)],
            points[k],
            points[k + 1],
            points[(k + 2).min(last)],
        ];
        let at = |step: usize| {
            let t = step as f32 / STEPS as f32;
            let axis = |i: usize| {
                let [a, b, c, d] = control.map(|p| p[i]);
                0.5 * (2.0 * b
                    + t * (c - a)
                    + t * t * (2.0 * a - 5.0 * b + 4.0 * c - d)
                    + t * t * t * (3.0 * (b - c) + d - a))
            };
            [axis(0), axis(1)]
        };
        curve.extend((0..STEPS).map(|step| [at(step), at(step + 1)]));
    }
    curve
}

fn distance(p: [f32; 2], [a, b]: &[[f32; 2]; 2]) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let (px, py) = (p[0] - a[0], p[1] - a[1]);
    let t = ((px * dx + py * dy) / (dx * dx + dy * dy).max(1e-12)).clamp(0.0, 1.0);
    let (x, y) = (px - t * dx, py - t * dy);
    (x * x + y * y).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_have_the_ink_and_margin_of_mnist() {
        for digit in '0'..='9' {
            let picture = glyph(28, digit).unwrap();
            let mean = picture.pixels().map(|p| f64::from(p.0[0])).sum::<f64>() / 784.0;
            // Class means of MNIST lie between 19 (ones) and 44 (zeros).
            assert!((14.0..50.0).contains(&mean), "{digit}: {mean}");
            assert!(picture.pixels().any(|p| p.0[0] == 255), "{digit}");
            for k in 0..28 {
                for (x, y) in [(k, 1), (k, 26), (1, k), (26, k)] {
                    assert_eq!(picture.get_pixel(x, y).0[0], 0, "{digit} at {x},{y}");
                }
            }
        }
    }

    #[test]
    fn other_characters_and_sizes_are_refused() {
        assert!(matches!(
            glyph(28, 'é'),
            Err(SynthError::Glyph { character: 'é' })
        ));
        assert!(glyph(0, '1').is_err());
        assert!(glyph(u32::MAX, '1').is_err());
    }
}
