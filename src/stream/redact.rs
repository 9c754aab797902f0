//! Addresses as people may see them: `***` in place of a password.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// An address with `***` for its password, as in `rtsp://user:secret@host/…`; a command with that
/// of each address in it.
pub(super) fn without_password(address: &str) -> String {
    // Here blanks can only be part of the password.
    let hidden = || {
        let (scheme, rest) = address.split_once("://")?;
        if scheme.contains(':') {
            return None;
        }
        let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
        let (login, _) = authority.rsplit_once('@')?;
        let (user, _) = login.split_once(':')?;
        Some(format!("{scheme}://{user}:***{}", &rest[login.len()..]))
    };
    match hidden() {
        Some(hidden) => hidden,
        None => without_passwords(address).into_owned(),
    }
}

/// A program's words with `***` for the passwords of the addresses that it repeats.
pub(super) fn without_passwords(text: &str) -> Cow<'_, str> {
    static PASSWORD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(://[^\s/@:]*):[^\s/]*@").expect("a sound expression"));
    PASSWORD.replace_all(text, "$1:***@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_password() {
        for (address, shown) in [
            (
                "rtsp://me:s3:cr@t@cam:554/live",
                "rtsp://me:***@cam:554/live",
            ),
            ("rtsp://me:two words@cam", "rtsp://me:***@cam"),
            ("http://me:why?@cam/a", "http://me:***@cam/a"),
            ("rtsp://cam/a@b:c", "rtsp://cam/a@b:c"),
            ("http://user@cam/", "http://user@cam/"),
            ("/dev/video0", "/dev/video0"),
            (
                "pipe:ffmpeg -i rtsp://me:secret@cam/ -f image2pipe -",
                "pipe:ffmpeg -i rtsp://me:***@cam/ -f image2pipe -",
            ),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }

    #[test]
    fn passwords_that_a_program_repeats_are_not_shown() {
        for (said, shown) in [
            (
                "rtsp://me:secret@camera:554/x: Connection refused",
                "rtsp://me:***@camera:554/x: Connection refused",
            ),
            (
                "rtsp://me:s@c:r:t@camera/x: no",
                "rtsp://me:***@camera/x: no",
            ),
            ("rtsp://:secret@camera", "rtsp://:***@camera"),
            (
                "tcp://camera:554?timeout=5 failed, mail a@b",
                "tcp://camera:554?timeout=5 failed, mail a@b",
            ),
            ("[rtsp @ 0x55] method failed", "[rtsp @ 0x55] method failed"),
        ] {
            assert_eq!(without_passwords(said), shown);
        }
    }
}
