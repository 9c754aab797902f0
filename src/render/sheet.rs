//! Contact sheets: pictures in rows, with captions.

use embedded_graphics::{
    geometry::{Point, Size},
    mono_font::iso_8859_1::FONT_6X10,
    text::Alignment,
};
use image::{DynamicImage, RgbImage, imageops};

use super::{
    canvas::{Canvas, Enlarged},
    colour, panel,
};

/// A picture of a contact sheet.
#[derive(Clone, Debug)]
pub struct Tile {
    picture: RgbImage,
    caption: String,
}

impl Tile {
    /// A picture, grey or colour, with the text under it; an empty text leaves the place empty.
    pub fn new(picture: impl Into<DynamicImage>, caption: impl Into<String>) -> Self {
        Self {
            picture: picture.into().into_rgb8(),
            caption: caption.into(),
        }
    }
}

/// Longest side, pixels, up to which the pictures of a sheet are enlarged (by a whole factor).
const SHOWN: u32 = 144;

/// Lays pictures out in rows, all cells of the size of the largest picture, small pictures
/// enlarged by one whole factor for all. Rows may differ in length.
pub fn contact_sheet(rows: &[Vec<Tile>]) -> RgbImage {
    let tiles = || rows.iter().flatten();
    let largest = |side: fn(&RgbImage) -> u32| {
        tiles()
            .map(|tile| side(&tile.picture))
            .max()
            .unwrap_or(0)
            .max(1)
    };
    let (width, height) = (largest(RgbImage::width), largest(RgbImage::height));
    let zoom = SHOWN.div_ceil(width.max(height));
    let (width, height) = (width * zoom, height * zoom);
    // Letters grow with the pictures.
    let size = (width.max(height) / 400).max(1);
    let gap = 8 * size;
    let captioned = tiles().any(|tile| !tile.caption.is_empty());
    let caption = if captioned { 14 * size } else { 0 };
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let mut canvas = RgbImage::from(Canvas::new(
        gap + columns * (width + gap),
        gap + rows.len() as u32 * (height + caption + gap),
        colour::BACKGROUND,
    ));
    let mut corners = Vec::new();
    for (row, tiles) in (0u32..).zip(rows) {
        for (column, tile) in (0u32..).zip(tiles) {
            let x = gap + column * (width + gap);
            let y = gap + row * (height + caption + gap);
            let (w, h) = tile.picture.dimensions();
            if w > 0 && h > 0 {
                let filter = imageops::FilterType::Nearest;
                let picture = imageops::resize(&tile.picture, w * zoom, h * zoom, filter);
                imageops::replace(&mut canvas, &picture, i64::from(x), i64::from(y));
            }
            corners.push((tile, x, y + height));
        }
    }
    let mut canvas = Canvas::from(canvas);
    for (tile, x, y) in corners {
        let room = Size::new(width / size, caption / size);
        let at = Point::new(x as i32, y as i32);
        let mut label = Enlarged::new(&mut canvas, at, size, room);
        let letters = room.width / FONT_6X10.character_size.width;
        let Ok(()) = panel::text(
            &mut label,
            &panel::cut(&tile.caption, letters as usize),
            Point::new(0, 3),
            &FONT_6X10,
            colour::TEXT,
            Alignment::Left,
        );
    }
    canvas.into()
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma, Rgb};

    use super::*;

    #[test]
    fn pictures_stand_in_a_grid() {
        let tile = |value: u8| Tile::new(GrayImage::from_pixel(28, 28, Luma([value])), "x");
        let rows = [vec![tile(10), tile(200)], vec![tile(90)]];
        let sheet = contact_sheet(&rows);
        // 28 pixels six times are 168; gaps of 8 and captions of 14.
        assert_eq!(sheet.dimensions(), (8 + 2 * 176, 8 + 2 * 190));
        for (x, y, value) in [(8, 8, 10), (175, 175, 10), (184, 8, 200), (8, 198, 90)] {
            assert_eq!(sheet.get_pixel(x, y), &Rgb([value; 3]), "{x},{y}");
        }
        assert_eq!(sheet.get_pixel(184, 198), &Rgb([22, 24, 28]));
    }

    #[test]
    fn odd_sheets_do_not_panic() {
        assert_eq!(contact_sheet(&[]).dimensions(), (8, 8));
        contact_sheet(&[vec![], vec![Tile::new(RgbImage::new(0, 0), "empty")]]);
        contact_sheet(&[vec![
            Tile::new(
                RgbImage::new(1, 900),
                "a long caption that has no room at all",
            ),
            Tile::new(GrayImage::new(3, 1), ""),
        ]]);
    }
}
