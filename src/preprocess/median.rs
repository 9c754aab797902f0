//! Medians over squares of pixels, of 16-bit samples.
//!
//! Three algorithms, because none is fast for all: small squares are sorted, many at a time, by
//! exchanges that processors do on whole vectors; larger ones are counted in histograms, whose
//! columns are shared between rows where the samples are those of 8 bits (there are 256 values
//! then), and which are otherwise kept for one window that slides.
//! `imageproc::filter::median_filter` has 8 bits only.

/// Largest radius of squares that are sorted.
const MOST_SORTED: usize = 2;

/// Windows that are sorted together: a few vector registers of 16-bit samples.
const LANES: usize = 16;

/// Samples of `LANES` windows at one place of the window.
type Lanes = [u16; LANES];

/// The median filter of one radius, with its buffers.
#[derive(Debug)]
pub(super) struct Median {
    radius: usize,
    /// The plane, continued by its edges: `radius` beyond each.
    padded: Vec<u16>,
    columns: Vec<Column>,
    window: Option<Box<Window>>,
    sliding: Option<Box<Sliding>>,
}

impl Median {
    /// Over squares of `2·radius + 1` pixels. A radius of up to 127 fits the counters.
    pub(super) fn new(radius: usize) -> Self {
        Self {
            radius,
            padded: Vec::new(),
            columns: Vec::new(),
            window: None,
            sliding: None,
        }
    }

    /// Filters a plane of `width × height` samples in place; beyond its edges it is continued by
    /// their values.
    pub(super) fn apply(&mut self, samples: &mut [u16], width: usize, height: usize) {
        if samples.is_empty() {
            return;
        }
        self.pad(samples, width, height);
        let stride = width + 2 * self.radius;
        if self.radius <= MOST_SORTED {
            sort(&self.padded, stride, self.radius, samples, width);
        } else if samples.iter().all(|&sample| is_of_8_bits(sample)) {
            let window = self.window.get_or_insert_default();
            self.columns.clear();
            self.columns.resize_with(stride, Column::default);
            window.filter(&mut self.columns, &self.padded, self.radius, samples, width);
        } else {
            let sliding = self.sliding.get_or_insert_default();
            sliding.filter(&self.padded, stride, self.radius, samples, width);
        }
    }

    fn pad(&mut self, samples: &[u16], width: usize, height: usize) {
        let radius = self.radius;
        self.padded.clear();
        for y in 0..height + 2 * radius {
            let row = y.saturating_sub(radius).min(height - 1) * width;
            let row = &samples[row..row + width];
            self.padded.resize(self.padded.len() + radius, row[0]);
            self.padded.extend_from_slice(row);
            self.padded
                .resize(self.padded.len() + radius, row[width - 1]);
        }
    }
}

/// Whether a sample of 16 bits is one of 8 bits: v/255 = 257·v/65535.
fn is_of_8_bits(sample: u16) -> bool {
    sample.is_multiple_of(257)
}

/// Medians by sorting as little as is needed: of any half of the samples and two more, neither the
/// least nor the largest is the median of all, so both are forgotten and one more sample is looked
/// at, until one is left (Paeth, «Median finding on a 3×3 grid», Graphics Gems, 1990).
fn sort(padded: &[u16], stride: usize, radius: usize, out: &mut [u16], width: usize) {
    const MOST: usize = (2 * MOST_SORTED + 1) * (2 * MOST_SORTED + 1);
    let side = 2 * radius + 1;
    let count = side * side;
    let mut held: [Lanes; MOST / 2 + 2] = [[0; LANES]; MOST / 2 + 2];
    for (y, out) in out.chunks_exact_mut(width).enumerate() {
        for (block, out) in out.chunks_mut(LANES).enumerate() {
            let corner = y * stride + block * LANES;
            let look = |place: usize, lanes: &mut Lanes| {
                let from = &padded[corner + place / side * stride + place % side..];
                match from.first_chunk() {
                    Some(all) if out.len() == LANES => *lanes = *all,
                    _ => lanes[..out.len()].copy_from_slice(&from[..out.len()]),
                }
            };
            let first = count / 2 + 2;
            for (place, lanes) in held[..first].iter_mut().enumerate() {
                look(place, lanes);
            }
            for place in first..count {
                // One less is held after each: 2·first is the sum of place and their number.
                sort_ends(&mut held[..2 * first - place]);
                look(place, &mut held[0]);
            }
            sort_ends(&mut held[..3]);
            out.copy_from_slice(&held[1][..out.len()]);
        }
    }
}

/// Brings the least sample to the front and the largest to the end, lane by lane.
fn sort_ends(held: &mut [Lanes]) {
    let last = held.len() - 1;
    for i in 0..held.len() / 2 {
        exchange(held, i, last - i);
    }
    for i in 1..held.len().div_ceil(2) {
        exchange(held, 0, i);
    }
    for i in held.len() / 2..last {
        exchange(held, i, last);
    }
}

/// Leaves the lesser samples at `i` and the larger at `j`, which is beyond `i`.
fn exchange(held: &mut [Lanes], i: usize, j: usize) {
    let (front, back) = held.split_at_mut(j);
    for (a, b) in front[i].iter_mut().zip(&mut back[0]) {
        (*a, *b) = ((*a).min(*b), (*a).max(*b));
    }
}

/// Counts of 8-bit samples in one column of the rows under way: one by one, and in bins of 16. A
/// column has at most 255 rows.
#[derive(Clone, Debug, Default)]
struct Column {
    fine: [[u8; 16]; 16],
    coarse: [u8; 16],
}

impl Column {
    fn add(&mut self, sample: u16) {
        let sample = usize::from(sample >> 8);
        self.fine[sample >> 4][sample & 15] += 1;
        self.coarse[sample >> 4] += 1;
    }

    fn remove(&mut self, sample: u16) {
        let sample = usize::from(sample >> 8);
        self.fine[sample >> 4][sample & 15] -= 1;
        self.coarse[sample >> 4] -= 1;
    }
}

/// Sums of the columns of one window. The time for a pixel does not depend on the radius (Perreault
/// & Hébert, «Median filtering in constant time», IEEE Transactions on Image Processing 16, 2007):
/// columns are updated by one sample, and of a window's single counts only those of the bin that
/// holds the median, and only when it does.
#[derive(Debug, Default)]
struct Window {
    coarse: [u16; 16],
    fine: [[u16; 16]; 16],
    /// Position in the row for which the single counts of each bin are right.
    right: [Option<usize>; 16],
}

impl Window {
    fn filter(
        &mut self,
        columns: &mut [Column],
        padded: &[u16],
        radius: usize,
        out: &mut [u16],
        width: usize,
    ) {
        let side = 2 * radius + 1;
        let rank = side * side / 2;
        let mut entering = padded.chunks_exact(columns.len());
        let mut leaving = entering.clone();
        for row in entering.by_ref().take(side - 1) {
            for (column, &sample) in columns.iter_mut().zip(row) {
                column.add(sample);
            }
        }
        for (out, row) in out.chunks_exact_mut(width).zip(entering) {
            for (column, &sample) in columns.iter_mut().zip(row) {
                column.add(sample);
            }
            self.coarse = [0; 16];
            for column in &columns[..side - 1] {
                add(&mut self.coarse, &column.coarse);
            }
            self.right = [None; 16];
            for (x, out) in out.iter_mut().enumerate() {
                add(&mut self.coarse, &columns[x + side - 1].coarse);
                *out = 257 * self.sample_at(&columns[..x + side], side, rank);
                subtract(&mut self.coarse, &columns[x].coarse);
            }
            for (column, &sample) in columns.iter_mut().zip(leaving.next().unwrap_or_default()) {
                column.remove(sample);
            }
        }
    }

    /// The sample that `rank` others of the window come before, which the last `side` columns are.
    fn sample_at(&mut self, columns: &[Column], side: usize, rank: usize) -> u16 {
        let x = columns.len() - side;
        let (bin, below) = find(&self.coarse, rank);
        let fine = &mut self.fine[bin];
        match self.right[bin] {
            Some(right) if x - right < side / 2 => {
                for step in right..x {
                    subtract(fine, &columns[step].fine[bin]);
                    add(fine, &columns[step + side].fine[bin]);
                }
            }
            _ => {
                *fine = [0; 16];
                for column in &columns[x..] {
                    add(fine, &column.fine[bin]);
                }
            }
        }
        self.right[bin] = Some(x);
        (bin * 16 + find(fine, rank - below).0) as u16
    }
}

fn add(sums: &mut [u16; 16], counts: &[u8; 16]) {
    for (sum, &count) in sums.iter_mut().zip(counts) {
        *sum += u16::from(count);
    }
}

fn subtract(sums: &mut [u16; 16], counts: &[u8; 16]) {
    for (sum, &count) in sums.iter_mut().zip(counts) {
        *sum -= u16::from(count);
    }
}

/// The bin that holds the sample which `rank` others come before, and how many lie in the bins
/// before it.
fn find(counts: &[u16; 16], rank: usize) -> (usize, usize) {
    let mut below = 0;
    for (bin, &count) in counts.iter().enumerate() {
        let count = usize::from(count);
        if below + count > rank {
            return (bin, below);
        }
        below += count;
    }
    (15, below)
}

/// Samples of a sliding window, counted in bins of 256 values and one by one, with the bin that
/// holds the median followed from window to window (Huang, Yang, Tang: «A fast two-dimensional
/// median filtering algorithm», 1979).
#[derive(Debug)]
struct Sliding {
    coarse: [u16; 256],
    fine: Vec<[u16; 16]>,
    /// Bin that the median was last found in.
    bin: usize,
    /// Samples in the bins before it.
    below: usize,
}

impl Default for Sliding {
    fn default() -> Self {
        Self {
            coarse: [0; 256],
            fine: vec![[0; 16]; 4096],
            bin: 0,
            below: 0,
        }
    }
}

impl Sliding {
    fn filter(
        &mut self,
        padded: &[u16],
        stride: usize,
        radius: usize,
        out: &mut [u16],
        width: usize,
    ) {
        let side = 2 * radius + 1;
        let rank = side * side / 2;
        for (y, out) in out.chunks_exact_mut(width).enumerate() {
            let rows = &padded[y * stride..(y + side) * stride];
            let column = |x: usize| rows[x..].iter().step_by(stride);
            for x in 0..side - 1 {
                column(x).for_each(|&sample| self.add(sample));
            }
            for (x, out) in out.iter_mut().enumerate() {
                column(x + side - 1).for_each(|&sample| self.add(sample));
                *out = self.sample_at(rank);
                column(x).for_each(|&sample| self.remove(sample));
            }
            for x in width..stride {
                column(x).for_each(|&sample| self.remove(sample));
            }
        }
    }

    fn add(&mut self, sample: u16) {
        let sample = usize::from(sample);
        let bin = sample >> 8;
        self.coarse[bin] += 1;
        self.fine[sample >> 4][sample & 15] += 1;
        self.below += usize::from(bin < self.bin);
    }

    fn remove(&mut self, sample: u16) {
        let sample = usize::from(sample);
        let bin = sample >> 8;
        self.coarse[bin] -= 1;
        self.fine[sample >> 4][sample & 15] -= 1;
        self.below -= usize::from(bin < self.bin);
    }

    /// The sample that `rank` others come before.
    fn sample_at(&mut self, rank: usize) -> u16 {
        while self.below > rank {
            self.bin -= 1;
            self.below -= usize::from(self.coarse[self.bin]);
        }
        while self.below + usize::from(self.coarse[self.bin]) <= rank {
            self.below += usize::from(self.coarse[self.bin]);
            self.bin += 1;
        }
        let mut rank = rank - self.below;
        // Sixteen at a time, which the processor sums at once.
        let mut sixteen = self.bin * 16;
        loop {
            let count = usize::from(self.fine[sixteen].iter().sum::<u16>());
            if count > rank {
                break (sixteen * 16 + find(&self.fine[sixteen], rank).0) as u16;
            }
            rank -= count;
            sixteen += 1;
        }
    }
}
