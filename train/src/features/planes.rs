//! Frames as planes of values, C×H×W in [0, 1], and back.

use anyhow::Result;
use edge_vae::frame::{Frame, PixelFormat, Samples};

/// The values of a frame, and their shape.
pub(super) fn of_frame(frame: &Frame) -> (Vec<f32>, [usize; 3]) {
    let (channels, white) = (frame.format().channels(), frame.white());
    let shape = [channels, frame.height() as usize, frame.width() as usize];
    let values = match frame.samples() {
        Samples::U8(samples) => planar(samples, channels, white),
        Samples::U16(samples) => planar(samples, channels, white),
    };
    (values, shape)
}

fn planar<T: Copy + Into<f32>>(samples: &[T], channels: usize, white: u16) -> Vec<f32> {
    let plane = |channel| samples.iter().skip(channel).step_by(channels);
    let planes = (0..channels).flat_map(plane);
    planes
        .map(|&sample| sample.into() / f32::from(white))
        .collect()
}

/// Values as a frame that is called `name`, of samples of 8 or 16 bits; what is out of range is
/// clipped.
///
/// # Errors
/// A shape that is none of a frame.
pub fn to_frame(
    values: &[f32],
    [channels, height, width]: [usize; 3],
    bits: u32,
    name: &str,
) -> Result<Frame> {
    let pixels = height * width;
    let format = match (channels, bits) {
        (1, 8) => PixelFormat::Gray8,
        (1, _) => PixelFormat::Gray16,
        (_, 8) => PixelFormat::Rgb8,
        (..) => PixelFormat::Rgb16,
    };
    let samples = (0..pixels)
        .flat_map(|pixel| (0..channels).map(move |channel| values[channel * pixels + pixel]))
        .map(|value| (value.clamp(0.0, 1.0) * f32::from(format.white())).round());
    let [width, height] = [width, height].map(|side| side as u32);
    Ok(match format.bits() {
        8 => {
            let samples = samples.map(|sample| sample as u8).collect();
            Frame::from_u8(width, height, format, samples, name)
        }
        _ => {
            let samples = samples.map(|sample| sample as u16).collect();
            Frame::from_u16(width, height, format, samples, name)
        }
    }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_become_frames_and_planes_again() {
        let shape = [3, 1, 2];
        let values = [0.0, 1.0, 0.5, 0.25, -0.1, 1.2];
        for (bits, step) in [(8, 1.0 / 255.0), (16, 1.0 / 65535.0)] {
            let frame = to_frame(&values, shape, bits, "drawn").unwrap();
            assert_eq!(frame.format().bits(), bits);
            assert_eq!(frame.source(), "drawn");
            let (again, same) = of_frame(&frame);
            assert_eq!(same, shape);
            for (found, expected) in again.iter().zip([0.0, 1.0, 0.5, 0.25, 0.0, 1.0]) {
                assert!((found - expected).abs() < 0.51 * step, "{again:?}");
            }
        }
        let grey = to_frame(&[0.5; 6], [1, 2, 3], 8, "drawn").unwrap();
        assert_eq!(of_frame(&grey), (vec![128.0 / 255.0; 6], [1, 2, 3]));
        assert!(to_frame(&[], [1, 0, 3], 8, "drawn").is_err());
    }
}
