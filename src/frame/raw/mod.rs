//! Raw pictures of cameras and their conversion into frames.
//!
//! A [`RawLayout`] says how the bytes of one picture lie, a [`RawConverter`] makes a
//! [`Frame`](super::Frame) of them, in the frame's own memory.

mod convert;
mod format;
mod layout;
mod yuv;

pub use convert::RawConverter;
pub use format::RawFormat;
pub use layout::RawLayout;
pub use yuv::YuvColour;

#[cfg(test)]
mod tests;
