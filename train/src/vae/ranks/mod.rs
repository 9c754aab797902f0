//! Several devices as one: a replica of the network on each, which all take the same steps.
//!
//! A batch is cut into shards. How many there are is an option of the run, and what a shard finds
//! does not depend on the device that it is on. The shards' gradients are added in their order, so
//! any number of devices gives the same bits.

mod collective;
#[cfg(feature = "nccl")]
mod nccl;
mod replica;
#[cfg(test)]
mod tests;

use std::{
    any::Any,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, Builder},
};

use anyhow::{Context, Error, Result, anyhow, ensure};
use candle_core::Device;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::{
    gradients::Losses,
    step::{Training, TrainingStep},
};
use crate::options::FitOptions;
use collective::{Alone, Collective, Left, Member, meeting};
pub(super) use replica::Replica;

/// What all ranks do at a time.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// The work of a step, which changes nothing.
    Try(TrainingStep),
    /// A step.
    Take(TrainingStep),
}

/// A replica for each of the devices, before the first step.
///
/// # Errors
/// More devices than shards, more shards than frames in a step, a device without memory.
pub(super) fn replicas<'a>(
    training: &'a Training<'a>,
    options: &FitOptions,
) -> Result<Vec<Replica<'a>>> {
    let (devices, shards) = (training.devices, options.shards);
    let frames = training.batch(options);
    ensure!(
        shards <= frames,
        "--shards: a step has {frames} frames, they can't be cut into {shards} parts: name fewer \
         devices or give a larger --batch"
    );
    ensure!(
        devices.len() <= shards,
        "--device: found {} devices, but a step of this run has {shards} (--shards): name no more \
         devices than that",
        devices.len()
    );
    let collectives = collectives(devices)?.into_iter().enumerate();
    let each = collectives
        .zip(devices)
        .map(|((rank, collective), device)| {
            let first = |rank: usize| rank * shards / devices.len();
            let own = first(rank)..first(rank + 1);
            Replica::new(training, options, device, own, collective)
        });
    each.collect()
}

fn collectives(devices: &[Device]) -> Result<Vec<Box<dyn Collective>>> {
    fn boxed<C: Collective + 'static>(each: Vec<C>) -> Vec<Box<dyn Collective>> {
        let each = each.into_iter().map(|one| Box::new(one) as _);
        each.collect()
    }
    if let [_] = devices {
        return Ok(boxed(vec![Alone]));
    }
    #[cfg(feature = "nccl")]
    if devices.iter().all(Device::is_cuda) {
        return Ok(boxed(nccl::members(devices)?));
    }
    let members: Vec<Member<Vec<candle_core::Tensor>>> = meeting(devices.len());
    Ok(boxed(members))
}

/// Replicas at work: the first here, each of the others in a thread of its own.
pub(super) struct Team<'a> {
    first: Replica<'a>,
    pool: Option<ThreadPool>,
    others: Vec<Sender<Order>>,
}

impl<'a> Team<'a> {
    /// The work of a step on all devices, which changes nothing.
    ///
    /// # Errors
    /// A device that can't go on.
    pub(super) fn try_step(&mut self, step: TrainingStep) -> Result<()> {
        self.tell(Order::Try(step))?;
        within(self.pool.as_ref(), || self.first.gradients(step)).map(drop)
    }

    /// Takes a step on all devices.
    ///
    /// # Errors
    /// A loss or a gradient that is not finite, a device that can't go on.
    pub(super) fn step(&mut self, step: TrainingStep) -> Result<Losses> {
        self.tell(Order::Take(step))?;
        within(self.pool.as_ref(), || self.first.step(step))
    }

    /// The replica on the first device, which has what all have.
    pub(super) fn first(&self) -> &Replica<'a> {
        &self.first
    }

    fn tell(&self, order: Order) -> Result<()> {
        for other in &self.others {
            other.send(order).map_err(|_| Left)?;
        }
        Ok(())
    }
}

/// Does `work` with `replicas`, which wait for it in between.
///
/// # Errors
/// Those of `work`; where it fails since another device ended, that one's error or panic.
pub(super) fn together<'a, T>(
    replicas: Vec<Replica<'a>>,
    work: impl FnOnce(Team<'a>) -> Result<T>,
) -> Result<T> {
    let count = replicas.len();
    let mut pools = pools(count)?.into_iter();
    let mut replicas = replicas.into_iter();
    let first = replicas.next().context("no device to train on")?;
    let pool = pools.next();
    thread::scope(|scope| {
        let mut others = Vec::new();
        let mut threads = Vec::new();
        for (replica, pool) in replicas.zip(pools) {
            let (sender, orders) = channel();
            let name = Builder::new().name(format!("device {}", threads.len() + 2));
            let follow = move || pool.install(move || follow(replica, orders));
            threads.push(
                name.spawn_scoped(scope, follow)
                    .context("cannot start a thread")?,
            );
            others.push(sender);
        }
        // With the team its senders go, and the threads end.
        let mut done = work(Team {
            first,
            pool,
            others,
        });
        for (number, thread) in (2..).zip(threads) {
            let ended = thread.join().unwrap_or_else(|panic| Err(panicked(&*panic)));
            let Err(error) = ended else { continue };
            let known = matches!(&done, Err(known) if !known.is::<Left>());
            if !known && !error.is::<Left>() {
                done = Err(error.context(format!("device {number} of {count}")));
            }
        }
        done
    })
}

fn follow(mut replica: Replica, orders: Receiver<Order>) -> Result<()> {
    for order in orders {
        match order {
            Order::Try(step) => replica.gradients(step).map(drop)?,
            Order::Take(step) => replica.step(step).map(drop)?,
        }
    }
    Ok(())
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied());
    anyhow!("it panicked: {}", text.unwrap_or("without a word"))
}

/// For each of several ranks its part of the threads, one at least: ranks that share one pool wait
/// for each other's work. None for one rank, which has all threads.
fn pools(ranks: usize) -> Result<Vec<ThreadPool>> {
    if ranks == 1 {
        return Ok(Vec::new());
    }
    let threads = rayon::current_num_threads();
    let first = |rank: usize| rank * threads / ranks;
    let each = (0..ranks).map(|rank| {
        let own = (first(rank + 1) - first(rank)).max(1);
        ThreadPoolBuilder::new().num_threads(own).build()
    });
    each.collect::<Result<_, _>>()
        .context("cannot start threads")
}

fn within<T: Send>(pool: Option<&ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
