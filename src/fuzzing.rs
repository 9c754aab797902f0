//! What the fuzz targets of `fuzz/` call: each parser of bytes that come from outside, with what
//! has to hold whatever the bytes are. Only the tests and the fuzzer compile this.

use std::{path::Path, time::SystemTime};

use crate::{
    Frame,
    backend::model_file::ModelFile,
    bundle::Manifest,
    frame::{
        DecodeOptions, PixelFormat, Samples,
        raw::{RawConverter, RawFormat, RawLayout, YuvColour},
    },
    npy::{Npy, Npz},
    stream::{
        Configuration,
        sink::outbox::message,
        source::{
            SourceSettings, SourceUri,
            splitter::{Content, Splitter, Step},
        },
    },
};

/// Largest picture that is decoded, in pixels: decoding larger ones only takes longer.
const MAX_PIXELS: u64 = 1 << 16;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its corpus `fuzz/corpus/NAME/`.
    pub name: &'static str,
    /// Runs it; panics where something does not hold.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 11] = [
    Target {
        name: "picture",
        run: picture,
    },
    Target {
        name: "raw_frame",
        run: raw_frame,
    },
    Target {
        name: "picture_stream",
        run: picture_stream,
    },
    Target {
        name: "npy",
        run: npy,
    },
    Target {
        name: "manifest",
        run: manifest,
    },
    Target {
        name: "onnx",
        run: onnx,
    },
    Target {
        name: "source_address",
        run: source_address,
    },
    Target {
        name: "configuration",
        run: configuration,
    },
    Target {
        name: "outbox_message",
        run: outbox_message,
    },
    Target {
        name: "signature",
        run: signature,
    },
    Target {
        name: "control_request",
        run: control_request,
    },
];

/// A picture file in memory, of any format that is recognised.
pub fn picture(bytes: &[u8]) {
    let limits = DecodeOptions {
        max_pixels: MAX_PIXELS,
        ..DecodeOptions::default()
    };
    if let Ok(frame) = Frame::decode(bytes, "fuzz", &limits) {
        let pixels = u64::from(frame.width()) * u64::from(frame.height());
        assert!((1..=MAX_PIXELS).contains(&pixels));
        let samples = match frame.samples() {
            Samples::U8(samples) => samples.len(),
            Samples::U16(samples) => samples.len(),
        };
        assert_eq!(samples as u64, pixels * frame.format().channels() as u64);
    }
}

/// Samples of a camera. The first five bytes are format, width, height, padding of rows, and
/// whether only brightness is wanted.
pub fn raw_frame(bytes: &[u8]) {
    let Some(([format, width, height, padding, grey], samples)) = bytes.split_first_chunk() else {
        return;
    };
    let format = RawFormat::ALL[usize::from(*format) % RawFormat::ALL.len()];
    let Ok(layout) = RawLayout::new(format, u32::from(*width), u32::from(*height)) else {
        return;
    };
    // At most eight bytes a pixel, so that most of these rows are long enough.
    let stride = 8 * usize::from(*width) + usize::from(*padding);
    for layout in [Ok(layout), layout.with_stride(stride)]
        .into_iter()
        .flatten()
    {
        let converter = RawConverter::new(YuvColour::default()).as_grey(*grey % 2 == 1);
        let mut frame = Frame::from_u8(1, 1, PixelFormat::Gray8, vec![0], "fuzz")
            .expect("one pixel has one sample");
        let converted = converter.convert(&layout, samples, SystemTime::UNIX_EPOCH, &mut frame);
        if converted.is_ok() {
            assert_eq!(frame.width(), layout.width());
            assert_eq!(frame.height(), layout.height());
            assert_eq!(frame.format(), converter.pixel_format(format));
        }
        assert!(converted.is_ok() || samples.len() < layout.frame_bytes());
    }
}

/// A stream of pictures: it is split alike, however few bytes arrive at once. The first byte says
/// how many, and whether the stream says of itself what it is.
pub fn picture_stream(bytes: &[u8]) {
    let Some((&first, stream)) = bytes.split_first() else {
        return;
    };
    let splitter = || match first % 4 {
        0 => Splitter::jpeg(),
        _ => Splitter::Unknown,
    };
    let whole = pictures(splitter(), stream, stream.len());
    let in_parts = pictures(splitter(), stream, 1 + usize::from(first / 4));
    assert_eq!(whole, in_parts);
}

/// Where the pictures of a stream lie, of which at most `at_once` bytes arrive at a time.
fn pictures(mut splitter: Splitter, stream: &[u8], at_once: usize) -> Vec<(usize, usize)> {
    let (mut start, mut end) = (0, 0);
    let mut found = Vec::new();
    loop {
        let ended = end == stream.len();
        let most = DecodeOptions::default().max_pixels;
        let taken = match splitter.step(&stream[start..end], ended, most) {
            Step::More(wanted) => {
                assert!(wanted > end - start, "asks for {wanted} of {}", end - start);
                if ended {
                    return found;
                }
                end = (start + wanted).min(end + at_once).min(stream.len());
                continue;
            }
            Step::Lost(problem) => {
                assert!(!problem.contains('\n'));
                return found;
            }
            Step::Skip(length) => length,
            Step::Broken { length, problem } => {
                assert!(!problem.contains('\n'));
                length
            }
            Step::Picture { length, content } => {
                if let Content::Raw(layout, at) = content {
                    assert_eq!(length, at + layout.frame_bytes());
                }
                found.push((start, length));
                length
            }
        };
        assert!(taken > 0, "no bytes were taken");
        start += taken;
        assert!(start <= end, "more bytes were taken than there are");
    }
}

/// An NPY file, or an NPZ archive with the arrays of a bundle.
pub fn npy(bytes: &[u8]) {
    let values = |bytes: &[u8]| {
        let npy = Npy::open(bytes).ok()?;
        let values = npy.f32_or_f64().ok()?;
        assert_eq!(values.len(), npy.shape().iter().product::<usize>());
        assert!(values.iter().all(|value| value.is_finite()));
        Some(values)
    };
    values(bytes);
    if let Ok(mut archive) = Npz::open(bytes) {
        for name in ["latent", "mean", "reconstruction"] {
            let array = archive.bytes(name);
            assert!(archive.has(name) || array.is_err());
            if let Ok(array) = array {
                assert!(array.len() <= bytes.len());
                values(&array);
            }
        }
    }
}

/// The manifest of a bundle: what was read is written and read as the same again.
pub fn manifest(bytes: &[u8]) {
    let path = Path::new("manifest.toml");
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(manifest) = Manifest::parse(text, path) {
        let written = manifest.to_toml(path).expect("it was checked");
        let again = Manifest::parse(&written, path).expect("it was written by itself");
        assert_eq!(again.to_toml(path).expect("it was checked"), written);
    }
}

/// The file of a signature, or the statement in it: nothing is believed without a key, and a
/// statement that was read says the same when it is written.
pub fn signature(bytes: &[u8]) {
    crate::trust::read_unsigned(bytes);
}

/// A command, as a socket or a broker gives it.
pub fn control_request(bytes: &[u8]) {
    crate::stream::control::read_request(bytes);
}

/// An ONNX file, up to where an engine takes it.
pub fn onnx(bytes: &[u8]) {
    if let Ok(model) = ModelFile::read(bytes, "fuzz", 1) {
        for tensor in model
            .signature
            .inputs
            .iter()
            .chain(&model.signature.outputs)
        {
            assert!(!tensor.name.is_empty());
        }
    }
}

/// The address of a source.
pub fn source_address(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(uri) = text.parse::<SourceUri>() {
        let name = uri.short_name();
        assert!(!name.is_empty() && !name.starts_with('.'), "{name:?}");
        assert!(!name.contains(['/', '\\', '\0']), "{name:?}");
        let settings = uri
            .resolve(&SourceSettings::default())
            .expect("they were checked");
        assert_eq!(&settings, uri.settings());
    }
}

/// `edge-vae.toml`, the addresses of its sources included.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(configuration) = Configuration::parse(text, Path::new("edge-vae.toml")) {
        let _ = configuration.options();
        let _ = configuration.sources();
        assert!(
            configuration
                .sink_names()
                .iter()
                .all(|name| !name.is_empty())
        );
    }
}

/// A message that waited on disk.
pub fn outbox_message(bytes: &[u8]) {
    if let Some(found) = message::read(bytes) {
        let written = message::written(&found).expect("it fits into memory");
        assert_eq!(message::read(&written), Some(found));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    use super::*;

    /// Variants of each file of a corpus.
    const VARIANTS: usize = 40;

    /// `bytes` with a few of them changed, left out or doubled.
    fn variant(bytes: &[u8], rng: &mut Pcg64Mcg) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..rng.random_range(1..4) {
            if bytes.is_empty() {
                break;
            }
            let at = rng.random_range(0..bytes.len());
            let end = (at + rng.random_range(1..9)).min(bytes.len());
            match rng.random_range(0..5) {
                0 => bytes.truncate(at),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.extend_from_within(at..end),
                3 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.random_range(0..5)],
                _ => bytes[at] ^= 1 << rng.random_range(0..8),
            }
        }
        bytes
    }

    #[test]
    fn the_corpora_and_variants_of_them_are_parsed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
        for target in TARGETS {
            let program = folder.join(format!("fuzz_targets/{}.rs", target.name));
            let source = fs::read_to_string(&program).expect("each target has its program");
            assert!(source.contains(&format!("edge_vae::fuzzing::{}", target.name)));

            let mut files: Vec<_> = fs::read_dir(folder.join("corpus").join(target.name))
                .expect("each target has its corpus")
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            assert!(files.len() >= 3, "{}: {} files", target.name, files.len());
            let mut rng = Pcg64Mcg::seed_from_u64(1);
            for file in files {
                let bytes = fs::read(&file).unwrap();
                (target.run)(&bytes);
                for _ in 0..VARIANTS {
                    (target.run)(&variant(&bytes, &mut rng));
                }
            }
        }
    }
}
