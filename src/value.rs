//! Checks of numbers that several rooms make: domain, count, finiteness.

/// A number, or a list of numbers, that can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// A setting outside of its domain.
    #[error("{setting}: found {found}, expected {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        found: f64,
        /// Its domain.
        expected: &'static str,
    },
    /// Values that belong together differ in number.
    #[error("{what}: found {found} values, expected {expected}")]
    Length {
        /// The values.
        what: &'static str,
        /// Their number.
        found: usize,
        /// What it should be.
        expected: usize,
    },
    /// A value that nothing can be compared with.
    #[error(
        "{what} {index} is {found}, not a finite number: look for such values in the model's \
         weights or the input"
    )]
    NotFinite {
        /// The kind of value.
        what: &'static str,
        /// Which one, from 0.
        index: usize,
        /// NaN or an infinity.
        found: f64,
    },
}

/// Refuses values of another number.
pub(crate) fn check_length(
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), ValueError> {
    if found == expected {
        Ok(())
    } else {
        Err(ValueError::Length {
            what,
            found,
            expected,
        })
    }
}

/// Refuses NaN and infinities.
pub(crate) fn check_finite<T: Copy + Into<f64>>(
    what: &'static str,
    values: &[T],
) -> Result<(), ValueError> {
    match values
        .iter()
        .map(|&value| value.into())
        .enumerate()
        .find(|(_, value)| !value.is_finite())
    {
        Some((index, found)) => Err(ValueError::NotFinite { what, index, found }),
        None => Ok(()),
    }
}
