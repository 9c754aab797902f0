//! Sums over GPUs by NCCL.
//!
//! Never run: no machine with two GPUs was at hand. It is compiled by `cargo check --features nccl`
//! alone.

use std::fmt::{Debug, Formatter, Result as Formatted};

use anyhow::{Context, Result};
use candle_core::{
    CpuStorage, CudaStorage, Device, InplaceOp1, Layout, Tensor, bail,
    cuda_backend::{
        CudaStorageSlice,
        cudarc::nccl::{Comm, ReduceOp},
    },
};

use super::collective::{Collective, Member, in_order, meeting};

/// A GPU's part in the sums of all.
pub(super) struct Nccl {
    communicator: Communicator,
    /// NCCL waits without end for a rank that has failed: all meet here before they call it.
    member: Member<()>,
}

struct Communicator(Comm);

// SAFETY: NCCL lets any thread use a communicator, one at a time; this one has one owner, and
// nothing hands out a reference to it.
unsafe impl Send for Communicator {}

/// One for each of `devices`, all of them GPUs.
///
/// # Errors
/// What NCCL says.
pub(super) fn members(devices: &[Device]) -> Result<Vec<Nccl>> {
    let streams = devices.iter().map(|device| match device {
        Device::Cuda(device) => Ok(device.cuda_stream()),
        other => bail!("NCCL sums on GPUs, not on {other:?}"),
    });
    let streams = streams.collect::<candle_core::Result<_>>()?;
    let communicators = Comm::from_devices(streams).map_err(|error| anyhow::anyhow!("{error:?}"));
    let communicators = communicators.context("NCCL can't connect the GPUs")?;
    let members = communicators.into_iter().zip(meeting(devices.len()));
    Ok(members
        .map(|(communicator, member)| Nccl {
            communicator: Communicator(communicator),
            member,
        })
        .collect())
}

/// In the order of the shards on each GPU, then in NCCL's, which depends on the number of GPUs.
impl Collective for Nccl {
    fn sum(&mut self, mine: Vec<Tensor>) -> Result<Tensor> {
        let sum = in_order(&mine)?;
        self.member.exchange(())?;
        sum.inplace_op1(&AllReduce(&self.communicator.0))?;
        Ok(sum)
    }
}

impl Debug for Nccl {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        f.debug_struct("Nccl").finish_non_exhaustive()
    }
}

struct AllReduce<'a>(&'a Comm);

impl InplaceOp1 for AllReduce<'_> {
    fn name(&self) -> &'static str {
        "all_reduce"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        bail!("all_reduce: wants a tensor on a GPU")
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let whole = layout.contiguous_offsets();
        match &mut storage.slice {
            CudaStorageSlice::F32(slice) if whole == Some((0, slice.len())) => {
                let done = self.0.all_reduce_in_place(slice, &ReduceOp::Sum);
                match done {
                    Ok(_) => Ok(()),
                    Err(error) => bail!("all_reduce: {error:?}"),
                }
            }
            _ => bail!("all_reduce: wants a whole f32 tensor"),
        }
    }
}
