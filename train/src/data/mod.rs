//! Training frames: in memory, as tensors, in parts, and changed at random.

pub(crate) mod augmentation;
mod copies;
mod exclude;
mod frames;
mod groups;
mod input;
mod params;
mod shape;
mod split;
mod survey;
mod view;

pub use exclude::read_exclude;
pub use frames::{Frames, Loaded, load};
pub use groups::Groups;
pub use input::{Input, MASK, crop, input, open, read_mask, usual_preset};
pub use shape::equivalent_side;
pub use split::{is_shared, split};
pub use view::Movement;
pub(crate) use view::View;
