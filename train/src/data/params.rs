//! Numbers by which input, memory and split follow from the training frames.

/// See the fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct DataParams {
    /// Most bytes of prepared frames: what a work station can spare.
    pub memory: usize,
    /// Least standard deviation of a channel, of full scale: noise in an all but empty channel is
    /// not amplified.
    pub least_deviation: f32,
    /// Frames looked at to find out what frames are like: enough for a median, soon read.
    pub surveyed: usize,
    /// Largest relative difference of the frames' proportions with which these are common to them:
    /// a camera's frames differ by pixels that were cropped, and five per cent turn no shape into
    /// another.
    pub proportions: f64,
    /// How much unused pixels of the budget count against missed proportions, both as logarithms: a
    /// fifth of the pixels as much as a stretch by a twentieth, neither of which can be seen.
    pub unused_pixels: f64,
    /// Longer side, in pixels, up to which frames are for the network of 28×28.
    pub digit_side: u32,
    /// Side of the crops that fully convolutional networks are trained on: what a processor trains
    /// in minutes, and larger than what decides about a pixel.
    pub crop: usize,
    /// Side of the tensor for small frames. Enlarging adds no detail, but brings what there is to
    /// the scale that the pretrained backbone knows.
    pub small_side: usize,
    /// Side of frames up to which they are small, in pixels: those of 128 do better at 256. The
    /// side of frames is that of a square with as many pixels, or the shorter one where frames
    /// differ in their proportions.
    pub small_frames: f64,
    /// Side of frames, in pixels, from which on the usual side loses detail.
    pub large_frames: f64,
    /// Side of the tensor for large frames where a pretrained backbone decides.
    pub large_side: usize,
    /// Most bytes of all frames at that side: room for augmented samples and features beside them.
    pub large_memory: usize,
    /// Side of frames above which they are cut into tiles: three times the large side.
    pub tiled_frames: f64,
    /// From frames to the canvas of tiles: at full size tiles would be four times as many, and the
    /// last halving loses mostly noise.
    pub canvas_scale: f64,
    /// Most tiles, since each takes as long as a whole frame.
    pub most_tiles: usize,
    /// Least overlap of neighbouring tiles, of their side: as far as the border of a tile disturbs.
    pub overlap: f32,
    /// Local contrast of full scale below which there is none to normalise: rounding to 8 bits.
    pub least_contrast: f32,
    /// Highest local contrast to normalise to: more would clip.
    pub most_contrast: f32,
    /// Fewest groups that `--group-by` may find: one for each part of the split.
    pub least_groups: usize,
    /// Most frames or groups to select by: beyond, they are of more use in training.
    pub most_validation: f64,
    /// Most frames or groups held out to calibrate, unless the false-alarm rate asks for more.
    pub most_calibration: f64,
}

pub(super) const PARAMS: DataParams = DataParams {
    memory: 8 << 30,
    least_deviation: 0.01,
    surveyed: 16,
    proportions: 0.05,
    unused_pixels: 0.25,
    digit_side: 32,
    crop: 128,
    small_side: 128,
    small_frames: 96.0,
    large_frames: 320.0,
    large_side: 512,
    large_memory: 4 << 30,
    tiled_frames: 1536.0,
    canvas_scale: 0.5,
    most_tiles: 16,
    overlap: 0.25,
    least_contrast: 0.5 / 255.0,
    most_contrast: 0.2,
    least_groups: 3,
    most_validation: 1000.0,
    most_calibration: 2000.0,
};
