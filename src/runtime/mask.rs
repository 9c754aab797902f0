//! Another mask for a model that is trained.

use super::{
    GoldenCheck, GoldenValues, InferenceSession, golden_frame, load_preprocessor, load_scorer,
};
use crate::{
    Error,
    backend::Engine,
    bundle::Bundle,
    preprocess::{Mask, PreprocessError},
};

/// File of the mask in a bundle that had none.
const MASK: &str = "mask.png";

/// Takes another mask, in memory only; [`Bundle::save`] writes it. `name` is its file in
/// messages.
///
/// Weights and statistics stay, but another mask gives other scores: the golden values are
/// computed anew on `engine`, which must first agree on the old ones; the model gets another
/// id; and what has scores of the old mask is dropped, the calibration and the synthetic
/// defects.
///
/// # Errors
/// A file that is no mask or leaves nothing to look at; one that is white where the bundle's own
/// mask is black, where the model has learned nothing; an engine that disagrees on the golden
/// frame, and its failures. The bundle is then as before.
pub fn replace_mask(
    bundle: &mut Bundle,
    png: &[u8],
    name: &str,
    engine: &Engine,
) -> Result<(), Error> {
    GoldenCheck::verify(bundle, engine)?;
    let mask = Mask::from_png(png, name, bundle.manifest().preprocess.crop)?;
    let [_, height, width] = bundle.manifest().preprocess.canvas_shape();
    let inside = mask.interior(height, width);
    if let Some(trained) = load_preprocessor(bundle)?.mask() {
        let trained = trained.interior(height, width);
        let beyond = inside.cells().iter().zip(trained.cells());
        if beyond.into_iter().any(|(&new, &old)| new && !old) {
            return Err(PreprocessError::Mask {
                name: name.to_owned(),
                problem: "is white where the model's own mask is black: there it has learned \
                          nothing; paint white within that mask, or train again"
                    .into(),
            }
            .into());
        }
    }
    let mut changed = bundle.clone();
    changed.put_calibration(None)?;
    changed.put_synthetic_defects(None)?;
    let file = match &bundle.manifest().preprocess.mask {
        Some(file) => file.clone(),
        None => (0..)
            .map(|number| match number {
                0 => MASK.to_owned(),
                _ => format!("{number}-{MASK}"),
            })
            .find(|file| bundle.file(file).is_none())
            .unwrap_or_default(),
    };
    changed.manifest_mut().preprocess.mask = Some(file.clone());
    changed.put(&file, png.to_vec());

    renew_golden(&mut changed, engine)?;
    *bundle = changed;
    Ok(())
}

/// Computes the golden values of a bundle anew, in memory only, and gives the model the id of its
/// present files: after a change of what it computes, as by another mask or a further score source.
///
/// # Errors
/// A bundle whose golden frame, graphs or statistics can't be used, and failures of the engine.
pub fn renew_golden(bundle: &mut Bundle, engine: &Engine) -> Result<(), Error> {
    let mut session = InferenceSession::open(bundle, engine)?;
    let mut scorer = load_scorer(bundle, &session.tensor_shapes())?;
    let frame = golden_frame(bundle)?;
    let golden = GoldenValues::compute(&frame, &mut session, scorer.as_mut())?;
    bundle.manifest_mut().golden.score = golden.score;
    let file = bundle.manifest().golden.expected.clone();
    bundle.put(&file, golden.to_npz()?);
    bundle.seal()?;
    Ok(())
}
