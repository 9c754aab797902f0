//! A Linux framebuffer, and how pixels lie in its memory.

use std::path::Path;

use framebuffer::{Bitfield, Framebuffer};
use image::RgbImage;

/// An open framebuffer.
pub(super) struct FramebufferDevice {
    buffer: Box<Framebuffer>,
    layout: PixelLayout,
}

impl FramebufferDevice {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let buffer = Box::new(open(path)?);
        let layout = PixelLayout::of(&buffer)?;
        Ok(Self { buffer, layout })
    }

    /// Width and height.
    pub(super) fn size(&self) -> [u32; 2] {
        [self.layout.width as u32, self.layout.height as u32]
    }

    /// Shows a picture of the same size.
    pub(super) fn draw(&mut self, picture: &RgbImage) {
        self.layout.pack(picture, &mut self.buffer.frame);
    }
}

fn open(path: &Path) -> Result<Framebuffer, String> {
    // The crate's own message does not tell these apart.
    match std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(
                "there is no such framebuffer; for a picture in a file, end its name in .png"
                    .to_owned(),
            );
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err("may not be opened by this user; add it to the group video".to_owned());
        }
        Err(error) => return Err(format!("cannot open: {error}")),
        Ok(_) => {}
    }
    Framebuffer::new(path).map_err(|error| {
        format!("is no framebuffer ({error}); for a picture in a file, end its name in .png")
    })
}

/// How the pixels of a framebuffer lie in memory.
#[derive(Clone, Debug)]
pub(super) struct PixelLayout {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Where the shown part begins, bytes.
    pub(super) offset: usize,
    /// From one row to the next, bytes.
    pub(super) stride: usize,
    /// Of a pixel: 2, 3 or 4.
    pub(super) bytes: usize,
    /// Lowest bit and number of bits of red, green and blue.
    pub(super) channels: [(u32, u32); 3],
}

impl PixelLayout {
    fn of(buffer: &Framebuffer) -> Result<Self, String> {
        let (shown, fixed) = (&buffer.var_screen_info, &buffer.fix_screen_info);
        let bits = shown.bits_per_pixel;
        if !matches!(bits, 16 | 24 | 32) {
            return Err(format!(
                "has {bits} bits a pixel; 16, 24 and 32 can be drawn: set the console's depth"
            ));
        }
        let channel = |field: &Bitfield| (field.offset, field.length);
        let channels = [&shown.red, &shown.green, &shown.blue].map(channel);
        if channels
            .iter()
            .any(|&(offset, length)| length == 0 || length > 8 || offset + length > bits)
        {
            return Err(
                "has a colour layout that can't be drawn (no red, green and blue of up to 8 bits)"
                    .to_owned(),
            );
        }
        let bytes = bits as usize / 8;
        let stride = fixed.line_length as usize;
        let layout = Self {
            width: shown.xres as usize,
            height: shown.yres as usize,
            offset: shown.yoffset as usize * stride + shown.xoffset as usize * bytes,
            stride,
            bytes,
            channels,
        };
        if layout.end() > buffer.frame.len() || stride < layout.width * bytes {
            return Err("says that it is larger than its memory".to_owned());
        }
        Ok(layout)
    }

    /// Bytes that have to be there.
    pub(super) fn end(&self) -> usize {
        match self.height {
            0 => self.offset,
            rows => self.offset + (rows - 1) * self.stride + self.width * self.bytes,
        }
    }

    /// Writes a picture of the same size; the padding of rows stays as it is.
    pub(super) fn pack(&self, picture: &RgbImage, memory: &mut [u8]) {
        let rows = picture.as_raw().chunks_exact((3 * self.width).max(1));
        for (row, place) in rows.zip(memory[self.offset..].chunks_mut(self.stride.max(1))) {
            let pixels = row.chunks_exact(3);
            for (rgb, pixel) in pixels.zip(place.chunks_exact_mut(self.bytes)) {
                let mut value = 0_u32;
                for (&sample, (offset, length)) in rgb.iter().zip(self.channels) {
                    // Rounded to the nearest of the levels there are.
                    let most = (1_u32 << length) - 1;
                    value |= ((u32::from(sample) * most + 127) / 255) << offset;
                }
                // Pixels are numbers of the machine; all that Linux runs us on are little-endian.
                pixel.copy_from_slice(&value.to_le_bytes()[..self.bytes]);
            }
        }
    }
}
