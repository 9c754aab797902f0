//! Graphs that run one after the other over named tensors.

use std::mem::take;

use super::reuse::reuse;
use crate::backend::{BackendError, Graph, TensorInfo};

/// Graphs each of which finds its inputs by name among the tensors that are given and those that
/// the graphs before it made, into buffers that are kept.
pub(super) struct Chain {
    given: Vec<TensorInfo>,
    stages: Vec<Stage>,
}

struct Stage {
    name: String,
    graph: Box<dyn Graph>,
    /// Where each input comes from.
    sources: Vec<Place>,
    outputs: Vec<Vec<f32>>,
    /// Memory for the lists of a run's slices.
    lists: (Vec<&'static [f32]>, Vec<&'static mut [f32]>),
}

#[derive(Clone, Copy)]
enum Place {
    Given(usize),
    Made { stage: usize, output: usize },
}

impl Chain {
    /// A chain without graphs over the tensors `given`, in the order of [`Chain::run_those`].
    pub(super) fn new(given: Vec<TensorInfo>) -> Self {
        Self {
            given,
            stages: Vec::new(),
        }
    }

    /// Adds a graph at the end; `name` names it in errors.
    ///
    /// # Errors
    /// An input that no tensor before has the name or the shape of, and an output of a name that
    /// is taken.
    pub(super) fn push(&mut self, name: &str, graph: Box<dyn Graph>) -> Result<(), BackendError> {
        let unusable = |message| BackendError::Model {
            graph: name.to_owned(),
            message,
        };
        let mut sources = Vec::with_capacity(graph.inputs().len());
        for input in graph.inputs() {
            let Some((place, info)) = self.find(&input.name) else {
                return Err(unusable(format!(
                    "no graph before it makes its input `{}`; there are {}",
                    input.name,
                    self.names().join(", ")
                )));
            };
            if info.shape != input.shape {
                return Err(unusable(format!(
                    "its input `{}` has the shape {:?}, but is made with {:?}",
                    input.name, input.shape, info.shape
                )));
            }
            sources.push(place);
        }
        if let Some(taken) = graph
            .outputs()
            .iter()
            .find(|output| self.find(&output.name).is_some())
        {
            return Err(unusable(format!(
                "a tensor before it is already called `{}`, as its output is",
                taken.name
            )));
        }
        let outputs = graph
            .outputs()
            .iter()
            .map(|output| vec![0.0; output.len()])
            .collect();
        self.stages.push(Stage {
            name: name.to_owned(),
            graph,
            sources,
            outputs,
            lists: Default::default(),
        });
        Ok(())
    }

    /// What has to be run and given for the tensors `names`: a flag for each graph and each given
    /// tensor. Names that are not there need nothing.
    pub(super) fn needed(&self, names: &[&str]) -> (Vec<bool>, Vec<bool>) {
        let mut stages = vec![false; self.stages.len()];
        let mut given = vec![false; self.given.len()];
        let mut open: Vec<Place> = names
            .iter()
            .filter_map(|name| Some(self.find(name)?.0))
            .collect();
        while let Some(place) = open.pop() {
            match place {
                Place::Given(place) => given[place] = true,
                Place::Made { stage, .. } => {
                    if !std::mem::replace(&mut stages[stage], true) {
                        open.extend(&self.stages[stage].sources);
                    }
                }
            }
        }
        (stages, given)
    }

    /// Runs the graphs that `wanted` names by their place on the values of the given tensors, by
    /// their places; the others keep what they made last.
    ///
    /// # Errors
    /// Values of another number or length than was declared, failures of the engine, and NaN or
    /// infinities in what a graph makes.
    pub(super) fn run_those<'a>(
        &mut self,
        given: impl Fn(usize) -> Option<&'a [f32]>,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), BackendError> {
        for index in (0..self.stages.len()).filter(|&index| wanted(index)) {
            let (before, rest) = self.stages.split_at_mut(index);
            let stage = &mut rest[0];
            let unusable = |message| BackendError::Model {
                graph: stage.name.clone(),
                message,
            };
            let mut inputs = reuse(take(&mut stage.lists.0));
            for source in &stage.sources {
                inputs.push(match *source {
                    Place::Given(place) => given(place).ok_or_else(|| {
                        unusable(format!(
                            "the tensor `{}` is missing",
                            self.given[place].name
                        ))
                    })?,
                    Place::Made { stage, output } => before[stage].outputs[output].as_slice(),
                });
            }
            let mut outputs = reuse(take(&mut stage.lists.1));
            outputs.extend(stage.outputs.iter_mut().map(Vec::as_mut_slice));
            stage.graph.run(&inputs, &mut outputs)?;
            stage.lists = (reuse(inputs), reuse(outputs));
            for (info, values) in stage.graph.outputs().iter().zip(&stage.outputs) {
                if !values
                    .iter()
                    .fold(true, |all, value| all & value.is_finite())
                {
                    return Err(unusable(format!(
                        "its output `{}` holds values that are not finite: the weights are damaged",
                        info.name
                    )));
                }
            }
        }
        Ok(())
    }

    /// Number of graphs.
    pub(super) fn len(&self) -> usize {
        self.stages.len()
    }

    /// Shape and values of a tensor that a graph made in its last run.
    pub(super) fn made(&self, name: &str) -> Option<(&TensorInfo, &[f32])> {
        match self.find(name)? {
            (Place::Made { stage, output }, info) => {
                Some((info, &self.stages[stage].outputs[output]))
            }
            (Place::Given(_), _) => None,
        }
    }

    /// Place and shape of a tensor that is given.
    pub(super) fn given(&self, name: &str) -> Option<(usize, &TensorInfo)> {
        let mut given = self.given.iter().enumerate();
        given.find(|(_, info)| info.name == name)
    }

    /// Which graph makes a tensor.
    pub(super) fn graph_of(&self, name: &str) -> Option<usize> {
        match self.find(name)?.0 {
            Place::Made { stage, .. } => Some(stage),
            Place::Given(_) => None,
        }
    }

    /// Every tensor, given or made, in order.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &TensorInfo> {
        let made = self.stages.iter().flat_map(|stage| stage.graph.outputs());
        self.given.iter().chain(made)
    }

    /// Every tensor that the graphs make, in order.
    pub(super) fn all_made(&self) -> impl Iterator<Item = (&TensorInfo, &[f32])> {
        self.stages.iter().flat_map(|stage| {
            let values = stage.outputs.iter().map(Vec::as_slice);
            stage.graph.outputs().iter().zip(values)
        })
    }

    fn find(&self, name: &str) -> Option<(Place, &TensorInfo)> {
        let given = self.given.iter().enumerate();
        let made = self.stages.iter().enumerate().flat_map(|(stage, found)| {
            let outputs = found.graph.outputs().iter().enumerate();
            outputs.map(move |(output, info)| (Place::Made { stage, output }, info))
        });
        given
            .map(|(place, info)| (Place::Given(place), info))
            .chain(made)
            .find(|(_, info)| info.name == name)
    }

    fn names(&self) -> Vec<String> {
        let tensors = self.tensors();
        tensors.map(|info| format!("`{}`", info.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::test_graphs::FakeGraph;

    fn info(name: &str, len: usize) -> TensorInfo {
        TensorInfo {
            name: name.to_owned(),
            shape: vec![1, len],
        }
    }

    fn of<'a>(given: &'a [&'a [f32]]) -> impl Fn(usize) -> Option<&'a [f32]> {
        |place| given.get(place).copied()
    }

    /// Multiplies the sum of its inputs by a factor.
    fn sum(inputs: &[&str], output: &str, factor: f32) -> Box<dyn Graph> {
        let pair: &[usize] = &[1, 2];
        let inputs: Vec<_> = inputs.iter().map(|name| (*name, pair)).collect();
        FakeGraph::boxed(&inputs, &[(output, pair)], move |inputs, outputs| {
            for (index, value) in outputs[0].iter_mut().enumerate() {
                *value = inputs.iter().map(|input| input[index]).sum::<f32>() * factor;
            }
        })
    }

    #[test]
    fn graphs_find_given_and_made_tensors_by_name() {
        let mut chain = Chain::new(vec![info("a", 2), info("b", 2)]);
        chain.push("first", sum(&["b"], "c", 10.0)).unwrap();
        chain.push("second", sum(&["c", "a"], "d", 2.0)).unwrap();
        chain.push("third", sum(&["d", "c"], "e", 1.0)).unwrap();
        chain
            .run_those(of(&[&[1.0, 2.0], &[3.0, 4.0]]), |_| true)
            .unwrap();
        assert_eq!(chain.made("c").unwrap().1, [30.0, 40.0]);
        assert_eq!(chain.made("d").unwrap().1, [62.0, 84.0]);
        assert_eq!(chain.made("e").unwrap().1, [92.0, 124.0]);
        assert!(chain.made("a").is_none() && chain.made("f").is_none());
        let made: Vec<_> = chain
            .all_made()
            .map(|(info, _)| info.name.as_str())
            .collect();
        assert_eq!(made, ["c", "d", "e"]);
        assert!(
            chain
                .run_those(of(&[&[1.0, 2.0]]), |_| true)
                .unwrap_err()
                .to_string()
                .contains("`b` is missing")
        );
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut chain = Chain::new(vec![info("a", 2), info("b", 3)]);
        let mut refused = |graph| chain.push("head.onnx", graph).unwrap_err().to_string();
        assert_eq!(
            refused(sum(&["x"], "c", 1.0)),
            "cannot use head.onnx: no graph before it makes its input `x`; there are `a`, `b`"
        );
        assert_eq!(
            refused(sum(&["b"], "c", 1.0)),
            "cannot use head.onnx: its input `b` has the shape [1, 2], but is made with [1, 3]"
        );
        assert_eq!(
            refused(sum(&["a"], "a", 1.0)),
            "cannot use head.onnx: a tensor before it is already called `a`, as its output is"
        );
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        let mut chain = Chain::new(vec![info("a", 2)]);
        chain
            .push("head.onnx", sum(&["a"], "c", f32::INFINITY))
            .unwrap();
        let error = chain
            .run_those(of(&[&[0.0, 1.0]]), |_| true)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("its output `c` holds values that are not finite"),
            "{error}"
        );
    }
}
