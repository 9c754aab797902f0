//! A line as the kernel gives it.

use std::path::Path;

use gpiocdev::{Request, line::Value};
use rustix::io::Errno;

use super::{GpioLevel, GpioSettings, Line};

struct KernelLine {
    request: Request,
    offset: u32,
}

fn value(level: GpioLevel) -> Value {
    match level {
        GpioLevel::Inactive => Value::Inactive,
        GpioLevel::Active => Value::Active,
    }
}

impl Line for KernelLine {
    fn set(&mut self, level: GpioLevel) -> Result<(), String> {
        self.request
            .set_value(self.offset, value(level))
            .map(|_| ())
            .map_err(|error| format!("cannot set the line: {error}"))
    }
}

/// Takes the line, and sets it to its fail-safe level.
pub(super) fn take(
    chip: &Path,
    offset: u32,
    settings: &GpioSettings,
) -> Result<Box<dyn Line>, String> {
    let mut builder = Request::builder();
    builder
        .on_chip(chip)
        .with_consumer("edge-vae")
        .with_line(offset);
    if settings.active_low {
        builder.as_active_low();
    }
    let request = builder
        .as_output(value(settings.fail_safe))
        .request()
        .map_err(|error| explain(&error, chip, offset))?;
    Ok(Box::new(KernelLine { request, offset }))
}

fn explain(error: &gpiocdev::Error, chip: &Path, offset: u32) -> String {
    let shown = chip.display();
    // The number is behind a type of a crate below; its text is not.
    let number: Option<i32> = error
        .to_string()
        .rsplit_once("os error ")
        .and_then(|(_, number)| number.trim_end_matches([')', '.']).parse().ok())
        .or_else(|| std::fs::metadata(chip).err()?.raw_os_error());
    match number.map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => {
            format!("there is no chip {shown}; `gpiodetect` lists those of this machine")
        }
        Some(Errno::ACCESS | Errno::PERM) => {
            format!(
                "{shown} may not be opened by this user; add it to the group of the device (often \
                 gpio)"
            )
        }
        Some(Errno::BUSY) => {
            format!("line {offset} is used by another program; `gpioinfo` says which")
        }
        Some(Errno::INVAL) => format!("{shown} has no line {offset}, or it can't be an output"),
        _ => format!("cannot use line {offset} of {shown}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::sink::Gpio;

    #[test]
    fn lines_that_cannot_be_used_are_refused_in_clear_words() {
        let problem = |line: &str| {
            Gpio::open(&GpioSettings::new(line))
                .err()
                .unwrap()
                .to_string()
        };
        for line in ["17", "/dev/gpiochip0", ":17", "/dev/gpiochip0:x"] {
            assert!(problem(line).contains("write chip and number"), "{line}");
        }
        let found = problem("/dev/no-such-chip:3");
        assert!(
            found.contains("there is no chip /dev/no-such-chip"),
            "{found}"
        );
        let found = problem("/dev/null:3");
        assert!(found.starts_with("gpio /dev/null:3: "), "{found}");
        let busy = gpiocdev::Error::from(std::io::Error::from_raw_os_error(16));
        let found = explain(&busy, Path::new("/dev/null"), 3);
        assert!(found.contains("used by another program"), "{found}");
    }
}
