//! Frames from a source of one's own: here raw 8-bit grey pictures on standard input, one after
//! the other without a gap, as a camera driver or `ffmpeg -f rawvideo -pix_fmt gray -` writes them.
//!
//! ```sh
//! ffmpeg -i video.mp4 -f rawvideo -pix_fmt gray -s 640x480 - |
//!     cargo run --release --example own_source -- models/surface 640 480
//! ```

use std::{
    error::Error,
    io::{self, Read},
    path::Path,
};

use edge_vae::{Detector, DetectorOptions, Frame, frame::PixelFormat};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, width, height] = arguments.as_slice() else {
        return Err("usage: own_source MODEL WIDTH HEIGHT < raw grey frames".into());
    };
    let (width, height): (u32, u32) = (width.parse()?, height.parse()?);
    let bytes = usize::try_from(u64::from(width) * u64::from(height))?;
    let mut detector = Detector::open(Path::new(model), &DetectorOptions::default())?;
    let mut camera = io::stdin().lock();
    for number in 0_u64.. {
        let mut samples = vec![0; bytes];
        match camera.read_exact(&mut samples) {
            Ok(()) => {}
            Err(end) if end.kind() == io::ErrorKind::UnexpectedEof => break,
            Err(error) => return Err(error.into()),
        }
        let name = format!("frame {number}");
        let frame = Frame::from_u8(width, height, PixelFormat::Gray8, samples, name)?;
        let detection = detector.score(&frame)?;
        println!(
            "{}: {:?}, score {:?}",
            frame.source(),
            detection.verdict.label,
            detection.verdict.score
        );
    }
    Ok(())
}
