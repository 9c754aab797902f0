//! Durations and sizes as people write them in a configuration: `"1m 30s"`, `"64 MB"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Whole(u64),
    Fraction(f64),
    Text(String),
}

/// A number of seconds, or text as humantime reads it: `0.5`, `"500ms"`, `"1h 30m"`.
pub(in crate::stream) fn duration<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Duration, D::Error> {
    match Written::deserialize(from)? {
        Written::Whole(seconds) => Ok(Duration::from_secs(seconds)),
        Written::Fraction(seconds) => of_seconds(seconds).map_err(Error::custom),
        Written::Text(text) => parse_duration(&text).map_err(Error::custom),
    }
}

/// [`duration`] for a key that may be absent.
pub(in crate::stream) fn optional_duration<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

/// A number of bytes, or text with a unit: `1048576`, `"64 MB"`, `"1.5 GiB"`.
pub(in crate::stream) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    match Written::deserialize(from)? {
        Written::Whole(bytes) => Ok(bytes),
        Written::Fraction(bytes) => Err(Error::custom(format!("{bytes} is no number of bytes"))),
        Written::Text(text) => parse_bytes(&text).map_err(Error::custom),
    }
}

fn of_seconds(seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("{seconds} is no number of seconds"))
}

/// [`duration`] of text, which may be a number of seconds too.
pub(in crate::stream) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return of_seconds(seconds);
    }
    humantime::parse_duration(text)
        .map_err(|error| format!("{text:?} is no duration ({error}); write it as \"1m 30s\""))
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    let problem = || format!("{text:?} is no size; write it as \"64 MB\" or \"1.5 GiB\"");
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| problem())?;
    let unit: f64 = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        "kib" => 1024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        "tib" => 1_099_511_627_776.0,
        _ => return Err(problem()),
    };
    // `as` saturates.
    Ok((number * unit).round() as u64)
}

/// A size for messages: `3.2 MB`.
pub(in crate::stream) fn written_bytes(bytes: u64) -> String {
    let value = bytes as f64;
    for (unit, size) in [("GB", 1e9), ("MB", 1e6), ("kB", 1e3)] {
        if value >= size {
            return format!("{:.1} {unit}", value / size);
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("17 B", 17),
            ("64 MB", 64_000_000),
            ("64MiB", 67_108_864),
            ("1.5 GiB", 1_610_612_736),
            (" 2 kb ", 2000),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "-1", "1 parsec", "1.2.3"] {
            let problem = parse_bytes(text).unwrap_err();
            assert!(problem.contains("is no size"), "{problem}");
        }
        assert_eq!(written_bytes(3_240_000), "3.2 MB");
        assert_eq!(written_bytes(999), "999 bytes");
    }

    #[test]
    fn durations_are_numbers_or_words() {
        #[derive(Deserialize)]
        struct Held {
            #[serde(deserialize_with = "duration")]
            wait: Duration,
            #[serde(default, deserialize_with = "optional_duration")]
            age: Option<Duration>,
        }
        let read = |text: &str| toml::from_str::<Held>(text);
        assert_eq!(read("wait = 2").unwrap().wait, Duration::from_secs(2));
        let held = read("wait = 0.25\nage = '1h 30m'").unwrap();
        assert_eq!(held.wait, Duration::from_millis(250));
        assert_eq!(held.age, Some(Duration::from_secs(5400)));
        assert_eq!(read("wait = '50ms'").unwrap().age, None);
        assert_eq!(read("wait = ' 1.5 '").unwrap().wait.as_millis(), 1500);
        for text in [
            "wait = -1",
            "wait = -0.5",
            "wait = 'soon'",
            "wait = '-2'",
            "wait = nan",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
