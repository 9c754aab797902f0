//! Multiplies triangles of bytes with vectors as often as the program has arguments, its own name
//! included: one of 152×152, as a cell of the default route has. Compiled and run by `count.sh`.

#[path = "../../src/backend/tract/panels.rs"]
mod panels;
#[path = "../../src/backend/tract/vectors.rs"]
mod vectors;

use std::hint::black_box;

const SIDE: usize = 152;

#[unsafe(no_mangle)]
extern "C" fn main(arguments: i32) -> i32 {
    let triangle = panels::Panels::<i8>::new([1, SIDE, SIDE], |_, row, column| {
        i8::from(column <= row) * (1 + (row + column) % 100) as i8
    });
    let vector = vec![0.25; SIDE];
    let mut product = vec![0.0; SIDE];
    for _ in 0..arguments {
        triangle.multiply(0, black_box(&vector), &mut product);
    }
    black_box(&product);
    0
}
