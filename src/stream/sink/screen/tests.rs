use super::{super::test_messages as messages, framebuffer::PixelLayout, *};
use crate::render::LabelView;

fn layout(bytes: usize, stride: usize, channels: [(u32, u32); 3]) -> PixelLayout {
    PixelLayout {
        width: 2,
        height: 2,
        offset: 0,
        stride,
        bytes,
        channels,
    }
}

#[test]
fn pixels_are_packed_in_every_depth_and_padding_stays() {
    let colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 130, 8]];
    let picture = RgbImage::from_raw(2, 2, colours.concat()).unwrap();
    let packed = |layout: &PixelLayout, length: usize| {
        let mut memory = vec![0xEE; length];
        layout.pack(&picture, &mut memory);
        memory
    };
    // RGB565: 255 → 31, 130 → 32.1 of 63, 8 → 0.97 of 31.
    let red_green = [0x00, 0xF8, 0xE0, 0x07];
    let rgb565 = layout(2, 6, [(11, 5), (5, 6), (0, 5)]);
    let orange = (31_u16 << 11 | 32 << 5 | 1).to_le_bytes();
    let expected = [
        &red_green[..],
        &[0xEE; 2],
        &[0x1F, 0x00],
        &orange,
        &[0xEE; 2],
    ]
    .concat();
    assert_eq!(packed(&rgb565, 12), expected);
    // BGR in memory, as most 24-bit framebuffers, with two bytes of padding.
    let bgr = layout(3, 8, [(16, 8), (8, 8), (0, 8)]);
    let expected = [
        &[0, 0, 255, 0, 255, 0, 0xEE, 0xEE][..],
        &[255, 0, 0, 8, 130, 255, 0xEE, 0xEE],
    ];
    assert_eq!(packed(&bgr, 16), expected.concat());
    // XRGB, and the last row without padding, and a part that begins elsewhere.
    let mut xrgb = layout(4, 12, [(16, 8), (8, 8), (0, 8)]);
    xrgb.offset = 12;
    let memory = packed(&xrgb, xrgb.end());
    assert_eq!(memory.len(), 12 + 12 + 8);
    assert_eq!(memory[..12], [0xEE; 12]);
    assert_eq!(memory[12..20], [0, 0, 255, 0, 0, 255, 0, 0]);
    assert_eq!(memory[24..], [255, 0, 0, 0, 8, 130, 255, 0]);
}

#[test]
fn a_file_shows_the_latest_and_is_not_drawn_too_often() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hud.png");
    let mut settings = ScreenSettings::new(&path);
    (settings.width, settings.height) = (640, 480);
    let mut screen = Screen::open(&settings).unwrap();
    let empty = image::open(&path).unwrap().into_rgb8();
    assert_eq!(empty.dimensions(), (640, 480));
    std::fs::remove_file(&path).unwrap();
    screen.drawn = Some(Instant::now());
    screen.take(&messages::tally(&["cam"])).unwrap();
    screen.take(&messages::frame("cam", 1, 9.0)).unwrap();
    assert!(!path.exists(), "less than a second ago");
    screen.drawn = None;
    screen.idle().unwrap();
    let red = LabelView::Anomalous;
    let shown = |label: LabelView| {
        let colour = match label {
            LabelView::Normal => [34, 139, 74],
            LabelView::Review => [38, 110, 196],
            LabelView::Anomalous => [206, 44, 40],
            LabelView::Invalid => [190, 116, 0],
        };
        let picture = image::open(&path).unwrap().into_rgb8();
        picture.pixels().any(|pixel| pixel.0 == colour)
    };
    assert!(shown(red));
    screen.take(&messages::lost("cam")).unwrap();
    screen.finish().unwrap();
    assert_eq!(screen.source("cam").tile().notice, Some("lost: unplugged"));
    assert_eq!(screen.source("cam").tile().label, None);
    screen.take(&messages::source("cam", true)).unwrap();
    screen.take(&messages::frame("cam", 2, f64::NAN)).unwrap();
    assert_eq!(screen.source("cam").tile().notice, Some("a reason"));
    for number in 0..500 {
        screen.take(&messages::frame("cam", number, 1.0)).unwrap();
    }
    screen.take(&messages::drift("cam")).unwrap();
    screen.finish().unwrap();
    assert!(shown(LabelView::Normal));
    let tile = screen.source("cam");
    assert_eq!(tile.tile().past.len(), REMEMBERED);
    assert_eq!(tile.tile().notice, Some("drifted: the light is darker"));
}

#[test]
fn what_cannot_be_drawn_on_is_refused() {
    let problem = |target: &str| {
        Screen::open(&ScreenSettings::new(target))
            .err()
            .unwrap()
            .to_string()
    };
    assert!(problem("/dev/no-such-fb").contains("no such framebuffer"));
    assert!(problem("/dev/null").contains("is no framebuffer"));
    let problem = problem("/dev/null/x.png");
    assert!(problem.contains("cannot write"), "{problem}");
}
