use super::{super::settings::Transport, *};

fn address(text: &str) -> Address {
    text.parse::<SourceUri>().unwrap().address
}

fn refusal(text: &str) -> String {
    let error = text.parse::<SourceUri>().unwrap_err();
    assert!(error.is_permanent());
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn every_kind_of_source_has_its_address() {
    let path = |text: &str| PathBuf::from(text);
    for text in ["v4l2:///dev/video0", "/dev/video0", "v4l2://0"] {
        assert_eq!(
            address(text),
            Address::Camera(path("/dev/video0")),
            "{text}"
        );
    }
    assert_eq!(address("csi://1"), Address::Csi(1));
    assert_eq!(address("file://clip.mp4"), Address::File(path("clip.mp4")));
    assert_eq!(
        address("file:///a/my%20clip.mp4"),
        Address::File(path("/a/my clip.mp4"))
    );
    assert_eq!(address("100%.mp4"), Address::File(path("100%.mp4")));
    assert_eq!(address("folder:///a/b"), Address::Folder(path("/a/b")));
    assert_eq!(address("-"), Address::Stdin);
    assert_eq!(
        address("pipe:cat a.ppm | tee b?"),
        Address::Pipe("cat a.ppm | tee b?".into())
    );
    assert_eq!(address("synth://surface"), Address::Surface);
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().display().to_string();
    assert_eq!(address(&text), Address::Folder(folder.path().to_owned()));
    assert_eq!(
        address(&format!("file://{text}")),
        Address::Folder(folder.path().to_owned())
    );
    std::fs::write(folder.path().join("what?.png"), "").unwrap();
    let odd = folder.path().join("what?.png");
    assert_eq!(address(odd.to_str().unwrap()), Address::File(odd));
}

#[test]
fn settings_stand_in_the_address() {
    let uri: SourceUri = "/dev/video0?width=640&height=480&fps=29.97&format=YUYV"
        .parse()
        .unwrap();
    assert_eq!(
        (uri.settings.width, uri.settings.fps),
        (Some(640), Some(29.97))
    );
    let uri: SourceUri = "synth://surface?fps=30&defects=0.02&seed=7"
        .parse()
        .unwrap();
    assert_eq!(
        (uri.settings.defects, uri.settings.seed),
        (Some(0.02), Some(7))
    );
    let uri: SourceUri = "-?format=gray&width=4&height=3".parse().unwrap();
    assert_eq!(
        (uri.address, uri.settings.height),
        (Address::Stdin, Some(3))
    );
    let uri: SourceUri = "pipe:?format=gray&width=4&height=3 cat /dev/zero"
        .parse()
        .unwrap();
    assert_eq!(uri.address, Address::Pipe("cat /dev/zero".into()));
    assert_eq!(uri.settings.width, Some(4));

    // The camera's own question mark is left alone.
    let uri: SourceUri = "rtsp://cam/live?channel=1&subtype=0#transport=udp"
        .parse()
        .unwrap();
    assert_eq!(
        uri.address,
        Address::Stream("rtsp://cam/live?channel=1&subtype=0".into())
    );
    assert_eq!(uri.settings.transport, Some(Transport::Udp));
    let given = SourceSettings {
        transport: Some(Transport::Tcp),
        grey: Some(true),
        ..SourceSettings::default()
    };
    let resolved = uri.resolve(&given).unwrap();
    assert_eq!(
        (resolved.transport, resolved.grey),
        (Some(Transport::Udp), Some(true))
    );
}

#[test]
fn wrong_addresses_are_told_what_would_be_right() {
    for (text, expected) in [
        ("", "is empty"),
        ("ftp://host/clip.mp4", "known are v4l2, csi, rtsp"),
        ("csi://left", "write csi://0"),
        ("synth://moon", "only synth://surface"),
        ("rtsp:///stream", "lacks the host"),
        ("rtsp://cam/a b", "has a space"),
        ("pipe:", "lacks the command"),
        ("pipe:?format=gray", "lacks the command"),
        ("v4l2://", "lacks the path"),
        ("file:///a%2", "without two digits"),
        ("/dev/video0?widht=640", "known are width, height, fps"),
        ("/dev/video0?seed=1", "known are width, height, fps"),
        ("/dev/video0?width", "has no value"),
        ("/dev/video0?width=-1", "width=-1: "),
        ("/dev/video0?width=0", "at least 1 pixel"),
        ("synth://surface?defects=2", "a share from 0 to 1"),
        ("synth://surface?fps=nan", "choose 0 to 10000"),
        (
            "rtsp://cam/s#decoder=vlc",
            "none of auto, ffmpeg, gstreamer",
        ),
    ] {
        let message = refusal(text);
        assert!(message.contains(expected), "{text}: {message}");
    }
    let uri: SourceUri = "csi://0".parse().unwrap();
    let given = SourceSettings {
        looped: Some(true),
        ..SourceSettings::default()
    };
    assert!(
        uri.resolve(&given)
            .unwrap_err()
            .to_string()
            .contains("\"loop\" is not known")
    );
}

#[test]
fn passwords_are_not_shown() {
    let uri: SourceUri = "rtsp://admin:s3:cr@t@cam:554/live".parse().unwrap();
    assert_eq!(uri.to_string(), "rtsp://admin:***@cam:554/live");
    assert_eq!(
        uri.address,
        Address::Stream("rtsp://admin:s3:cr@t@cam:554/live".into())
    );
    let forgotten: SourceUri = "admin:secret@cam".parse().unwrap();
    assert_eq!(forgotten.short_name(), "admin-----cam");
    for text in [
        "rtsp://admin:secret@cam/a b",
        "rtsp://admin:sec#ret@cam/a",
        "rtsp://admin:123/ret@cam/a",
        "http://admin:sec?ret@cam/a",
    ] {
        let message = refusal(text);
        let shown = ["sec", "ret", "123"]
            .iter()
            .any(|part| message.contains(part));
        assert!(!shown, "{message}");
    }
}

#[test]
fn schemes_are_taken_in_any_case() {
    let stream = Address::Stream("rtsp://Cam/Live".into());
    assert_eq!(address("RTSP://Cam/Live"), stream);
    assert_eq!(address("V4L2:///dev/video0"), address("/dev/video0"));
    assert_eq!(address("Pipe:cat a"), Address::Pipe("cat a".into()));
    assert_eq!(address("SYNTH://surface"), Address::Surface);
}
