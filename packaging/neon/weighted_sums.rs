//! Calls the inner loop of the direct convolution as often as the program has arguments, its own
//! name included: nine taps, 4096 sums. Compiled and run by `count.sh`.

#[path = "../../src/backend/tract/vectors.rs"]
mod vectors;
#[path = "../../src/backend/tract/weighted_sum.rs"]
mod weighted_sum;

use std::hint::black_box;

#[unsafe(no_mangle)]
extern "C" fn main(arguments: i32) -> i32 {
    let offsets: Vec<usize> = (0..9).map(|tap| tap / 3 * 70 + tap % 3).collect();
    let weights = [0.25; 9];
    let cells = vec![1.0; 4096 + 256];
    let mut sums = vec![0.0; 4096];
    for _ in 0..arguments {
        let taps = weighted_sum::Taps {
            offsets: black_box(&offsets),
            weights: &weights,
            start: 0.5,
            limits: [0.0, 6.0],
        };
        weighted_sum::weighted_sums(vectors::Vectors::detect(), &taps, &cells, &mut sums);
    }
    black_box(&sums);
    0
}
