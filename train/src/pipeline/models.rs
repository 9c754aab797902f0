//! Exported graphs as models that run.

use std::{sync::atomic::AtomicBool, thread::available_parallelism};

use anyhow::Result;
use edge_vae::{
    Model,
    backend::Engine,
    bundle::{DECODER, ENCODER},
    preprocess::Normalise,
    vae::{Vae, VaeSpec},
};

use crate::{
    export::{self, NetworkGraphs},
    features::{ModelPool, PretrainedBackbone},
};

/// File of the bundle with the head's graph.
pub(super) const HEAD: &str = "head.onnx";

/// What models are made of.
#[derive(Clone, Copy)]
pub(super) struct Models<'a> {
    pub engine: &'a Engine,
    /// The graphs of the VAE, where there is one.
    pub vae: Option<(&'a VaeSpec, &'a NetworkGraphs)>,
    /// Shape of a tensor, C×H×W.
    pub shape: [usize; 3],
    pub backbone: Option<&'a PretrainedBackbone>,
    /// By which tensors are normalised.
    pub prepared: &'a Normalise,
    /// Frames that a model takes before results are handed over.
    pub round: usize,
    /// Set by Ctrl-C.
    pub interrupted: &'a AtomicBool,
}

/// A further graph: its file and its bytes.
pub(super) type Graph<'a> = (&'a str, &'a [u8]);

impl Models<'_> {
    /// Encoder, decoder and head, to be compared with the network; none without a VAE.
    pub(super) fn network(&self) -> Result<Option<export::LoadedGraphs>> {
        let Some(vae) = self.load_vae()? else {
            return Ok(None);
        };
        let head = self.head();
        let head = head
            .map(|head| self.engine.load(head, HEAD, 1))
            .transpose()?;
        Ok(Some(export::LoadedGraphs { vae, head }))
    }

    /// The head's graph, where there is one.
    pub(super) fn head(&self) -> Option<&[u8]> {
        self.vae.and_then(|(_, network)| network.head.as_deref())
    }

    /// A model with the backbone, where there is one and `with_backbone`, and further `graphs`.
    pub(super) fn model(&self, graphs: &[Graph], with_backbone: bool) -> Result<Model> {
        let backbone = self.backbone.filter(|_| with_backbone);
        let backbone = backbone
            .map(|backbone| backbone.load(self.engine, self.shape, self.prepared))
            .transpose()?;
        let mut model = Model::new(self.shape, self.load_vae()?, backbone);
        for (name, graph) in graphs {
            model.push(name, self.engine.load(graph, name, 1)?)?;
        }
        Ok(model)
    }

    /// Such a model for each processor.
    pub(super) fn pool(&self, graphs: &[Graph], with_backbone: bool) -> Result<ModelPool<'_>> {
        let processors = available_parallelism().map_or(1, usize::from);
        let models = (0..processors).map(|_| self.model(graphs, with_backbone));
        ModelPool::new(models.collect::<Result<_>>()?, self.round, self.interrupted)
    }

    fn load_vae(&self) -> Result<Option<Vae>> {
        let Some((spec, network)) = self.vae else {
            return Ok(None);
        };
        Ok(Some(Vae::new(
            spec.clone(),
            self.engine.load(&network.encoder, ENCODER, 1)?,
            self.engine.load(&network.decoder, DECODER, 1)?,
        )?))
    }
}
