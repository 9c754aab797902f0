//! What the graphs of a model made of one frame: tensors by name.

use std::collections::BTreeMap;

use super::Model;

/// The prepared frame, `C×H×W`.
pub const INPUT: &str = "input";
/// Posterior mean, `L` or `L×h×w`.
pub const MEAN: &str = "mean";
/// Posterior log-variance, `L` or `L×h×w`.
pub const LOG_VARIANCE: &str = "log_variance";
/// Decoded posterior mean, `C×H×W`.
pub const RECONSTRUCTION: &str = "reconstruction";
/// Bernoulli logits of the reconstruction, `C×H×W`, of a model with that likelihood.
pub const LOGITS: &str = "logits";
/// Log-variance of the reconstruction, `C×H×W`, of a model with a learned variance.
pub const RECONSTRUCTION_LOG_VARIANCE: &str = "reconstruction_log_variance";

/// A tensor of one frame, without batch dimension.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor<'a> {
    /// Its sides: `C×H×W` of a map, `L` of a vector.
    pub shape: &'a [usize],
    /// In C order.
    pub values: &'a [f32],
}

/// Every tensor of one frame, by name: those of the VAE, which have the constants of this room as
/// names, maps of a feature extractor, and whatever further graphs made. Views of buffers that the
/// model keeps.
#[derive(Clone, Copy)]
pub struct ModelOutputs<'a> {
    model: Option<(&'a Model, &'a [f32])>,
    given: &'a [(&'a str, Tensor<'a>)],
}

impl<'a> ModelOutputs<'a> {
    /// What `model` made last, of `input`.
    pub(super) fn of_model(model: &'a Model, input: &'a [f32]) -> Self {
        Self {
            model: Some((model, input)),
            given: &[],
        }
    }

    /// Tensors that are at hand.
    pub fn of(given: &'a [(&'a str, Tensor<'a>)]) -> Self {
        Self { model: None, given }
    }

    /// The same, but for the tensors `given`, which take the place of others of their names.
    pub fn with(self, given: &'a [(&'a str, Tensor<'a>)]) -> Self {
        Self { given, ..self }
    }

    /// The tensor of this name; `None` where no graph makes it.
    pub fn get(&self, name: &str) -> Option<Tensor<'a>> {
        let given = self.given.iter().find(|(given, _)| *given == name);
        given.map(|(_, tensor)| *tensor).or_else(|| {
            let (model, input) = self.model?;
            model.tensor(name, input)
        })
    }

    /// The values of a tensor; empty where no graph makes it.
    pub fn values(&self, name: &str) -> &'a [f32] {
        self.get(name).map_or(&[], |tensor| tensor.values)
    }
}

/// Names and shapes of a model's tensors, without batch dimension.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TensorShapes(BTreeMap<String, Vec<usize>>);

impl TensorShapes {
    /// The shape of a tensor; `None` where no graph makes it.
    pub fn get(&self, name: &str) -> Option<&[usize]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Adds a tensor, or gives one another shape.
    pub fn insert(&mut self, name: &str, shape: &[usize]) {
        self.0.insert(name.to_owned(), shape.to_vec());
    }
}

impl<'a, const RANK: usize> FromIterator<(&'a str, [usize; RANK])> for TensorShapes {
    fn from_iter<T: IntoIterator<Item = (&'a str, [usize; RANK])>>(tensors: T) -> Self {
        let owned = |(name, shape): (&str, [usize; RANK])| (name.to_owned(), shape.to_vec());
        Self(tensors.into_iter().map(owned).collect())
    }
}
