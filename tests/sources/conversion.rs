//! Raw formats against ffmpeg's conversions.

use std::{path::Path, time::SystemTime};

use edge_vae::{
    Frame,
    frame::{
        Samples,
        raw::{RawConverter, RawFormat, RawLayout, YuvColour},
    },
};

use super::{ffmpeg, has_ffmpeg, u8s};

/// A smooth picture: luma and chroma change slowly, so that interpolated and repeated chroma differ
/// by little. Every colour lies within red, green and blue.
fn smooth(layout: &RawLayout) -> Vec<u8> {
    let (width, height) = (layout.width() as usize, layout.height() as usize);
    let luma = |x: usize, y: usize| (90 + 60 * x / width + 40 * y / height) as u8;
    let u = |x: usize, y: usize| (112 + 24 * x / width + 8 * y / height) as u8;
    let v = |x: usize, y: usize| (140 - 24 * y / height - 8 * x / width) as u8;
    let (columns, rows) = (width.div_ceil(2), height.div_ceil(2));
    let plane = |width, height, at: &dyn Fn(usize, usize) -> u8| -> Vec<u8> {
        (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .map(|(x, y)| at(x, y))
            .collect()
    };
    let y_plane = plane(width, height, &luma);
    let pair = |format: RawFormat, x: usize, y: usize| {
        let (a, b) = (luma(2 * x, y), luma((2 * x + 1).min(width - 1), y));
        let (u, v) = (u(2 * x, y), v(2 * x, y));
        match format {
            RawFormat::Yuyv422 => [a, u, b, v],
            _ => [u, a, v, b],
        }
    };
    match layout.format() {
        format @ (RawFormat::Yuyv422 | RawFormat::Uyvy422) => (0..height)
            .flat_map(|y| (0..columns).flat_map(move |x| pair(format, x, y)))
            .collect(),
        RawFormat::Nv12 | RawFormat::Nv21 => {
            let swap = layout.format() == RawFormat::Nv21;
            let chroma = (0..rows).flat_map(|y| (0..columns).map(move |x| (2 * x, 2 * y)));
            let chroma = chroma.flat_map(|(x, y)| match swap {
                false => [u(x, y), v(x, y)],
                true => [v(x, y), u(x, y)],
            });
            y_plane.into_iter().chain(chroma).collect()
        }
        RawFormat::Yuv420p => [
            y_plane,
            plane(columns, rows, &|x, y| u(2 * x, 2 * y)),
            plane(columns, rows, &|x, y| v(2 * x, 2 * y)),
        ]
        .concat(),
        RawFormat::Yuv422p => [
            y_plane,
            plane(columns, height, &|x, y| u(2 * x, y)),
            plane(columns, height, &|x, y| v(2 * x, y)),
        ]
        .concat(),
        RawFormat::Yuv444p => {
            [y_plane, plane(width, height, &u), plane(width, height, &v)].concat()
        }
        // Anything will do where nothing is computed.
        _ => (0..layout.frame_bytes())
            .map(|i| (i * 7 % 256) as u8)
            .collect(),
    }
}

/// The picture by ffmpeg, in `pixels`.
fn of_ffmpeg(dir: &Path, layout: &RawLayout, bytes: &[u8], colour: &str, pixels: &str) -> Vec<u8> {
    let file = dir.join("raw");
    std::fs::write(&file, bytes).unwrap();
    let size = format!("{}x{}", layout.width(), layout.height());
    let scale =
        format!("scale={colour}:flags=accurate_rnd+full_chroma_int+full_chroma_inp+bitexact");
    let arguments = [
        "-f",
        "rawvideo",
        "-pix_fmt",
        layout.format().name(),
        "-s",
        &size,
        "-i",
        "-",
        "-vf",
        &scale,
        "-pix_fmt",
        pixels,
        "-f",
        "rawvideo",
        "-",
    ];
    ffmpeg(&arguments, &file)
}

fn of_library(converter: &RawConverter, layout: &RawLayout, bytes: &[u8]) -> Frame {
    let mut frame = Frame::blank("raw");
    converter
        .convert(layout, bytes, SystemTime::now(), &mut frame)
        .unwrap();
    frame
}

fn assert_close(found: &[u8], expected: &[u8], tolerance: u8, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| a.abs_diff(*b))
        .max();
    assert!(worst <= Some(tolerance), "{what}: differs by {worst:?}");
}

#[test]
fn smooth_pictures_are_those_of_ffmpeg_but_for_rounding() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for format in RawFormat::ALL.into_iter().filter(|format| format.is_yuv()) {
        // Over an odd number of pixels ffmpeg stretches the chroma, so that at a step of one level
        // it may take the neighbour's: 2.02 levels of blue, and rounding.
        for (width, height, tolerance) in [(128, 96, 2), (127, 95, 3)] {
            let layout = RawLayout::new(format, width, height).unwrap();
            let bytes = smooth(&layout);
            for (colour, name) in [
                (YuvColour::Bt601, "in_color_matrix=bt601:in_range=tv"),
                (YuvColour::Bt709Full, "in_color_matrix=bt709:in_range=pc"),
            ] {
                let what = format!("{format} {width}×{height} {colour}");
                let expected = of_ffmpeg(dir.path(), &layout, &bytes, name, "rgb24");
                let frame = of_library(&RawConverter::new(colour), &layout, &bytes);
                assert_close(u8s(&frame), &expected, tolerance, &what);
                let expected = of_ffmpeg(dir.path(), &layout, &bytes, name, "gray");
                let grey = RawConverter::new(colour).as_grey(true);
                let frame = of_library(&grey, &layout, &bytes);
                assert_close(u8s(&frame), &expected, 1, &format!("{what} grey"));
            }
        }
    }
}

#[test]
fn what_is_only_put_in_order_is_that_of_ffmpeg() {
    if !has_ffmpeg() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let converter = RawConverter::default();
    for (format, pixels) in [
        (RawFormat::Gray, "gray"),
        (RawFormat::Rgb24, "rgb24"),
        (RawFormat::Bgr24, "rgb24"),
        (RawFormat::Rgba, "rgb24"),
        (RawFormat::Bgra, "rgb24"),
        (RawFormat::Gray16le, "gray16le"),
        (RawFormat::Gray16be, "gray16le"),
        (RawFormat::Rgb48le, "rgb48le"),
        (RawFormat::Rgb48be, "rgb48le"),
    ] {
        let layout = RawLayout::new(format, 127, 5).unwrap();
        let bytes = smooth(&layout);
        let expected = of_ffmpeg(dir.path(), &layout, &bytes, "iw:ih", pixels);
        let frame = of_library(&converter, &layout, &bytes);
        let found: Vec<u8> = match frame.samples() {
            Samples::U8(samples) => samples.clone(),
            Samples::U16(samples) => samples.iter().flat_map(|v| v.to_le_bytes()).collect(),
        };
        assert!(found == expected, "{format}");
    }
}
