//! Prepared frames through the exported graphs, on all processors, results in order.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow, bail};
use edge_vae::{Model, model::GraphShapes};

/// Frames that one observer takes before results are handed over.
const ROUND: usize = 8;

/// What is asked of the observers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Everything that the graphs make.
    All,
    /// Feature maps, and what they are made of.
    Features,
    /// What the reconstruction leaves unexplained, and what that is made of.
    Residual,
}

/// One observer for each processor.
pub(super) struct Runner<'a> {
    observers: Vec<Model>,
    interrupted: &'a AtomicBool,
}

impl<'a> Runner<'a> {
    /// Makes the observers.
    ///
    /// # Errors
    /// Those of `make`.
    pub(super) fn new(
        mut make: impl FnMut() -> Result<Model>,
        interrupted: &'a AtomicBool,
    ) -> Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, usize::from);
        let observers = (0..count).map(|_| make()).collect::<Result<_>>()?;
        Ok(Self {
            observers,
            interrupted,
        })
    }

    /// Rows and columns of the maps that the graphs make.
    pub(super) fn graph_shapes(&self) -> GraphShapes {
        self.observers
            .first()
            .map_or(GraphShapes::default(), Model::graph_shapes)
    }

    /// Whether the graphs make features.
    pub(super) fn has_features(&self) -> bool {
        self.observers
            .first()
            .is_some_and(|observer| !observer.feature_maps().is_empty())
    }

    /// Whether a backbone makes them.
    pub(super) fn has_backbone(&self) -> bool {
        self.observers
            .first()
            .is_some_and(Model::has_feature_extractor)
    }

    /// Rows and columns of the finest of the maps that are too fine to be compared with a backbone's
    /// others; `None` where there are no such.
    pub(super) fn detail_grid(&self) -> Option<[usize; 2]> {
        let maps = self.observers.first()?.detail_maps().into_iter();
        maps.map(|(_, [_, height, width], _)| [height, width]).max()
    }

    /// Whether the graphs tell what reconstructions leave unexplained.
    pub(super) fn has_residual(&self) -> bool {
        self.observers
            .first()
            .is_some_and(|observer| !observer.residual_maps().is_empty())
    }

    /// Observes `count` frames: `tensors` makes those of a place, `see` looks at what the graphs made
    /// of each of them (place and tile) and adds it to the frame's result, both on any thread;
    /// `take` gets the results in order.
    ///
    /// # Errors
    /// Ctrl-C, and the errors of what is called.
    pub(super) fn each<T: Send + Default>(
        &mut self,
        count: usize,
        what: What,
        tensors: impl Fn(usize) -> Result<Vec<Vec<f32>>> + Sync,
        see: impl Fn([usize; 2], &Model, &[f32], &mut T) -> Result<()> + Sync,
        mut take: impl FnMut(usize, T) -> Result<()>,
    ) -> Result<()> {
        let threads = self.observers.len();
        for first in (0..count).step_by(threads * ROUND) {
            if self.interrupted.load(Ordering::Relaxed) {
                bail!("interrupted");
            }
            let places = first..(first + threads * ROUND).min(count);
            let (tensors, see) = (&tensors, &see);
            let seen = std::thread::scope(|scope| {
                let running: Vec<_> = self
                    .observers
                    .iter_mut()
                    .enumerate()
                    .map(|(thread, observer)| {
                        let mine = places.clone().skip(thread).step_by(threads);
                        scope.spawn(move || {
                            mine.map(|place| {
                                let mut result = T::default();
                                for (tile, input) in tensors(place)?.iter().enumerate() {
                                    match what {
                                        What::All => observer.run(input)?,
                                        What::Features => observer.run_features(input)?,
                                        What::Residual => observer.run_residual(input)?,
                                    }
                                    see([place, tile], observer, input, &mut result)?;
                                }
                                Ok((place, result))
                            })
                            .collect::<Result<Vec<_>>>()
                        })
                    })
                    .collect();
                running
                    .into_iter()
                    .map(|thread| {
                        thread
                            .join()
                            .map_err(|_| anyhow!("a thread of the detector's fit failed"))?
                    })
                    .collect::<Result<Vec<_>>>()
            })?;
            let mut seen: Vec<(usize, T)> = seen.into_iter().flatten().collect();
            seen.sort_by_key(|(place, _)| *place);
            for (place, found) in seen {
                take(place, found)?;
            }
        }
        Ok(())
    }
}
