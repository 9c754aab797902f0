//! Settings of sources.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer};

use crate::frame::{
    DecodeOptions, LESS_THAN_16,
    raw::{RawFormat, YuvColour},
};
use crate::stream::quantity;

/// How the pictures of a camera or a pipe are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub enum PictureFormat {
    /// A JPEG each.
    Mjpeg,
    /// Raw samples.
    Raw(RawFormat),
}

impl fmt::Display for PictureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mjpeg => f.write_str("mjpeg"),
            Self::Raw(format) => format.fmt(f),
        }
    }
}

impl FromStr for PictureFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if ["mjpeg", "mjpg", "jpeg"].contains(&text.to_ascii_lowercase().as_str()) {
            return Ok(Self::Mjpeg);
        }
        match text.parse() {
            Ok(format) => Ok(Self::Raw(format)),
            Err(problem) => Err(format!("{problem}, mjpeg")),
        }
    }
}

impl TryFrom<String> for PictureFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A setting that is one of a few words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("is none of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}

words! {
    /// The program that decodes streams and video files.
    Decoder {
        /// ffmpeg where it is installed, else GStreamer.
        #[default]
        Auto = "auto",
        /// `ffmpeg`.
        Ffmpeg = "ffmpeg",
        /// `gst-launch-1.0`, with its decoders in hardware where there are any.
        Gstreamer = "gstreamer",
    }
}

words! {
    /// How an RTSP camera sends its pictures.
    Transport {
        /// In the connection of the commands: nothing is lost on the way.
        #[default]
        Tcp = "tcp",
        /// In datagrams: a little earlier, and damaged when one is lost.
        Udp = "udp",
    }
}

words! {
    /// Which pictures of a folder are taken.
    FolderPictures {
        /// Those that are there, then those that arrive.
        #[default]
        Also = "also",
        /// Those that arrive.
        Only = "only",
    }
}

/// A length of time: `2s`, `1m 30s`, or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seconds(pub Duration);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        quantity::duration(from).map(Self)
    }
}

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        quantity::parse_duration(text).map(Self)
    }
}

macro_rules! settings {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal,)+) => {
        /// Settings of a source; which of them a source knows depends on its kind
        /// ([`Address::settings`](super::Address::settings)). What is absent is the default's.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct SourceSettings {
            $($(#[$doc])* #[serde(rename = $name)] pub $field: Option<$kind>,)+
        }

        impl SourceSettings {
            /// Sets one by its name; `false` if there is none of that name.
            pub(super) fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
                match name {
                    $($name => {
                        let parsed = value.parse::<$kind>();
                        let parsed = parsed.map_err(|error| format!("{name}={value}: {error}"));
                        self.$field = Some(parsed?);
                    })+
                    _ => return Ok(false),
                }
                Ok(true)
            }

            /// Names of those that are set.
            pub(super) fn names(&self) -> Vec<&'static str> {
                let mut names = Vec::new();
                $(if self.$field.is_some() {
                    names.push($name);
                })+
                names
            }

            /// These, and for what they leave open the `others`.
            pub fn or(self, others: Self) -> Self {
                Self { $($field: self.$field.or(others.$field),)+ }
            }
        }
    };
}

settings! {
    /// Width in pixels.
    width: u32 = "width",
    /// Height in pixels.
    height: u32 = "height",
    /// Frames a second.
    fps: f64 = "fps",
    /// How the pictures are encoded.
    format: PictureFormat = "format",
    /// Bytes from row to row of raw pictures; by default rows are not padded.
    stride: u32 = "stride",
    /// Bits that samples of 16 bits use, the lowest, 9–16; the model's by default. Formats that say
    /// it themselves (`gray10le`, portable maps) go by that.
    bits: u32 = "bits",
    /// Which picture of a file with several is read, from 1; without it such a file is invalid.
    page: usize = "page",
    /// Most pixels of a picture; by default those of the whole configuration, else 100 million.
    max_pixels: u64 = "max-pixels",
    /// What the numbers of raw YUV pictures mean; `bt601` by default.
    colour: YuvColour = "colour",
    /// Whether frames may be grey, which costs less: for models that see grey. Sources whose frames
    /// are what they are take no notice.
    grey: bool = "grey",
    /// The program that decodes; `auto` by default.
    decoder: Decoder = "decoder",
    /// How an RTSP camera sends; `tcp` by default.
    transport: Transport = "transport",
    /// Silence after which a source is given up and opened again. By default 10 s for network
    /// streams, 5 s for cameras, none for pipes.
    timeout: Seconds = "timeout",
    /// Time from picture to picture of a snapshot address; 1 s by default. Where it is set, the
    /// address is taken for one.
    every: Seconds = "every",
    /// Whether a video begins again at its end.
    looped: bool = "loop",
    /// Whether a video is played at its own frame rate in place of as fast as frames are taken.
    realtime: bool = "realtime",
    /// Whether a pipe's frames come at their own pace, as a camera's do: see
    /// [`Source::is_live`](super::Source::is_live).
    live: bool = "live",
    /// Whether a folder's pictures are those that are there and arrive (`also`, the default), or
    /// those that arrive (`only`).
    new: FolderPictures = "new",
    /// Whether a folder is watched for pictures that arrive, as it is by default.
    watch: bool = "watch",
    /// Share of procedural frames that show a defect, 0–1; 0 by default.
    defects: f64 = "defects",
    /// Procedural frames in a row that show a defect of one kind, when they do; 3 by default.
    dwell: u32 = "dwell",
    /// Seed of procedural frames; 1 by default.
    seed: u64 = "seed",
    /// Which part procedural frames show; 1 by default.
    part: u64 = "part",
    /// Procedural frames after which the source ends.
    count: u64 = "count",
    /// Procedural frames that are drawn at the start and shown again and again, where drawing would
    /// be what is measured.
    distinct: u32 = "distinct",
}

impl SourceSettings {
    /// How picture files of the source are read. Bits are for [`Bits`](super::bits::Bits) to set.
    pub(super) fn decode_options(&self) -> DecodeOptions {
        let usual = DecodeOptions::default();
        DecodeOptions {
            max_pixels: self.max_pixels.unwrap_or(usual.max_pixels),
            page: self.page,
            ..usual
        }
        .with_room()
    }

    /// Checks the ranges of what no source can take.
    pub(super) fn check(&self) -> Result<(), String> {
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if side == Some(0) {
                return Err(format!("{name}=0: choose at least 1 pixel"));
            }
        }
        if let Some(bits) = self.bits
            && bits != 16
            && !LESS_THAN_16.contains(&bits)
        {
            return Err(format!("bits={bits}: choose 9 to 16"));
        }
        if self.page == Some(0) {
            return Err("page=0: pages are counted from 1".to_owned());
        }
        if self.max_pixels == Some(0) {
            return Err("max-pixels=0: choose at least 1 pixel".to_owned());
        }
        if let Some(fps) = self.fps
            && !(0.0..=10_000.0).contains(&fps)
        {
            return Err(format!("fps={fps}: choose 0 to 10000 frames a second"));
        }
        if let Some(rate) = self.defects
            && !(0.0..=1.0).contains(&rate)
        {
            return Err(format!("defects={rate}: choose a share from 0 to 1"));
        }
        if self.every.is_some_and(|every| every.0.is_zero()) {
            return Err("every=0: choose a time, such as 1s".to_owned());
        }
        for (name, count) in [("dwell", self.dwell), ("distinct", self.distinct)] {
            if count == Some(0) {
                return Err(format!("{name}=0: choose at least 1 frame"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_a_configuration_file() {
        let settings: SourceSettings = toml::from_str(
            "width = 640\nfps = 30\nformat = 'YUYV'\ncolour = 'bt601-full'\ndecoder = 'gstreamer'\n\
             timeout = '2s'\nloop = true\nnew = 'only'\ntransport = 'udp'\n",
        )
        .unwrap();
        assert_eq!(settings.width, Some(640));
        assert_eq!(settings.fps, Some(30.0));
        assert_eq!(
            settings.format,
            Some(PictureFormat::Raw(RawFormat::Yuyv422))
        );
        assert_eq!(settings.colour, Some(YuvColour::Bt601Full));
        assert_eq!(settings.decoder, Some(Decoder::Gstreamer));
        assert_eq!(settings.timeout, Some(Seconds(Duration::from_secs(2))));
        assert_eq!(settings.looped, Some(true));
        assert_eq!(settings.new, Some(FolderPictures::Only));
        assert_eq!(settings.transport, Some(Transport::Udp));
        let settings: SourceSettings = toml::from_str("timeout = 0.5").unwrap();
        assert_eq!(settings.timeout, Some(Seconds(Duration::from_millis(500))));

        let unknown = toml::from_str::<SourceSettings>("wdith = 640").unwrap_err();
        assert!(
            unknown.to_string().contains("expected one of `width`"),
            "{unknown}"
        );
        assert!(toml::from_str::<SourceSettings>("format = 'h264'").is_err());
        assert!(toml::from_str::<SourceSettings>("timeout = -1").is_err());
    }

    #[test]
    fn what_is_set_wins_over_what_is_not() {
        let mut own = SourceSettings::default();
        assert_eq!(own.set("width", "320"), Ok(true));
        assert_eq!(own.set("depth", "320"), Ok(false));
        assert!(
            own.set("width", "wide")
                .unwrap_err()
                .starts_with("width=wide: ")
        );
        let others = SourceSettings {
            width: Some(640),
            height: Some(480),
            ..SourceSettings::default()
        };
        let both = own.or(others);
        assert_eq!((both.width, both.height), (Some(320), Some(480)));
        assert_eq!(both.names(), ["width", "height"]);
    }
}
