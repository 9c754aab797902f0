//! A graph in a session.

use std::borrow::Cow;
use std::fs;
use std::path::PathBuf;

use ::ort::session::{Session, SessionInputValue};
use ::ort::value::TensorRef;

use super::message::said;
use super::profile::Profile;
use super::{ENGINE, Placement, Runtime};
use crate::backend::model_file::ModelFile;
use crate::backend::tensor_rt::{digest, graph_folder};
use crate::backend::{BackendError, Device, Graph, NodeTimes, Signature, TensorInfo};

/// A graph in ONNX Runtime.
pub(in crate::backend) struct OrtGraph {
    signature: Signature,
    session: Session,
    profile: Option<Profile>,
}

impl OrtGraph {
    pub(in crate::backend) fn load(
        runtime: &Runtime,
        placement: &Placement,
        onnx: &[u8],
        file: ModelFile,
        times: Option<NodeTimes>,
    ) -> Result<Self, BackendError> {
        let engines = if placement.device == Device::TensorRt {
            let folder = engine_folder(placement, onnx);
            fs::create_dir_all(&folder).map_err(|error| BackendError::Cache {
                path: folder.clone(),
                message: error.to_string(),
            })?;
            folder
        } else {
            PathBuf::new()
        };
        let load_error = |message| BackendError::Load {
            engine: ENGINE,
            graph: file.signature.name.clone(),
            message,
        };
        let profile = times.as_ref().map(Profile::new).transpose();
        let profile = profile.map_err(|error| load_error(error.to_string()))?;
        let commit = || {
            let mut builder = runtime.builder(placement, &engines)?;
            if let Some(profile) = &profile {
                builder = builder.with_profiling(profile.file())?;
            }
            for symbol in &file.batch_symbols {
                builder = builder.with_dimension_override(symbol, file.batch as i64)?;
            }
            builder.commit_from_memory(onnx)
        };
        let session = commit().map_err(|error| load_error(said(&error)))?;
        let same_names = |outlets: &[::ort::value::Outlet], infos: &[TensorInfo]| {
            outlets.len() == infos.len()
                && infos
                    .iter()
                    .all(|info| outlets.iter().any(|o| o.name() == info.name))
        };
        if !same_names(session.inputs(), &file.signature.inputs)
            || !same_names(session.outputs(), &file.signature.outputs)
        {
            return Err(load_error(
                "it names other inputs or outputs than the file".into(),
            ));
        }
        Ok(Self {
            signature: file.signature,
            session,
            profile,
        })
    }
}

impl Drop for OrtGraph {
    fn drop(&mut self) {
        if let Some(profile) = &self.profile {
            profile.finish(&mut self.session, &self.signature.name);
        }
    }
}

impl Graph for OrtGraph {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), BackendError> {
        self.signature.check_buffers(inputs, outputs)?;
        let Self {
            signature, session, ..
        } = self;
        let run_error = |message| BackendError::Run {
            engine: ENGINE,
            graph: signature.name.clone(),
            message,
        };
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            Vec::with_capacity(inputs.len());
        for (info, input) in signature.inputs.iter().zip(inputs) {
            let value = TensorRef::from_array_view((info.shape.as_slice(), *input))
                .map_err(|error| run_error(said(&error)))?;
            values.push((info.name.as_str().into(), value.into()));
        }
        let results = session
            .run(values)
            .map_err(|error| run_error(said(&error)))?;
        for (info, buffer) in signature.outputs.iter().zip(outputs) {
            let value = results
                .get(&info.name)
                .ok_or_else(|| run_error(format!("output `{}` is missing", info.name)))?;
            let (shape, data) = value
                .try_extract_tensor::<f32>()
                .map_err(|error| run_error(said(&error)))?;
            if !shape
                .iter()
                .map(|&dim| dim as usize)
                .eq(info.shape.iter().copied())
            {
                return Err(run_error(format!(
                    "output `{}` has shape {:?} and is declared as {:?}",
                    info.name,
                    &shape[..],
                    info.shape
                )));
            }
            buffer.copy_from_slice(data);
        }
        Ok(())
    }
}

/// The folder for the TensorRT engines of one graph. ONNX Runtime names an engine by the graph's
/// structure and not by its weights, so two models of one architecture would share an engine and
/// the second would run with the weights of the first. Nor does it look at driver and precision.
pub(in crate::backend) fn engine_folder(placement: &Placement, onnx: &[u8]) -> PathBuf {
    let key = format!("{:?} {}", placement.identity, placement.tensor_rt);
    graph_folder(&placement.cache, onnx).join(digest(key.as_bytes()))
}
