//! Addresses with a login in them: checked, decoded (RFC 3986), and shown without their secrets.

use std::{borrow::Cow, sync::LazyLock};

use regex::Regex;

/// Schemes of what lies on this machine: `:` and `@` in such an address are part of a path.
const LOCAL: [&str; 5] = ["v4l2", "csi", "file", "folder", "synth"];

/// Where an authority ends; a web client takes `\` for `/`.
const RESERVED: [char; 4] = ['/', '?', '#', '\\'];

/// The scheme of an address in lower case, and what stands behind `://`.
pub(super) fn split_scheme(address: &str) -> Option<(String, &str)> {
    let (scheme, rest) = address.split_once("://")?;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    (!scheme.is_empty() && scheme.bytes().all(sound)).then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Refuses a login with characters that end it early: a part of the password would be taken for
/// the host, the path or a setting.
///
/// # Errors
/// How such characters are written. Nothing of the address is in the text.
pub(super) fn check_login(address: &str) -> Result<(), String> {
    let Some((scheme, rest)) = split_scheme(address) else {
        return Ok(());
    };
    let Some((login, _)) = rest.rsplit_once('@') else {
        return Ok(());
    };
    if LOCAL.contains(&&*scheme) || !login.contains(':') {
        return Ok(());
    }
    if login.contains(RESERVED) {
        return Err(
            "has an @ behind a /, ?, # or \\: in user and password write these as %2F, %3F, %23 \
             and %5C; an @ that is no part of a login as %40"
                .to_owned(),
        );
    }
    percent_decoded(login).map(drop)
}

/// Undoes percent-encoding.
///
/// # Errors
/// A `%` without two hexadecimal digits, and what is no UTF-8 once decoded.
pub(super) fn percent_decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = after
                .get(..2)
                .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
                .and_then(|digits| std::str::from_utf8(digits).ok());
            let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(value.ok_or("has a % without two digits behind it; write %25 for %")?);
            rest = &after[2..];
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 once decoded".to_owned())
}

/// An address with `***` for its password, as in `rtsp://user:secret@host/…`, and for secrets in
/// its query; a command with that of each address in it.
pub(super) fn without_password(address: &str) -> String {
    if address
        .get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("pipe:"))
    {
        return without_passwords(address).into_owned();
    }
    let start = match split_scheme(address) {
        Some((scheme, _)) if LOCAL.contains(&&*scheme) => return address.to_owned(),
        Some((scheme, _)) => scheme.len() + 3,
        None => 0,
    };
    let hidden = || {
        // Also where the scheme is missing or half of it: `user:secret@host`, `rtsp:/user:…`.
        let end = start + address[start..].rfind('@')?;
        let login = &address[start..end];
        let colon = login
            .match_indices(':')
            .find(|(place, _)| start > 0 || !login[place + 1..].starts_with('/'));
        let colon = start + colon.map(|(place, _)| place).or_else(|| login.find(':'))?;
        Some(format!("{}:***{}", &address[..colon], &address[end..]))
    };
    let shown = hidden().unwrap_or_else(|| address.to_owned());
    without_query_secrets(&shown).into_owned()
}

/// A program's words with `***` for the secrets in the addresses that it repeats.
pub(super) fn without_passwords(text: &str) -> Cow<'_, str> {
    static PASSWORD: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(://[^\s/@:?#\\]*):\S*@").expect("a sound expression"));
    match PASSWORD.replace_all(text, "$1:***@") {
        Cow::Borrowed(text) => without_query_secrets(text),
        Cow::Owned(text) => Cow::Owned(without_query_secrets(&text).into_owned()),
    }
}

/// Cameras take passwords in their query too (`?usr=…&pwd=…`), SRT has its passphrase there.
fn without_query_secrets(text: &str) -> Cow<'_, str> {
    static SECRET: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(
            r"(?ix) ( [?&] (?: \w*pass\w* | loginpas | pwd | \w*token | (?:api_?)?key | secret
            | auth\w* | sig\w* ) = ) [^\s&\#'\x22]+",
        )
        .expect("a sound expression")
    });
    SECRET.replace_all(text, "$1***")
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
            ("RTSP://me:secret@cam/a", "RTSP://me:***@cam/a"),
            ("rtsp://me:two words@cam", "rtsp://me:***@cam"),
            ("http://me:why?@cam/a", "http://me:***@cam/a"),
            ("rtsp://me:p#ss/wo?d@cam/a", "rtsp://me:***@cam/a"),
            ("rtsp://me:12/34@cam/a", "rtsp://me:***@cam/a"),
            ("rtsp:/me:secret@cam/a", "rtsp:/me:***@cam/a"),
            ("me:secret@cam/a", "me:***@cam/a"),
            ("rtsp://cam/a@b:c", "rtsp://cam/a@b:c"),
            ("http://user@cam/", "http://user@cam/"),
            ("file:///a:b/c@d.mp4", "file:///a:b/c@d.mp4"),
            (
                "http://cam/snap.cgi?usr=me&pwd=secret&n=1",
                "http://cam/snap.cgi?usr=me&pwd=***&n=1",
            ),
            (
                "srt://cam:9000?passphrase=secret12345#grey=true",
                "srt://cam:9000?passphrase=***#grey=true",
            ),
            ("/dev/video0", "/dev/video0"),
            (
                "pipe:ffmpeg -i rtsp://me:sec/ret@cam/ -f image2pipe -",
                "pipe:ffmpeg -i rtsp://me:***@cam/ -f image2pipe -",
            ),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }

    #[test]
    fn passwords_that_a_program_repeats_are_not_shown() {
        for (text, shown) in [
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
            assert_eq!(without_passwords(text), shown);
        }
    }

    #[test]
    fn a_login_is_refused_that_would_end_early() {
        for address in [
            "rtsp://me:p#ss@host/s",
            "rtsp://me:p/ss@host/s",
            "rtsp://me:12/34@host/s",
            "rtsp://me:p?ss@host/s",
            "http://me:p\\ss@host/s",
            "rtsp://m/e:pss@host/s",
            "rtsp://me:pa@b#c@host/s",
            "rtsp://me:100%@host/s",
        ] {
            let problem = check_login(address).unwrap_err();
            assert!(
                problem.contains('%') && !problem.contains("me:"),
                "{problem}"
            );
        }
        for address in [
            "rtsp://me:p%23ss@host/s",
            "rtsp://me:s3:cr@t@cam:554/live",
            "rtsp://cam:554/a?b#grey=true",
            "rtsp://cam/a@b:c",
            "file:///a:b/c@d.mp4",
            "a:b/c@d",
        ] {
            assert_eq!(check_login(address), Ok(()), "{address}");
        }
    }
}
