//! How hot the machine is.

use std::{fs, path::Path};

/// Where Linux tells the temperatures of its sensors.
const ZONES: &str = "/sys/class/thermal";

/// The hottest of the machine's sensors, degrees Celsius; `None` where it tells none.
pub(super) fn hottest() -> Option<f64> {
    of(Path::new(ZONES))
}

fn of(zones: &Path) -> Option<f64> {
    let entries = fs::read_dir(zones).ok()?;
    let temperatures = entries.filter_map(|entry| {
        // Fans and the like stand beside the zones. Sensors that are off give an error.
        let text = fs::read_to_string(entry.ok()?.path().join("temp")).ok()?;
        let thousandths: i32 = text.trim().parse().ok()?;
        // −127 °C and the like stand for a sensor that is not there.
        (-40_000..200_000)
            .contains(&thousandths)
            .then_some(f64::from(thousandths) / 1e3)
    });
    temperatures.reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_of_the_sensors_that_work() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of(dir.path()), None);
        for (zone, text) in [
            ("thermal_zone0", "41500\n"),
            ("thermal_zone1", "67250\n"),
            ("thermal_zone2", "-256000\n"),
            ("thermal_zone3", "none\n"),
            ("cooling_device0", ""),
        ] {
            fs::create_dir(dir.path().join(zone)).unwrap();
            if !text.is_empty() {
                fs::write(dir.path().join(zone).join("temp"), text).unwrap();
            }
        }
        assert_eq!(of(dir.path()), Some(67.25));
        assert_eq!(of(&dir.path().join("gone")), None);
    }
}
