//! Names of raw formats.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::super::PixelFormat;

/// How the samples of a raw picture are laid out. The names are those of ffmpeg's `-pix_fmt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum RawFormat {
    /// One 8-bit grey sample a pixel.
    Gray,
    /// 10 bits of grey in the low bits of 16, little-endian.
    Gray10le,
    /// 12 bits of grey in the low bits of 16, little-endian.
    Gray12le,
    /// 14 bits of grey in the low bits of 16, little-endian.
    Gray14le,
    /// 16 bits of grey, little-endian.
    Gray16le,
    /// 16 bits of grey, big-endian.
    Gray16be,
    /// Red, green, blue.
    Rgb24,
    /// Blue, green, red.
    Bgr24,
    /// Red, green, blue, and a byte that is not looked at.
    Rgba,
    /// Blue, green, red, and a byte that is not looked at.
    Bgra,
    /// Red, green, blue of 16 bits, little-endian.
    Rgb48le,
    /// Red, green, blue of 16 bits, big-endian.
    Rgb48be,
    /// Y U Y V for two pixels.
    Yuyv422,
    /// U Y V Y for two pixels.
    Uyvy422,
    /// A plane of Y, a plane of U and V in turn, each for 2×2 pixels.
    Nv12,
    /// A plane of Y, a plane of V and U in turn, each for 2×2 pixels.
    Nv21,
    /// Planes of Y, U and V; each U and V for 2×2 pixels. Also called I420.
    Yuv420p,
    /// Planes of Y, U and V; each U and V for 2 pixels of a row.
    Yuv422p,
    /// Planes of Y, U and V.
    Yuv444p,
}

impl RawFormat {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Gray,
        Self::Gray10le,
        Self::Gray12le,
        Self::Gray14le,
        Self::Gray16le,
        Self::Gray16be,
        Self::Rgb24,
        Self::Bgr24,
        Self::Rgba,
        Self::Bgra,
        Self::Rgb48le,
        Self::Rgb48be,
        Self::Yuyv422,
        Self::Uyvy422,
        Self::Nv12,
        Self::Nv21,
        Self::Yuv420p,
        Self::Yuv422p,
        Self::Yuv444p,
    ];

    /// The name, as ffmpeg's `-pix_fmt` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gray => "gray",
            Self::Gray10le => "gray10le",
            Self::Gray12le => "gray12le",
            Self::Gray14le => "gray14le",
            Self::Gray16le => "gray16le",
            Self::Gray16be => "gray16be",
            Self::Rgb24 => "rgb24",
            Self::Bgr24 => "bgr24",
            Self::Rgba => "rgba",
            Self::Bgra => "bgra",
            Self::Rgb48le => "rgb48le",
            Self::Rgb48be => "rgb48be",
            Self::Yuyv422 => "yuyv422",
            Self::Uyvy422 => "uyvy422",
            Self::Nv12 => "nv12",
            Self::Nv21 => "nv21",
            Self::Yuv420p => "yuv420p",
            Self::Yuv422p => "yuv422p",
            Self::Yuv444p => "yuv444p",
        }
    }

    /// Other names of the same layout: four-character codes of V4L2, names of GStreamer, OpenCV
    /// and GenICam, in lower case.
    fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Gray => &["grey", "gray8", "grey8", "y8", "y800", "mono8"],
            Self::Gray10le => &["y10", "gray10", "mono10"],
            Self::Gray12le => &["y12", "gray12", "mono12"],
            Self::Gray14le => &["y14", "gray14", "mono14"],
            Self::Gray16le => &["y16", "gray16", "gray16_le", "mono16"],
            Self::Gray16be => &["y16-be", "gray16_be"],
            Self::Rgb24 => &["rgb", "rgb3", "rgb8"],
            Self::Bgr24 => &["bgr", "bgr3", "bgr8"],
            Self::Rgba => &["rgb0", "rgbx", "ab24", "xb24"],
            Self::Bgra => &["bgr0", "bgrx", "ar24", "xr24", "bgr4"],
            Self::Rgb48le => &["rgb48"],
            Self::Rgb48be => &[],
            Self::Yuyv422 => &["yuyv", "yuy2"],
            Self::Uyvy422 => &["uyvy"],
            Self::Nv12 | Self::Nv21 => &[],
            Self::Yuv420p => &["i420", "yu12", "yuvj420p"],
            Self::Yuv422p => &["i422", "422p", "y42b", "yuvj422p"],
            Self::Yuv444p => &["i444", "yuvj444p"],
        }
    }

    /// What a frame of it looks like.
    pub fn pixel_format(self) -> PixelFormat {
        match self {
            Self::Gray => PixelFormat::Gray8,
            Self::Gray10le | Self::Gray12le | Self::Gray14le | Self::Gray16le | Self::Gray16be => {
                PixelFormat::Gray16
            }
            Self::Rgb48le | Self::Rgb48be => PixelFormat::Rgb16,
            _ => PixelFormat::Rgb8,
        }
    }

    /// Whether it has luma and chroma in place of red, green and blue.
    pub fn is_yuv(self) -> bool {
        matches!(
            self,
            Self::Yuyv422
                | Self::Uyvy422
                | Self::Nv12
                | Self::Nv21
                | Self::Yuv420p
                | Self::Yuv422p
                | Self::Yuv444p
        )
    }
}

impl fmt::Display for RawFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RawFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name || format.aliases().contains(&name.as_str()))
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|format| format.name()).collect();
                format!(
                    "{text:?} is not a known raw format; known are {}",
                    known.join(", ")
                )
            })
    }
}

impl TryFrom<String> for RawFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RawFormat> for &'static str {
    fn from(format: RawFormat) -> Self {
        format.name()
    }
}
