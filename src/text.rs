//! Numbers and times as they are written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last millisecond of the year 9999, after which RFC 3339 has no years: seconds since 1970.
const END_OF_TIME: Duration = Duration::from_millis(253_402_300_799_999);

/// A time in RFC 3339, UTC, with milliseconds. What is before 1970 or after 9999, as times of files
/// may be, is brought to these limits.
pub fn timestamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let within = UNIX_EPOCH + since.min(END_OF_TIME);
    humantime::format_rfc3339_millis(within).to_string()
}

/// A number and what it counts: `1 frame`, `1,200 frames`.
pub fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", with_commas(number))
}

/// A number with its thousands parted.
pub(crate) fn with_commas(number: usize) -> String {
    let digits = number.to_string();
    let mut parted = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            parted.push(',');
        }
        parted.push(digit);
    }
    parted
}

/// Columns under each other: the first to the left, the others to the right.
pub fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    line.push_str(&format!("{cell:<width$}"));
                } else {
                    line.push_str(&format!("  {cell:>width$}"));
                }
            }
            line.trim_end().to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_parted() {
        assert_eq!(counted(1, "frame"), "1 frame");
        assert_eq!(counted(999, "frame"), "999 frames");
        assert_eq!(counted(1_234_567, "group"), "1,234,567 groups");
    }

    #[test]
    fn columns_are_straight() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let lines = aligned(&[row(["", "frames"]), row(["scratch", "7"])]);
        assert_eq!(lines, ["         frames", "scratch       7"]);
    }
}
