use embedded_graphics::{
    geometry::OriginDimensions, pixelcolor::Rgb565, prelude::*, primitives::Rectangle,
};
use image::Rgb;
use ndarray::Array2;

use super::*;

const GREY: Rgb<u8> = Rgb([100; 3]);
const YELLOW: Rgb<u8> = Rgb([255, 214, 10]);

fn verdict(label: LabelView, regions: Vec<RegionView>) -> VerdictView {
    VerdictView {
        label,
        score: Some(9.0),
        threshold: Some(4.0),
        p_value: Some(0.01),
        regions,
        reasons: vec!["a reason that is long enough to need a second line".to_owned()],
        model: "surface".to_owned(),
    }
}

fn grey(width: u32, height: u32) -> RgbImage {
    RgbImage::from_pixel(width, height, GREY)
}

#[test]
fn a_hot_spot_is_red_and_boxed_and_the_rest_stays() {
    let mut map = Array2::from_elem((400, 500), 1.0);
    map.slice_mut(ndarray::s![100..140, 200..260]).fill(9.0);
    let region = RegionView {
        bbox: [200, 100, 60, 40],
        max: 9.0,
    };
    let view = verdict(LabelView::Anomalous, vec![region]);
    let scale = MapScale::around(4.0, 0.0);
    let picture = overlay(&grey(500, 400), map.view(), &scale, &view);
    // 500 wide is shown as it is, with the panel at its right.
    assert_eq!(picture.dimensions(), (708, 400));
    let Rgb([r, g, b]) = *picture.get_pixel(230, 120);
    assert!(r > 140 && r > g + 60 && r > b + 60, "{r} {g} {b}");
    assert_eq!(*picture.get_pixel(200, 120), Rgb([255; 3]), "contour");
    for (x, y) in [(199, 99), (260, 99), (199, 140), (260, 140), (230, 140)] {
        assert_eq!(*picture.get_pixel(x, y), YELLOW, "{x},{y}");
    }
    for (x, y, pixel) in picture.enumerate_pixels().filter(|(x, ..)| *x < 500) {
        // The box, and its label of 11 pixels above.
        let near = (199..=260).contains(&x) && (88..=140).contains(&y);
        assert!(near || *pixel == GREY, "{x},{y}: {pixel:?}");
    }
    // Banner: red for anomalous.
    let Rgb([r, g, _]) = *picture.get_pixel(530, 20);
    assert!(r > 2 * g);
}

#[test]
fn a_normal_frame_stays_clean_and_small_frames_are_enlarged_whole() {
    let mut frame = grey(28, 28);
    frame.put_pixel(3, 5, Rgb([1, 2, 3]));
    let map = Array2::from_elem((28, 28), 3.9);
    let scale = MapScale::around(4.0, 0.0);
    let picture = overlay(
        &frame,
        map.view(),
        &scale,
        &verdict(LabelView::Normal, vec![]),
    );
    for y in 0..392 {
        for x in 0..392 {
            assert_eq!(picture.get_pixel(x, y), frame.get_pixel(x / 14, y / 14));
        }
    }
}

#[test]
fn boxes_follow_the_enlargement() {
    let map = Array2::zeros((64, 64));
    let region = RegionView {
        bbox: [10, 20, 5, 6],
        max: 5.0,
    };
    let view = verdict(LabelView::Anomalous, vec![region]);
    let picture = overlay(
        &grey(64, 64),
        map.view(),
        &MapScale::around(4.0, 0.0),
        &view,
    );
    // Six times; the line lies outside of 60..90 × 120..156.
    for (x, y) in [
        (59, 119),
        (90, 119),
        (59, 156),
        (90, 156),
        (75, 156),
        (59, 140),
    ] {
        assert_eq!(*picture.get_pixel(x, y), YELLOW, "{x},{y}");
    }
    assert_eq!(*picture.get_pixel(60, 120), GREY);
    assert_eq!(*picture.get_pixel(89, 155), GREY);
}

#[test]
fn infinity_is_hot_and_nan_is_cold_also_when_enlarged() {
    let mut map = Array2::from_elem((28, 28), 1.0);
    map[[20, 7]] = f32::INFINITY;
    map[[8, 8]] = f32::NAN;
    map[[2, 25]] = f32::NEG_INFINITY;
    let view = verdict(LabelView::Anomalous, vec![]);
    let picture = overlay(
        &grey(28, 28),
        map.view(),
        &MapScale::around(4.0, 0.0),
        &view,
    );
    let Rgb([r, _, b]) = *picture.get_pixel(7 * 14 + 7, 20 * 14 + 7);
    assert!(r > 140 && b < 60);
    for [x, y] in [[8, 8], [25, 2]] {
        assert_eq!(*picture.get_pixel(x * 14 + 7, y * 14 + 7), GREY);
    }
}

#[test]
fn no_size_and_no_value_panics() {
    let region = |max| RegionView {
        bbox: [0, 0, u32::MAX, 7],
        max,
    };
    let bad = [f32::NAN, f32::INFINITY, -1e38, 1e38];
    for (width, height) in [
        (0, 0),
        (1, 1),
        (3, 1000),
        (1000, 3),
        (1, 5000),
        (0, 7),
        (401, 17),
    ] {
        for (rows, columns) in [(height as usize, width as usize), (5, 9), (0, 0)] {
            let map = Array2::from_shape_fn((rows, columns), |(y, x)| bad[(x + 3 * y) % 4]);
            let mut view = verdict(LabelView::Invalid, bad.map(region).to_vec());
            view.score = Some(f64::NAN);
            view.model = "a name that is far too long for the panel, µ\u{1F600}".to_owned();
            for threshold in [1.0, f32::NAN, f32::INFINITY] {
                let scale = MapScale::around(threshold, 2.0);
                overlay(&grey(width, height), map.view(), &scale, &view);
                let mut display = Canvas::new(80, 60, Rgb888::BLACK);
                let Ok(()) = draw_overlay(
                    &mut display,
                    &grey(width, height),
                    map.view(),
                    &scale,
                    &view,
                );
            }
        }
    }
    for side in [0, 1, 17, 50] {
        let mut display = Canvas::new(side, side, Rgb888::BLACK);
        let map = Array2::zeros((20, 20));
        let view = verdict(LabelView::Normal, vec![region(3.0)]);
        let scale = MapScale::around(4.0, 0.0);
        let Ok(()) = draw_overlay(&mut display, &grey(20, 20), map.view(), &scale, &view);
    }
}

/// A display of 16-bit colour that lies somewhere on a larger plane.
struct Display(Vec<Rgb565>);

const DISPLAY: Rectangle = Rectangle::new(Point::new(5, -3), Size::new(160, 128));

impl Dimensions for Display {
    fn bounding_box(&self) -> Rectangle {
        DISPLAY
    }
}

impl DrawTarget for Display {
    type Color = Rgb565;
    type Error = std::convert::Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Rgb565>>,
    {
        for Pixel(point, colour) in pixels {
            assert!(DISPLAY.contains(point), "{point} is not on the display");
            let at = point - DISPLAY.top_left;
            self.0[(at.y * 160 + at.x) as usize] = colour;
        }
        Ok(())
    }
}

#[test]
fn a_small_display_shows_frame_and_status() {
    let mut map = Array2::zeros((256, 256));
    // One pixel: lost by averaging, kept by the largest value.
    map[[128, 128]] = 9.0;
    let mut display = Display(vec![Rgb565::MAGENTA; 160 * 128]);
    let view = verdict(LabelView::Anomalous, vec![]);
    let scale = MapScale::around(4.0, 0.0);
    let Ok(()) = draw_overlay(&mut display, &grey(256, 256), map.view(), &scale, &view);
    assert!(!display.0.contains(&Rgb565::MAGENTA), "all is drawn");
    // 109×109 pixels for the frame, from column 25; the hot pixel is a white contour there.
    let at = |x: usize, y: usize| display.0[y * 160 + x];
    assert_eq!(at(25 + 54, 54), Rgb565::WHITE);
    assert_eq!(at(30, 30), Rgb888::new(100, 100, 100).into());
    // The status line is red.
    let status = at(80, 120);
    assert!(status.r() > 20 && status.g() < 20);
}

#[test]
fn canvas_has_the_size_of_its_picture() {
    assert_eq!(Canvas::from(grey(7, 4)).size(), Size::new(7, 4));
}
