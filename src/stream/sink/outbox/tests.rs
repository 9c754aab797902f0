use super::*;

fn parcel(text: &str) -> Parcel {
    Parcel {
        address: "cam/event".to_owned(),
        body: text.as_bytes().to_vec(),
    }
}

fn settings(max_messages: usize, max_bytes: u64) -> OutboxSettings {
    OutboxSettings {
        folder: None,
        max_messages,
        max_bytes,
    }
}

fn open(folder: &Path) -> Outbox {
    Outbox::open("test", folder, &OutboxSettings::default()).unwrap()
}

fn drain(outbox: &mut Outbox) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some((number, parcel)) = outbox.front() {
        assert_eq!(parcel.address, "cam/event");
        bodies.push(String::from_utf8(parcel.body).unwrap());
        outbox.remove(number).unwrap();
    }
    bodies
}

#[test]
fn messages_come_out_in_order_over_restarts() {
    let room = tempfile::tempdir().unwrap();
    let mut outbox = open(room.path());
    for text in ["one", "two\nlines", ""] {
        outbox.push(parcel(text)).unwrap();
    }
    let (first, _) = outbox.front().unwrap();
    outbox.remove(first).unwrap();
    outbox.remove(first).unwrap();
    drop(outbox);
    let mut outbox = open(room.path());
    assert_eq!(outbox.len(), 2);
    outbox.push(parcel("four")).unwrap();
    assert_eq!(drain(&mut outbox), ["two\nlines", "", "four"]);
    assert!(outbox.is_empty() && outbox.bytes == 0);
    drop(outbox);
    assert!(open(room.path()).front().is_none());
}

#[test]
fn numbers_sort_as_numbers_beyond_ten() {
    let room = tempfile::tempdir().unwrap();
    let mut outbox = open(room.path());
    let texts: Vec<String> = (0..23).map(|number| number.to_string()).collect();
    for text in &texts {
        outbox.push(parcel(text)).unwrap();
    }
    drop(outbox);
    assert_eq!(drain(&mut open(room.path())), texts);
}

/// A process that is killed leaves one of these behind: a partial file, a file that was not
/// removed yet, a file that was cut or filled with zeros by a file system after a power failure.
#[test]
fn whatever_an_interruption_leaves_the_others_are_delivered() {
    let room = tempfile::tempdir().unwrap();
    let mut outbox = open(room.path());
    for text in ["one", "two", "three", "four"] {
        outbox.push(parcel(text)).unwrap();
    }
    let whole = fs::read(outbox.path(2)).unwrap();
    let place = outbox.path(2);
    drop(outbox);
    fs::write(room.path().join(".edge-vae-x1.partial"), &whole[..7]).unwrap();
    for cut in 0..whole.len() {
        fs::write(&place, &whole[..cut]).unwrap();
        let mut outbox = open(room.path());
        assert_eq!(outbox.len(), 4);
        let (number, _) = outbox.front().unwrap();
        outbox.forget(number);
        assert_eq!(outbox.front().unwrap().1, parcel("three"), "cut at {cut}");
        assert_eq!(outbox.aside(), 1);
        let notice = outbox.take_notice().unwrap();
        assert!(notice.contains("set aside: it is damaged"), "{notice}");
    }
    fs::write(&place, vec![0; whole.len()]).unwrap();
    let mut outbox = open(room.path());
    assert_eq!(drain(&mut outbox), ["one", "three", "four"]);
    assert!(!room.path().join(".edge-vae-x1.partial").exists());
    assert!(room.path().join("aside").join(file_name(2)).exists());
}

#[test]
fn foreign_files_are_left_alone_and_folders_in_the_way_set_aside() {
    let room = tempfile::tempdir().unwrap();
    fs::write(room.path().join("holiday.jpg"), b"x").unwrap();
    fs::write(room.path().join("1.msg"), b"x").unwrap();
    fs::create_dir(room.path().join(file_name(7))).unwrap();
    let mut outbox = open(room.path());
    assert_eq!((outbox.len(), outbox.aside()), (0, 1));
    outbox.push(parcel("a")).unwrap();
    assert_eq!(outbox.front().unwrap().0, 8, "numbers are not given twice");
    assert!(room.path().join("holiday.jpg").exists());
}

#[test]
fn a_full_outbox_loses_the_oldest_and_says_so() {
    let room = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::open("test", room.path(), &settings(3, 1000)).unwrap();
    for text in ["1", "2", "3"] {
        outbox.push(parcel(text)).unwrap();
    }
    let error = outbox.push(parcel("4")).unwrap_err().to_string();
    assert!(error.contains("the oldest are lost"), "{error}");
    assert_eq!(outbox.lost(), 1);
    // 9 bytes of address and 985 of body leave no room for others.
    outbox.push(parcel(&"x".repeat(985))).unwrap_err();
    assert_eq!((outbox.len(), outbox.lost()), (1, 4));
    assert_eq!(drain(&mut outbox), ["x".repeat(985)]);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let room = tempfile::tempdir().unwrap();
    let held = open(room.path());
    let error = Outbox::open("test", room.path(), &OutboxSettings::default()).unwrap_err();
    assert!(
        error.to_string().contains("another process uses it"),
        "{error}"
    );
    drop(held);
    open(room.path());
}

#[test]
fn what_the_disk_does_not_take_waits_in_memory_and_is_written_later() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("outbox");
    let mut outbox = open(&folder);
    outbox.push(parcel("1")).unwrap();
    // A file in the place of the folder: nothing can be written, whoever asks.
    let away = room.path().join("away");
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, b"").unwrap();
    let error = outbox.push(parcel("2")).unwrap_err().to_string();
    assert!(error.contains("cannot write"), "{error}");
    outbox.save().unwrap_err();
    fs::remove_file(&folder).unwrap();
    fs::rename(&away, &folder).unwrap();
    outbox.save().unwrap();
    drop(outbox);
    assert_eq!(drain(&mut open(&folder)), ["1", "2"]);
}

#[test]
fn impossible_settings_and_folders_are_refused() {
    let room = tempfile::tempdir().unwrap();
    let error = Outbox::open("test", room.path(), &settings(0, 1)).unwrap_err();
    assert!(error.to_string().contains("max-messages"), "{error}");
    fs::write(room.path().join("file"), b"").unwrap();
    let error = Outbox::open("test", &room.path().join("file/x"), &settings(1, 1)).unwrap_err();
    assert!(error.to_string().contains("cannot be used"), "{error}");
    let settings: OutboxSettings = toml::from_str("max-bytes = '1 MB'").unwrap();
    assert_eq!(
        (settings.max_bytes, settings.max_messages),
        (1_000_000, 10_000)
    );
    assert!(toml::from_str::<OutboxSettings>("max-size = 1").is_err());
}
