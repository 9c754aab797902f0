//! Another mask for a model that is trained.

use super::{
    Bundle, FileEntry, GoldenValues,
    manifest::MANIFEST,
    open::{sha256, weight_digits},
};
use crate::{
    Error, Reconstructor,
    backend::Engine,
    preprocess::{Mask, PreprocessError},
};

/// File of the mask in a bundle that had none.
const MASK: &str = "mask.png";

impl Bundle {
    /// Takes another mask, in memory only; [`Bundle::save`] writes it. `name` is its file in
    /// messages.
    ///
    /// Weights and statistics stay, but another mask gives other scores: the golden values are
    /// computed anew on `engine`, which must first agree on the old ones; the model gets another
    /// id; and the calibration, whose scores are those of the old mask, is dropped.
    ///
    /// # Errors
    /// A file that is no mask or leaves nothing to look at; one that is white where the bundle's own
    /// mask is black, where the model has learned nothing; an engine that disagrees on the golden
    /// frame, and its failures. The bundle is then as before.
    pub fn set_mask(&mut self, png: &[u8], name: &str, engine: &Engine) -> Result<(), Error> {
        self.prove(engine)?;
        let mask = Mask::from_png(png, name, self.manifest.preprocess.crop)?;
        let [_, height, width] = self.manifest.preprocess.canvas_shape();
        let inside = mask.interior(height, width);
        if let Some(trained) = self.preprocessor()?.mask() {
            let trained = trained.interior(height, width);
            let beyond = inside.cells().iter().zip(trained.cells());
            if beyond.into_iter().any(|(&new, &old)| new && !old) {
                return Err(PreprocessError::Mask {
                    name: name.to_owned(),
                    problem: "is white where the model's own mask is black: there it has learned nothing; paint white within that mask, or train again".into(),
                }
                .into());
            }
        }
        let mut changed = self.clone();
        changed.manifest.calibration = None;
        let file = match &self.manifest.preprocess.mask {
            Some(file) => file.clone(),
            None => (0..)
                .map(|number| match number {
                    0 => MASK.to_owned(),
                    _ => format!("{number}-{MASK}"),
                })
                .find(|file| !self.files.contains_key(file))
                .unwrap_or_default(),
        };
        changed.manifest.preprocess.mask = Some(file.clone());
        changed.put(&file, png.to_vec());

        let mut reconstructor = Reconstructor::new(&changed, engine)?;
        let graphs = reconstructor.graph_shapes();
        let mut scorer = changed.scorer(graphs)?;
        let frame = changed.golden_frame()?;
        let golden = GoldenValues::compute(&frame, &mut reconstructor, scorer.as_mut())?;
        let canvas = reconstructor.canvas_layout().tiles().canvas_size();
        let values = golden.to_npz(&changed.manifest.vae, graphs, canvas)?;
        changed.manifest.golden.score = golden.score;
        let file = changed.manifest.golden.expected.clone();
        changed.put(&file, values);
        changed.manifest.model_id = format!(
            "{}-{}",
            changed.manifest.model_name(),
            weight_digits(&changed.manifest, &changed.files)
        );
        changed.manifest.check(&changed.path.join(MANIFEST))?;
        *self = changed;
        Ok(())
    }

    /// Adds or replaces a file, and what the manifest lists of it.
    fn put(&mut self, name: &str, bytes: Vec<u8>) {
        let entry = FileEntry {
            sha256: sha256([bytes.as_slice()]),
            bytes: bytes.len() as u64,
        };
        self.manifest.files.insert(name.to_owned(), entry);
        self.files.insert(name.to_owned(), bytes);
    }
}
