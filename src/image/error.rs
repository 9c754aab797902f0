//! Why a plane could not be processed.

/// Why a plane could not be processed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A smoothing that can't be carried out.
    #[error("smoothing: found {found}, expected a standard deviation from 0 to 128 pixels")]
    Smoothing {
        /// Standard deviation in pixels.
        found: f32,
    },
    /// A plane without pixels.
    #[error("a plane of {height}×{width} pixels: expected at least one row and one column")]
    Empty {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
    },
    /// A plane of another size than was declared.
    #[error("plane: found {found} values, expected {expected}")]
    Length {
        /// Values given.
        found: usize,
        /// Values expected.
        expected: usize,
    },
    /// A side that no plane can have.
    #[error("plane: a side of {found} pixels, expected at most 4294967295")]
    Side {
        /// Pixels.
        found: usize,
    },
}
