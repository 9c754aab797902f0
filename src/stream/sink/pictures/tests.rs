use super::{super::test_messages as messages, *};

fn found(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = WalkDir::new(folder)
        .into_iter()
        .flatten()
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            entry
                .path()
                .strip_prefix(folder)
                .unwrap()
                .display()
                .to_string()
        })
        .collect();
    names.sort();
    names
}

#[test]
fn an_event_is_written_with_frame_map_and_overlay() {
    let dir = tempfile::tempdir().unwrap();
    let mut pictures = Pictures::open(&PicturesSettings::new(dir.path())).unwrap();
    assert!(pictures.wants().maps && !pictures.wants().frames);
    pictures.take(&messages::opened("e/1", "cam 1")).unwrap();
    pictures.take(&messages::frame("cam 1", 8, 9.0)).unwrap();
    assert_eq!(
        found(dir.path()),
        [
            "2026-03-04/05-06-07.089_cam-1_e-1_open.frame.png",
            "2026-03-04/05-06-07.089_cam-1_e-1_open.map.png",
            "2026-03-04/05-06-07.089_cam-1_e-1_open.overlay.png",
        ]
    );
    let frame = image::open(dir.path().join(&found(dir.path())[0])).unwrap();
    assert_eq!(
        frame,
        image::GrayImage::from_pixel(64, 48, image::Luma([90])).into()
    );
    let map = image::open(dir.path().join(&found(dir.path())[1]))
        .unwrap()
        .into_luma16();
    assert_eq!(map.get_pixel(20, 12).0, [65535]);
    let settings = PicturesSettings {
        map: MapFormat::Npy,
        frame: false,
        overlay: false,
        save: SavePolicy::Worst,
        ..PicturesSettings::new(dir.path())
    };
    let mut pictures = Pictures::open(&settings).unwrap();
    pictures.take(&messages::opened("e2", "cam")).unwrap();
    pictures.take(&messages::closed("e2", "cam")).unwrap();
    let npy = dir
        .path()
        .join("2026-03-04/05-06-07.089_cam_e2_worst.map.npy");
    let map: ndarray::Array2<f32> = ndarray_npy::read_npy(npy).unwrap();
    assert_eq!(map[[12, 20]], 11.0);
}

#[test]
fn the_oldest_make_room_over_restarts_and_foreign_files_stay() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("2025-12-31");
    fs::create_dir_all(&old).unwrap();
    for name in [
        "00-00-01.000_cam_a_open.frame.png",
        "00-00-02.000_cam_a_open.frame.png",
    ] {
        fs::write(old.join(name), vec![0; 4000]).unwrap();
    }
    fs::write(old.join(".edge-vae-q.partial"), b"x").unwrap();
    fs::create_dir(dir.path().join("album")).unwrap();
    fs::write(dir.path().join("album/a.frame.png"), vec![0; 9000]).unwrap();
    fs::write(dir.path().join("notes.txt"), b"x").unwrap();
    let settings = PicturesSettings {
        overlay: false,
        map: MapFormat::None,
        max_bytes: 8100,
        ..PicturesSettings::new(dir.path())
    };
    let mut pictures = Pictures::open(&settings).unwrap();
    assert_eq!(pictures.bytes, 8000);
    pictures.take(&messages::opened("b", "cam")).unwrap();
    assert_eq!(
        found(dir.path()),
        [
            "2025-12-31/00-00-02.000_cam_a_open.frame.png",
            "2026-03-04/05-06-07.089_cam_b_open.frame.png",
            "album/a.frame.png",
            "notes.txt",
        ]
    );
    // The same picture again does not count twice.
    let bytes = pictures.bytes;
    pictures.take(&messages::opened("b", "cam")).unwrap();
    assert_eq!(pictures.bytes, bytes);
    drop(pictures);
    let fewer = PicturesSettings {
        max_files: 1,
        ..settings
    };
    Pictures::open(&fewer).unwrap();
    assert!(!old.exists(), "an empty day goes too");
    assert_eq!(found(dir.path()).len(), 3);
}

#[test]
fn impossible_settings_and_frames_are_errors() {
    let dir = tempfile::tempdir().unwrap();
    let open = |text: &str| {
        let text = format!("folder = '{}'\n{text}", dir.path().display());
        Pictures::open(&toml::from_str(&text).unwrap())
            .err()
            .map(|error| error.to_string())
    };
    assert!(open("max-bytes = 0").unwrap().contains("max-bytes"));
    let nothing = "frame = false\noverlay = false\nmap = 'none'";
    assert!(open(nothing).unwrap().contains("nothing is to be written"));
    assert_eq!(
        open("map = 'npy'\nsave = 'worst'\nmax-bytes = '2 GiB'"),
        None
    );
    let tiny = PicturesSettings {
        max_bytes: 10,
        ..PicturesSettings::new(dir.path())
    };
    let error = Pictures::open(&tiny)
        .unwrap()
        .take(&messages::opened("b", "cam"))
        .unwrap_err();
    assert!(error.to_string().contains("more than max-bytes"), "{error}");
}
