use std::io::Write;

use super::*;

fn picture(value: u8) -> Vec<u8> {
    [&b"P5 2 1 255\n"[..], &[value, value + 1]].concat()
}

fn write(folder: &Path, name: &str, value: u8) {
    fs::write(folder.join(name), picture(value)).unwrap();
}

fn open(path: &Path, settings: &str) -> Result<Folder, SourceError> {
    Folder::open("folder", path, &toml::from_str(settings).unwrap())
}

/// The name of the next frame's file, waited for.
fn next(folder: &mut Folder) -> Result<String, SourceError> {
    let mut frame = Frame::blank("folder");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        match folder.read(&mut frame)? {
            Arrival::Frame => {
                let path = Path::new(frame.source());
                assert!(path.is_absolute());
                return Ok(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
            Arrival::Nothing => {}
            Arrival::End => return Ok("the end".to_owned()),
        }
    }
    Ok("nothing".to_owned())
}

#[test]
fn pictures_that_are_there_come_in_natural_order() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path();
    for name in [
        "f10.pgm",
        "f9.pgm",
        ".f1.pgm",
        "f2.partial",
        "f3.tmp.pgm",
        "notes.txt",
    ] {
        write(folder, name, 1);
    }
    fs::create_dir(folder.join("f0.pgm")).unwrap();
    fs::write(folder.join("f1.pgm"), "no picture").unwrap();
    let mut source = open(folder, "watch = false").unwrap();
    assert!(!source.is_live());
    let error = next(&mut source).unwrap_err();
    assert!(error.is_of_one_frame(), "{error}");
    for expected in ["f9.pgm", "f10.pgm", "the end", "the end"] {
        assert_eq!(next(&mut source).unwrap(), expected);
    }
}

#[test]
fn pictures_arrive_once_they_are_whole() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path();
    write(folder, "a.pgm", 1);
    let mut source = open(folder, "").unwrap();
    assert_eq!(next(&mut source).unwrap(), "a.pgm");

    let mut half = fs::File::create(folder.join("b.pgm")).unwrap();
    half.write_all(&picture(2)[..5]).unwrap();
    write(folder, "c.partial", 3);
    fs::rename(folder.join("c.partial"), folder.join("c.pgm")).unwrap();
    assert_eq!(next(&mut source).unwrap(), "c.pgm");
    half.write_all(&picture(2)[5..]).unwrap();
    drop(half);
    assert_eq!(next(&mut source).unwrap(), "b.pgm");
    // The same name with other content is another frame.
    fs::write(folder.join("a.pgm"), b"P5 3 1 255\nabc").unwrap();
    assert_eq!(next(&mut source).unwrap(), "a.pgm");
    let mut frame = Frame::blank("folder");
    assert_eq!(source.read(&mut frame).unwrap(), Arrival::Nothing);
}

#[test]
fn only_new_pictures_where_that_is_asked() {
    let room = tempfile::tempdir().unwrap();
    write(room.path(), "old.pgm", 1);
    let mut source = open(room.path(), "new = 'only'").unwrap();
    write(room.path(), "new.pgm", 2);
    assert_eq!(next(&mut source).unwrap(), "new.pgm");
    let error = open(room.path(), "new = 'only'\nwatch = false")
        .err()
        .unwrap();
    assert!(
        error.is_permanent() && error.to_string().contains("drop one"),
        "{error}"
    );
}

#[test]
fn what_nobody_announces_is_found_by_looking_twice() {
    let room = tempfile::tempdir().unwrap();
    write(room.path(), "a.pgm", 1);
    let mut source = open(room.path(), "").unwrap();
    assert_eq!(next(&mut source).unwrap(), "a.pgm");
    // As over a network: nothing is heard.
    let (_sender, silence) = channel();
    source.watching.as_mut().unwrap().events = silence;
    write(room.path(), "b.pgm", 2);
    source.rescan().unwrap();
    assert!(source.waiting.is_empty());
    source.rescan().unwrap();
    assert_eq!(next(&mut source).unwrap(), "b.pgm");
    source.rescan().unwrap();
    assert!(source.waiting.is_empty());
    fs::remove_file(room.path().join("a.pgm")).unwrap();
    source.rescan().unwrap();
    assert_eq!(source.seen.len(), 1);
}

#[test]
fn a_folder_that_goes_is_lost() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("day");
    let missing = open(&folder, "").err().unwrap();
    assert!(!missing.is_permanent());
    assert_eq!(missing.to_string(), "folder: there is no such folder");
    fs::create_dir(&folder).unwrap();
    let mut source = open(&folder, "").unwrap();
    fs::remove_dir(&folder).unwrap();
    let error = next(&mut source).unwrap_err();
    assert!(!error.is_permanent() && !error.is_of_one_frame(), "{error}");
}
