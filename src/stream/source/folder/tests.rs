use std::io::Write;

use super::*;

fn picture(value: u8) -> Vec<u8> {
    [&b"P5 2 1 255\n"[..], &[value, value + 1]].concat()
}

fn write(folder: &Path, name: &str, value: u8) {
    fs::write(folder.join(name), picture(value)).unwrap();
}

fn open(path: &Path, settings: &str) -> Result<Folder, SourceError> {
    again(path, settings, &SeenFiles::default())
}

/// Opens a folder that gave pictures before.
fn again(path: &Path, settings: &str, seen: &SeenFiles) -> Result<Folder, SourceError> {
    Folder::open("folder", path, &toml::from_str(settings).unwrap(), seen)
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
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
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
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
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
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "old.pgm", 1);
    let mut source = open(dir.path(), "new = 'only'").unwrap();
    write(dir.path(), "new.pgm", 2);
    assert_eq!(next(&mut source).unwrap(), "new.pgm");
    let error = open(dir.path(), "new = 'only'\nwatch = false")
        .err()
        .unwrap();
    assert!(
        error.is_permanent() && error.to_string().contains("drop one"),
        "{error}"
    );
}

#[test]
fn what_nobody_announces_is_found_by_looking_twice() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "a.pgm", 1);
    let mut source = open(dir.path(), "").unwrap();
    assert_eq!(next(&mut source).unwrap(), "a.pgm");
    // As over a network: nothing is heard.
    let (_sender, silence) = sync_channel(1);
    source.watching.as_mut().unwrap().events = silence;
    write(dir.path(), "b.pgm", 2);
    source.look().unwrap();
    assert!(source.waiting.is_empty());
    source.look().unwrap();
    assert_eq!(next(&mut source).unwrap(), "b.pgm");
    source.look().unwrap();
    assert!(source.waiting.is_empty());
    // A network folder that is away for a moment looks empty.
    let path = dir.path().join("a.pgm");
    fs::rename(&path, dir.path().join("a")).unwrap();
    source.look().unwrap();
    fs::rename(dir.path().join("a"), &path).unwrap();
    source.look().unwrap();
    source.look().unwrap();
    assert!(source.waiting.is_empty() && source.found.is_empty());
}

#[test]
fn announcements_for_which_there_is_no_room_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(dir.path(), "").unwrap();
    let watching = source.watching.as_mut().unwrap();
    let (_sender, silence) = sync_channel(1);
    watching.events = silence;
    // As when the queue is full.
    watching.missed.store(true, Ordering::Relaxed);
    write(dir.path(), "a.pgm", 1);
    let mut frame = Frame::blank("folder");
    assert_eq!(source.read(&mut frame).unwrap(), Arrival::Nothing);
    assert_eq!(source.found.len(), 1);
    source.next_look = Instant::now();
    assert_eq!(next(&mut source).unwrap(), "a.pgm");
}

#[test]
fn many_pictures_at_once_all_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let mut source = open(dir.path(), "").unwrap();
    let many = ANNOUNCEMENTS + 500;
    for i in 0..many {
        write(dir.path(), &format!("{i}.pgm"), 1);
    }
    let mut names = std::collections::HashSet::new();
    while names.len() < many {
        // What found no room is found by looking, without the wait between.
        if names.len() >= ANNOUNCEMENTS {
            source.next_look = Instant::now();
        }
        assert!(names.insert(next(&mut source).unwrap()));
    }
}

#[test]
fn what_was_given_does_not_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, aside) = (dir.path().join("day"), dir.path().join("aside"));
    fs::create_dir(&folder).unwrap();
    for name in ["1.pgm", "2.pgm", "3.pgm", "4.pgm"] {
        write(&folder, name, 1);
    }
    fs::write(folder.join("1.pgm"), "no picture").unwrap();
    let seen = SeenFiles::default();
    let mut source = again(&folder, "", &seen).unwrap();
    assert!(next(&mut source).unwrap_err().is_of_one_frame());
    assert_eq!(next(&mut source).unwrap(), "2.pgm");

    // The next is lost with the folder, not given up.
    fs::rename(&folder, &aside).unwrap();
    assert!(!next(&mut source).unwrap_err().is_of_one_frame());
    drop(source);
    assert!(again(&folder, "", &seen).is_err());
    fs::write(
        aside.join("2.pgm"),
        b"P5 3 1 255
abc",
    )
    .unwrap();
    write(&aside, "5.pgm", 1);
    fs::rename(&aside, &folder).unwrap();
    let mut source = again(&folder, "", &seen).unwrap();
    for expected in ["2.pgm", "3.pgm", "4.pgm", "5.pgm"] {
        assert_eq!(next(&mut source).unwrap(), expected);
    }
    drop(source);
    let mut source = again(&folder, "watch = false", &seen).unwrap();
    assert_eq!(next(&mut source).unwrap(), "the end");
    // Another source of the same folder has its own.
    assert_eq!(open(&folder, "watch = false").unwrap().waiting.len(), 5);
}

#[test]
fn only_new_pictures_are_those_since_the_first_opening() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "old.pgm", 1);
    let seen = SeenFiles::default();
    drop(again(dir.path(), "new = 'only'", &seen).unwrap());
    write(dir.path(), "new.pgm", 2);
    let mut source = again(dir.path(), "new = 'only'", &seen).unwrap();
    assert_eq!(next(&mut source).unwrap(), "new.pgm");
    assert!(source.waiting.is_empty());
}

#[test]
fn a_folder_that_goes_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("day");
    let missing = open(&folder, "").err().unwrap();
    assert!(!missing.is_permanent());
    assert_eq!(missing.to_string(), "folder: there is no such folder");
    fs::create_dir(&folder).unwrap();
    let mut source = open(&folder, "").unwrap();
    fs::remove_dir(&folder).unwrap();
    let error = next(&mut source).unwrap_err();
    assert!(!error.is_permanent() && !error.is_of_one_frame(), "{error}");
}
