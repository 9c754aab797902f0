//! `Canvas`: an RGB picture to draw on; `Enlarged`: a magnifying glass in front of any target.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    draw_target::DrawTarget,
    geometry::{Dimensions, OriginDimensions, Point, Size},
    pixelcolor::{PixelColor, Rgb888, RgbColor},
    primitives::{PointsIter, Rectangle},
};
use image::{Rgb, RgbImage};

/// An RGB picture that embedded-graphics can draw on. What lies outside is not drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canvas {
    picture: RgbImage,
}

impl Canvas {
    /// A canvas of one colour, `width × height` pixels.
    pub fn new(width: u32, height: u32, colour: Rgb888) -> Self {
        Self {
            picture: RgbImage::from_pixel(width, height, rgb(colour)),
        }
    }

    /// The picture.
    pub fn picture(&self) -> &RgbImage {
        &self.picture
    }
}

impl From<RgbImage> for Canvas {
    fn from(picture: RgbImage) -> Self {
        Self { picture }
    }
}

impl From<Canvas> for RgbImage {
    fn from(canvas: Canvas) -> Self {
        canvas.picture
    }
}

fn rgb(colour: Rgb888) -> Rgb<u8> {
    Rgb([colour.r(), colour.g(), colour.b()])
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.picture.width(), self.picture.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Infallible>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(point, colour) in pixels {
            if let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y))
                && let Some(pixel) = self.picture.get_pixel_mut_checked(x, y)
            {
                *pixel = rgb(colour);
            }
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, colour: Rgb888) -> Result<(), Infallible> {
        let area = area.intersection(&self.bounding_box());
        let Some(end) = area.bottom_right() else {
            return Ok(());
        };
        // Inside the canvas after the intersection, so not negative.
        let (left, right) = (area.top_left.x as usize, end.x as usize + 1);
        let stride = 3 * self.picture.width() as usize;
        let colour = rgb(colour).0;
        for row in self
            .picture
            .chunks_exact_mut(stride)
            .skip(area.top_left.y as usize)
            .take(area.size.height as usize)
        {
            for pixel in row[3 * left..3 * right].chunks_exact_mut(3) {
                pixel.copy_from_slice(&colour);
            }
        }
        Ok(())
    }
}

/// Draws every pixel as a block of `factor × factor` pixels of a target, and in the target's own
/// colours: the fonts of embedded-graphics are small, and displays have fewer colours.
pub(super) struct Enlarged<'a, D> {
    target: &'a mut D,
    /// Where this one's (0, 0) lies on the target.
    origin: Point,
    factor: u32,
    size: Size,
}

impl<'a, D: DrawTarget> Enlarged<'a, D> {
    /// A window of `size` (in enlarged pixels) at `origin` (in the target's pixels).
    pub(super) fn new(target: &'a mut D, origin: Point, factor: u32, size: Size) -> Self {
        Self {
            target,
            origin,
            factor: factor.max(1),
            size,
        }
    }
}

impl<D> OriginDimensions for Enlarged<'_, D> {
    fn size(&self) -> Size {
        self.size
    }
}

impl<D> DrawTarget for Enlarged<'_, D>
where
    D: DrawTarget,
    D::Color: PixelColor + From<Rgb888>,
{
    type Color = Rgb888;
    type Error = D::Error;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), D::Error>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(point, colour) in pixels {
            self.fill_solid(&Rectangle::new(point, Size::new(1, 1)), colour)?;
        }
        Ok(())
    }

    fn fill_contiguous<I>(&mut self, area: &Rectangle, colours: I) -> Result<(), D::Error>
    where
        I: IntoIterator<Item = Rgb888>,
    {
        if self.factor == 1 {
            let area = Rectangle::new(area.top_left + self.origin, area.size);
            let colours = colours.into_iter().map(D::Color::from);
            return self.target.fill_contiguous(&area, colours);
        }
        let pixels = area.points().zip(colours);
        self.draw_iter(pixels.map(|(point, colour)| Pixel(point, colour)))
    }

    fn fill_solid(&mut self, area: &Rectangle, colour: Rgb888) -> Result<(), D::Error> {
        let factor = self.factor;
        let area = Rectangle::new(
            self.origin + area.top_left * factor as i32,
            area.size * factor,
        );
        self.target.fill_solid(&area, colour.into())
    }
}

#[cfg(test)]
mod tests {
    use embedded_graphics::{mock_display::MockDisplay, pixelcolor::Rgb565};

    use super::*;

    const RED: Rgb888 = Rgb888::new(255, 0, 0);

    #[test]
    fn fills_are_clipped_to_the_canvas() {
        let mut canvas = Canvas::new(4, 3, Rgb888::BLACK);
        let area = Rectangle::new(Point::new(-5, 1), Size::new(7, 100));
        canvas.fill_solid(&area, RED).unwrap();
        let outside = Rectangle::new(Point::new(4, 0), Size::new(9, 9));
        canvas.fill_solid(&outside, RED).unwrap();
        canvas
            .draw_iter([Pixel(Point::new(-1, 0), RED), Pixel(Point::new(3, 0), RED)])
            .unwrap();
        let picture = RgbImage::from(canvas);
        let red: Vec<(u32, u32)> = picture
            .enumerate_pixels()
            .filter(|(_, _, p)| p.0 == [255, 0, 0])
            .map(|(x, y, _)| (x, y))
            .collect();
        assert_eq!(red, [(3, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
        let mut empty = Canvas::new(0, 0, Rgb888::BLACK);
        empty.fill_solid(&area, RED).unwrap();
    }

    #[test]
    fn enlarged_pixels_are_blocks_in_the_targets_colours() {
        let mut display = MockDisplay::<Rgb565>::new();
        let mut enlarged = Enlarged::new(&mut display, Point::new(1, 1), 2, Size::new(3, 3));
        enlarged.draw_iter([Pixel(Point::new(1, 0), RED)]).unwrap();
        display.assert_pattern(&["     ", "   RR", "   RR"]);
    }
}
