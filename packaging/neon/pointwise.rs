//! Multiplies a panel of a 1×1 convolution with tiles of pixels as often as the program has
//! arguments, its own name included: 40 channels, 256 pixels. Compiled and run by `count.sh`.

#[path = "../../src/backend/tract/pointwise.rs"]
mod pointwise;
#[path = "../../src/backend/tract/vectors.rs"]
mod vectors;
#[path = "../../src/backend/tract/weighted_sum.rs"]
mod weighted_sum;

use std::hint::black_box;

use pointwise::{PANEL, PIXELS, Planes, Pointwise};

const CHANNELS: usize = 40;
const ALL: usize = 256;

#[unsafe(no_mangle)]
extern "C" fn main(arguments: i32) -> i32 {
    let weights = vec![0.25; PANEL * CHANNELS];
    let pointwise = Pointwise::new(&weights, &[0.5; PANEL], [0.0, 6.0]);
    let tiles = vec![[1.0; PIXELS]; ALL / PIXELS * CHANNELS];
    let mut values = vec![0.0; PANEL * ALL];
    for _ in 0..arguments {
        let output = Planes {
            values: &mut values,
            plane: ALL,
            pixels: 0..ALL,
            add: None,
        };
        pointwise.multiply(0, black_box(&tiles), output);
    }
    black_box(&values);
    0
}
