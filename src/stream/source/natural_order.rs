//! The order in which people count: `frame2.png` before `frame10.png`.

use std::{cmp::Ordering, ffi::OsStr};

/// Compares names with their numbers as numbers, of any length; everything else byte by byte. Of
/// equal numbers the one with fewer zeros in front comes first, unless something behind decides.
pub(super) fn natural_order(a: &OsStr, b: &OsStr) -> Ordering {
    let (a, b) = (a.as_encoded_bytes(), b.as_encoded_bytes());
    let (mut left, mut right) = (a, b);
    loop {
        match (left.first(), right.first()) {
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, after_x) = number(left);
                let (y, after_y) = number(right);
                let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
                if order.is_ne() {
                    return order;
                }
                (left, right) = (after_x, after_y);
            }
            (Some(x), Some(y)) if x == y => (left, right) = (&left[1..], &right[1..]),
            (x, y) if x.is_some() || y.is_some() => return x.cmp(&y),
            _ => return a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        }
    }
}

/// The digits at the start without zeros in front, and what follows.
fn number(bytes: &[u8]) -> (&[u8], &[u8]) {
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (digits, rest) = bytes.split_at(digits);
    let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
    (&digits[zeros..], rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_and_zeros_do_not() {
        let sorted = [
            "",
            "1",
            "01",
            "2",
            "10",
            "99999999999999999999998",
            "99999999999999999999999",
            "a",
            "a0",
            "a1.png",
            "a01.png",
            "a1b",
            "a2",
            "a02b",
            "a2c",
            "a10",
            "b",
            "é",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                let order = natural_order(OsStr::new(a), OsStr::new(b));
                assert_eq!(order, i.cmp(&j), "{a} {b}");
            }
        }
    }
}
