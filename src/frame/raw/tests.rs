use std::time::SystemTime;

use rand::{Rng, SeedableRng};

use super::*;
use crate::frame::{Frame, FrameError, PixelFormat, Samples};

fn convert(converter: &RawConverter, layout: &RawLayout, bytes: &[u8]) -> Frame {
    let mut frame = Frame::blank("camera");
    converter
        .convert(layout, bytes, SystemTime::now(), &mut frame)
        .unwrap();
    frame
}

fn u8s(frame: &Frame) -> &[u8] {
    match frame.samples() {
        Samples::U8(samples) => samples,
        Samples::U16(_) => panic!("16 bits"),
    }
}

fn u16s(frame: &Frame) -> &[u16] {
    match frame.samples() {
        Samples::U16(samples) => samples,
        Samples::U8(_) => panic!("8 bits"),
    }
}

/// The definition in floating point, ITU-R BT.601-7 section 2.5 and BT.709-6 section 3.
fn exact(colour: YuvColour, [y, u, v]: [u8; 3]) -> [f64; 3] {
    let (kr, kb) = match colour {
        YuvColour::Bt601 | YuvColour::Bt601Full => (0.299, 0.114),
        YuvColour::Bt709 | YuvColour::Bt709Full => (0.2126, 0.0722),
    };
    let (y, u, v) = match colour {
        YuvColour::Bt601 | YuvColour::Bt709 => (
            (f64::from(y) - 16.0) / 219.0,
            (f64::from(u) - 128.0) / 224.0,
            (f64::from(v) - 128.0) / 224.0,
        ),
        _ => (
            f64::from(y) / 255.0,
            (f64::from(u) - 128.0) / 255.0,
            (f64::from(v) - 128.0) / 255.0,
        ),
    };
    let red = y + 2.0 * (1.0 - kr) * v;
    let blue = y + 2.0 * (1.0 - kb) * u;
    let green = (y - kr * red - kb * blue) / (1.0 - kr - kb);
    [red, green, blue].map(|value| (255.0 * value).clamp(0.0, 255.0))
}

#[test]
fn hand_computed_colours_of_bt601() {
    // Black, white, and the three primaries at full saturation: 16 + 219·luma; 128 + 112·(B −
    // Y)/0.886 and 128 + 112·(R − Y)/0.701.
    for ([y, u, v], rgb) in [
        ([16, 128, 128], [0, 0, 0]),
        ([235, 128, 128], [255, 255, 255]),
        ([81, 90, 240], [255, 0, 0]),
        ([145, 54, 34], [0, 255, 0]),
        ([41, 240, 110], [0, 0, 255]),
        ([126, 128, 128], [128, 128, 128]),
    ] {
        let layout = RawLayout::new(RawFormat::Yuyv422, 2, 1).unwrap();
        let frame = convert(&RawConverter::default(), &layout, &[y, u, y, v]);
        for (found, expected) in u8s(&frame).iter().zip(rgb.iter().chain(&rgb)) {
            assert!(
                i32::from(*found).abs_diff(*expected) <= 1,
                "{y},{u},{v}: {:?}",
                u8s(&frame)
            );
        }
    }
}

#[test]
fn every_colour_is_within_one_level_of_the_definition() {
    for colour in [
        YuvColour::Bt601,
        YuvColour::Bt709,
        YuvColour::Bt601Full,
        YuvColour::Bt709Full,
    ] {
        let converter = RawConverter::new(colour);
        for u in (0..=255).step_by(5) {
            for v in (0..=255).step_by(5) {
                let layout = RawLayout::new(RawFormat::Yuv444p, 256, 1).unwrap();
                let mut bytes: Vec<u8> = (0..=255).collect();
                bytes.extend([u; 256]);
                bytes.extend([v; 256]);
                let frame = convert(&converter, &layout, &bytes);
                for (y, pixel) in (0..=255).zip(u8s(&frame).chunks(3)) {
                    for (found, value) in pixel.iter().zip(exact(colour, [y, u, v])) {
                        assert!(
                            (f64::from(*found) - value).abs() < 0.51,
                            "{colour} {y},{u},{v}: {found} for {value}"
                        );
                    }
                }
            }
        }
    }
}

/// The luma and chroma of a pixel, by the layout's definition alone.
fn sample(
    format: RawFormat,
    bytes: &[u8],
    [width, height]: [usize; 2],
    strides: [usize; 2],
    [x, y]: [usize; 2],
) -> [u8; 3] {
    let [s, c] = strides;
    let half = height.div_ceil(2);
    assert!(x < width);
    match format {
        RawFormat::Yuyv422 => {
            let at = y * s + x / 2 * 4;
            [bytes[at + x % 2 * 2], bytes[at + 1], bytes[at + 3]]
        }
        RawFormat::Uyvy422 => {
            let at = y * s + x / 2 * 4;
            [bytes[at + 1 + x % 2 * 2], bytes[at], bytes[at + 2]]
        }
        RawFormat::Nv12 | RawFormat::Nv21 => {
            let at = height * s + y / 2 * c + x / 2 * 2;
            let swap = usize::from(format == RawFormat::Nv21);
            [bytes[y * s + x], bytes[at + swap], bytes[at + 1 - swap]]
        }
        RawFormat::Yuv420p => {
            let at = height * s + y / 2 * c + x / 2;
            [bytes[y * s + x], bytes[at], bytes[at + half * c]]
        }
        RawFormat::Yuv422p => {
            let at = height * s + y * c + x / 2;
            [bytes[y * s + x], bytes[at], bytes[at + height * c]]
        }
        _ => {
            let at = height * s + y * c + x;
            [bytes[y * s + x], bytes[at], bytes[at + height * c]]
        }
    }
}

#[test]
fn odd_sizes_and_padded_rows_find_every_sample() {
    let mut random = rand_pcg::Pcg64::seed_from_u64(5);
    for format in RawFormat::ALL.into_iter().filter(|format| format.is_yuv()) {
        for (width, height) in [(1, 1), (2, 2), (3, 1), (1, 3), (7, 5), (8, 6), (33, 9)] {
            for padding in [0, 1, 6] {
                let tight = RawLayout::new(format, width, height).unwrap();
                let pairs = (width as usize).div_ceil(2);
                let strides = match format {
                    RawFormat::Yuyv422 | RawFormat::Uyvy422 => [4 * pairs + padding, 0],
                    RawFormat::Nv12 | RawFormat::Nv21 => {
                        [width as usize + padding, 2 * pairs + padding]
                    }
                    RawFormat::Yuv444p => [width as usize + padding; 2],
                    _ => [width as usize + padding, pairs + padding],
                };
                let layout = tight.with_strides(strides[0], strides[1]).unwrap();
                if padding == 0 {
                    assert_eq!(layout.frame_bytes(), tight.frame_bytes());
                }
                let mut bytes = vec![0; layout.frame_bytes()];
                random.fill_bytes(&mut bytes);
                let frame = convert(&RawConverter::default(), &layout, &bytes);
                let grey = convert(&RawConverter::default().as_grey(true), &layout, &bytes);
                assert_eq!(grey.format(), PixelFormat::Gray8);
                for y in 0..height as usize {
                    for x in 0..width as usize {
                        let size = [width as usize, height as usize];
                        let yuv = sample(format, &bytes, size, strides, [x, y]);
                        let at = y * width as usize + x;
                        let expected = exact(YuvColour::Bt601, yuv);
                        for (found, value) in u8s(&frame)[3 * at..][..3].iter().zip(expected) {
                            assert!((f64::from(*found) - value).abs() < 0.51, "{format} {x},{y}");
                        }
                        let luma = (f64::from(yuv[0]) - 16.0) * 255.0 / 219.0;
                        assert_eq!(f64::from(u8s(&grey)[at]), luma.clamp(0.0, 255.0).round());
                    }
                }
            }
        }
    }
}

#[test]
fn sizes_are_those_of_ffmpeg() {
    // From `av_image_get_buffer_size` with an alignment of 1.
    for (format, width, height, bytes) in [
        (RawFormat::Yuyv422, 5, 3, 36),
        (RawFormat::Nv12, 5, 3, 27),
        (RawFormat::Yuv420p, 5, 3, 27),
        (RawFormat::Yuv422p, 5, 3, 33),
        (RawFormat::Rgb24, 5, 3, 45),
        (RawFormat::Bgra, 5, 3, 60),
        (RawFormat::Gray12le, 5, 3, 30),
        (RawFormat::Rgb48be, 5, 3, 90),
    ] {
        let layout = RawLayout::new(format, width, height).unwrap();
        assert_eq!(layout.frame_bytes(), bytes, "{format}");
    }
    let v4l2 = RawLayout::new(RawFormat::Yuv420p, 638, 2).unwrap();
    assert_eq!(
        v4l2.with_stride(640).unwrap().frame_bytes(),
        2 * 640 + 2 * 320
    );
}

#[test]
fn red_green_and_blue_are_put_in_order() {
    let layout = |format| {
        let tight = RawLayout::new(format, 2, 2).unwrap();
        tight.with_stride(9).unwrap()
    };
    let bytes: Vec<u8> = (0..18).collect();
    let rows = |format| u8s(&convert(&RawConverter::default(), &layout(format), &bytes)).to_vec();
    assert_eq!(
        rows(RawFormat::Rgb24),
        [0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14]
    );
    assert_eq!(
        rows(RawFormat::Bgr24),
        [2, 1, 0, 5, 4, 3, 11, 10, 9, 14, 13, 12]
    );
    assert_eq!(
        rows(RawFormat::Rgba),
        [0, 1, 2, 4, 5, 6, 9, 10, 11, 13, 14, 15]
    );
    assert_eq!(
        rows(RawFormat::Bgra),
        [2, 1, 0, 6, 5, 4, 11, 10, 9, 15, 14, 13]
    );
    assert_eq!(rows(RawFormat::Gray), [0, 1, 9, 10]);
}

#[test]
fn grey_of_few_bits_is_scaled_to_the_full_range() {
    let words = [0u16, 1, 511, 512, 1023, 4095, 16383, 65535];
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for (format, most) in [
        (RawFormat::Gray10le, 1023),
        (RawFormat::Gray12le, 4095),
        (RawFormat::Gray14le, 16383),
        (RawFormat::Gray16le, 65535),
    ] {
        let layout = RawLayout::new(format, 8, 1).unwrap();
        let frame = convert(&RawConverter::default(), &layout, &bytes);
        assert_eq!(frame.format(), PixelFormat::Gray16);
        for (found, &word) in u16s(&frame).iter().zip(&words) {
            let value = f64::from(word.min(most)) * 65535.0 / f64::from(most);
            assert_eq!(f64::from(*found), value.round(), "{format} {word}");
        }
    }
    let layout = RawLayout::new(RawFormat::Gray16be, 2, 1).unwrap();
    let frame = convert(&RawConverter::default(), &layout, &[1, 2, 0xff, 0xfe]);
    assert_eq!(u16s(&frame), [0x0102, 0xfffe]);
    let layout = RawLayout::new(RawFormat::Rgb48be, 1, 1).unwrap();
    let frame = convert(&RawConverter::default(), &layout, &[1, 2, 3, 4, 5, 6]);
    assert_eq!(
        (frame.format(), u16s(&frame)),
        (PixelFormat::Rgb16, &[0x0102, 0x0304, 0x0506][..])
    );
}

#[test]
fn impossible_layouts_and_short_pictures_are_refused() {
    let message = |error: FrameError| {
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        message
    };
    assert!(RawLayout::new(RawFormat::Gray, 0, 4).is_err());
    assert!(RawLayout::new(RawFormat::Gray, u32::MAX, u32::MAX).is_err());
    let layout = RawLayout::new(RawFormat::Nv12, 5, 4).unwrap();
    assert!(message(layout.with_stride(5).unwrap_err()).contains("need 6 bytes a row"));
    assert!(layout.with_stride(usize::MAX / 2).is_err());

    // The padding behind the last row may be missing, a sample not.
    let layout = layout.with_stride(8).unwrap();
    assert_eq!(layout.frame_bytes(), 48);
    let mut frame = Frame::blank("camera");
    let mut fill = |count| {
        let bytes = vec![100; count];
        RawConverter::default().convert(&layout, &bytes, SystemTime::now(), &mut frame)
    };
    fill(46).unwrap();
    fill(60).unwrap();
    let message = message(fill(45).unwrap_err());
    assert!(
        message.starts_with("camera: 45 bytes are not a picture of 5×4 pixels of nv12"),
        "{message}"
    );
}

#[test]
fn formats_are_known_by_many_names() {
    for (name, format) in [
        ("yuyv422", RawFormat::Yuyv422),
        ("YUYV", RawFormat::Yuyv422),
        ("YUY2", RawFormat::Yuyv422),
        ("GREY", RawFormat::Gray),
        ("Y16", RawFormat::Gray16le),
        ("I420", RawFormat::Yuv420p),
        ("BGRx", RawFormat::Bgra),
        ("GRAY16_BE", RawFormat::Gray16be),
    ] {
        assert_eq!(name.parse(), Ok(format), "{name}");
    }
    for format in RawFormat::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    let message = "yuv9".parse::<RawFormat>().unwrap_err();
    assert!(message.contains("known are gray, "), "{message}");
    assert_eq!("jpeg".parse(), Ok(YuvColour::Bt601Full));
    assert!("bt2020".parse::<YuvColour>().is_err());
}

#[test]
fn the_second_picture_lies_in_the_memory_of_the_first() {
    let layout = RawLayout::new(RawFormat::Yuyv422, 64, 48).unwrap();
    let bytes = vec![90; layout.frame_bytes()];
    let mut frame = Frame::blank("camera");
    let converter = RawConverter::default();
    converter
        .convert(&layout, &bytes, SystemTime::now(), &mut frame)
        .unwrap();
    let memory = u8s(&frame).as_ptr();
    converter
        .convert(&layout, &bytes, SystemTime::now(), &mut frame)
        .unwrap();
    assert_eq!(u8s(&frame).as_ptr(), memory);
}
