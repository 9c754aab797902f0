//! What maps of a canvas cover: its tiles, and where of it to look.

use super::{Interior, Mask, TileBlend, TileLayout};

/// How a canvas is cut into tensors, and which part of it counts.
#[derive(Clone, Debug)]
pub struct CanvasLayout {
    tiles: TileLayout,
    mask: Option<Mask>,
}

impl CanvasLayout {
    pub(super) fn new(tiles: TileLayout, mask: Option<Mask>) -> Self {
        Self { tiles, mask }
    }

    /// A canvas of `height × width` that is one tensor, and counts as a whole.
    pub fn whole(height: usize, width: usize) -> Self {
        Self::new(TileLayout::single(height, width), None)
    }

    /// Where the tiles lie.
    pub fn tiles(&self) -> &TileLayout {
        &self.tiles
    }

    /// Where to look.
    pub fn mask(&self) -> Option<&Mask> {
        self.mask.as_ref()
    }

    /// Height and width of the canvas's map that maps of `height × width` of each tile make.
    pub fn map_size(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        self.blend([height, width])
            .map_or([height, width], |blend| blend.size())
    }

    /// What puts maps of `height × width` of each tile together; `None` for a single tile, whose
    /// map is the canvas's.
    pub fn blend(&self, [height, width]: [usize; 2]) -> Option<TileBlend> {
        (self.tiles.count() > 1).then(|| TileBlend::new(&self.tiles, height, width))
    }

    /// The cells of a map of the canvas, `height × width`, that count; `None` where all do.
    pub fn interior(&self, [height, width]: [usize; 2]) -> Option<Interior> {
        Some(self.mask.as_ref()?.interior(height, width))
    }
}
