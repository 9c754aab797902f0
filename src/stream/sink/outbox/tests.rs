use super::*;

fn message(text: &str) -> OutboxMessage {
    OutboxMessage {
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
    while let Some((number, message)) = outbox.front() {
        assert_eq!(message.address, "cam/event");
        bodies.push(String::from_utf8(message.body).unwrap());
        outbox.remove(number).unwrap();
    }
    bodies
}

#[test]
fn messages_come_out_in_order_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for text in ["one", "two\nlines", ""] {
        outbox.push(message(text)).unwrap();
    }
    let (first, _) = outbox.front().unwrap();
    outbox.remove(first).unwrap();
    outbox.remove(first).unwrap();
    drop(outbox);
    let mut outbox = open(dir.path());
    assert_eq!(outbox.len(), 2);
    outbox.push(message("four")).unwrap();
    assert_eq!(drain(&mut outbox), ["two\nlines", "", "four"]);
    assert!(outbox.is_empty() && outbox.bytes == 0);
    drop(outbox);
    assert!(open(dir.path()).front().is_none());
}

#[test]
fn numbers_sort_as_numbers_beyond_ten() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    let texts: Vec<String> = (0..23).map(|number| number.to_string()).collect();
    for text in &texts {
        outbox.push(message(text)).unwrap();
    }
    drop(outbox);
    assert_eq!(drain(&mut open(dir.path())), texts);
}

/// A process that is killed leaves one of these behind: a partial file, a file that was not
/// removed yet, a file that was cut or filled with zeros by a file system after a power failure.
#[test]
fn whatever_an_interruption_leaves_the_others_are_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = open(dir.path());
    for text in ["one", "two", "three", "four"] {
        outbox.push(message(text)).unwrap();
    }
    let whole = fs::read(outbox.path(2)).unwrap();
    let place = outbox.path(2);
    drop(outbox);
    fs::write(dir.path().join(".edge-vae-x1.partial"), &whole[..7]).unwrap();
    for cut in 0..whole.len() {
        fs::write(&place, &whole[..cut]).unwrap();
        let mut outbox = open(dir.path());
        assert_eq!(outbox.len(), 4);
        let (number, _) = outbox.front().unwrap();
        outbox.forget(number);
        assert_eq!(outbox.front().unwrap().1, message("three"), "cut at {cut}");
        assert_eq!(outbox.aside(), 1);
        let notice = outbox.take_notice().unwrap();
        assert!(notice.contains("set aside: it is damaged"), "{notice}");
    }
    fs::write(&place, vec![0; whole.len()]).unwrap();
    let mut outbox = open(dir.path());
    assert_eq!(drain(&mut outbox), ["one", "three", "four"]);
    assert!(!dir.path().join(".edge-vae-x1.partial").exists());
    assert!(dir.path().join("aside").join(file_name(2)).exists());
}

#[test]
fn foreign_files_are_left_alone_and_folders_in_the_way_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), b"x").unwrap();
    fs::write(dir.path().join("1.msg"), b"x").unwrap();
    fs::create_dir(dir.path().join(file_name(7))).unwrap();
    let mut outbox = open(dir.path());
    assert_eq!((outbox.len(), outbox.aside()), (0, 1));
    outbox.push(message("a")).unwrap();
    assert_eq!(outbox.front().unwrap().0, 8, "numbers are not given twice");
    assert!(dir.path().join("holiday.jpg").exists());
}

#[test]
fn a_full_outbox_loses_the_oldest_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut outbox = Outbox::open("test", dir.path(), &settings(3, 1000)).unwrap();
    for text in ["1", "2", "3"] {
        outbox.push(message(text)).unwrap();
    }
    let error = outbox.push(message("4")).unwrap_err().to_string();
    assert!(error.contains("the oldest are lost"), "{error}");
    assert_eq!(outbox.lost(), 1);
    // 9 bytes of address and 985 of body leave no room for others.
    outbox.push(message(&"x".repeat(985))).unwrap_err();
    assert_eq!((outbox.len(), outbox.lost()), (1, 4));
    assert_eq!(drain(&mut outbox), ["x".repeat(985)]);
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path());
    let error = Outbox::open("test", dir.path(), &OutboxSettings::default()).unwrap_err();
    assert!(
        error.to_string().contains("another process uses it"),
        "{error}"
    );
    drop(held);
    open(dir.path());
}

#[test]
fn what_the_disk_does_not_take_waits_in_memory_and_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("outbox");
    let mut outbox = open(&folder);
    outbox.push(message("1")).unwrap();
    // A file in the place of the folder: nothing can be written, whoever asks.
    let away = dir.path().join("away");
    fs::rename(&folder, &away).unwrap();
    fs::write(&folder, b"").unwrap();
    let error = outbox.push(message("2")).unwrap_err().to_string();
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
    let dir = tempfile::tempdir().unwrap();
    let error = Outbox::open("test", dir.path(), &settings(0, 1)).unwrap_err();
    assert!(error.to_string().contains("max-messages"), "{error}");
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = Outbox::open("test", &dir.path().join("file/x"), &settings(1, 1)).unwrap_err();
    assert!(error.to_string().contains("cannot be used"), "{error}");
    let settings: OutboxSettings = toml::from_str("max-bytes = '1 MB'").unwrap();
    assert_eq!(
        (settings.max_bytes, settings.max_messages),
        (1_000_000, 10_000)
    );
    assert!(toml::from_str::<OutboxSettings>("max-size = 1").is_err());
}
