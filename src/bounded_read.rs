//! Files are read up to a limit.

use std::{
    fs::File,
    io::{self, Error, ErrorKind, Read},
    path::Path,
};

/// The bytes of a file that has at most `most` of them. A pipe or a device, which may never end, is
/// read no further either.
///
/// # Errors
/// What the system says, and [`ErrorKind::FileTooLarge`] with the limit.
pub fn read_bounded(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > most {
        return Err(too_large(&format!("it has {size} bytes"), most));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    // It may grow while it is read.
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(too_large("it goes on and on", most));
    }
    Ok(bytes)
}

/// [`read_bounded`], of a file of text in UTF-8.
///
/// # Errors
/// Those of [`read_bounded`], and [`ErrorKind::InvalidData`] for other bytes.
pub fn read_text_bounded(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read_bounded(path, most)?)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is no text in UTF-8"))
}

fn too_large(found: &str, most: u64) -> Error {
    let problem = format!("{found}, at most {most} are read: is it the right file?");
    Error::new(ErrorKind::FileTooLarge, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_no_further() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read_text_bounded(&path, 4).unwrap(), "four");
        let error = read_bounded(&path, 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(
            error.to_string(),
            "it has 4 bytes, at most 3 are read: is it the right file?"
        );
        std::fs::write(&path, [0xff]).unwrap();
        let error = read_text_bounded(&path, 4).unwrap_err();
        assert_eq!(error.to_string(), "it is no text in UTF-8");
        let missing = read_bounded(&dir.path().join("other"), 4).unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn what_never_ends_is_given_up() {
        let error = read_bounded(Path::new("/dev/zero"), 1 << 20).unwrap_err();
        assert!(
            error.to_string().starts_with("it goes on and on"),
            "{error}"
        );
    }
}
