//! Sums over all ranks.

use std::{
    fmt::{Debug, Formatter, Result as Formatted},
    sync::{Arc, Condvar, Mutex, PoisonError},
};

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use thiserror::Error;

/// What ranks do together.
pub(in crate::vae) trait Collective: Debug + Send {
    /// The sum over the shards of all ranks; `mine` are this rank's, of one shape. Every rank gets
    /// the same bits.
    ///
    /// # Errors
    /// [`Left`], or what the device says.
    fn sum(&mut self, mine: Vec<Tensor>) -> Result<Tensor>;
}

/// Another rank ended while this one waited for it: its own error says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("another device ended")]
pub(in crate::vae) struct Left;

/// Ranks of one process meet: each brings something, and all get what all brought.
///
/// Whoever is dropped leaves the meeting, by an error or a panic too, and nobody waits any longer.
#[derive(Debug)]
pub(super) struct Member<T> {
    meeting: Arc<Meeting<T>>,
    rank: usize,
}

struct Meeting<T> {
    table: Mutex<Table<T>>,
    changed: Condvar,
}

struct Table<T> {
    /// By rank.
    brought: Vec<Option<T>>,
    /// What was brought, for each rank to take.
    handed: Vec<Option<Arc<[T]>>>,
    left: bool,
}

/// The members of a meeting of `count` ranks.
pub(super) fn meeting<T>(count: usize) -> Vec<Member<T>> {
    let none = || (0..count).map(|_| None).collect();
    let meeting = Arc::new(Meeting {
        table: Mutex::new(Table {
            brought: none(),
            handed: (0..count).map(|_| None).collect(),
            left: false,
        }),
        changed: Condvar::new(),
    });
    let member = |rank| Member {
        meeting: Arc::clone(&meeting),
        rank,
    };
    (0..count).map(member).collect()
}

impl<T> Member<T> {
    /// Waits for all ranks; what each brought, by rank.
    ///
    /// # Errors
    /// Another rank left.
    pub(super) fn exchange(&self, mine: T) -> Result<Arc<[T]>, Left> {
        let Self { meeting, rank } = self;
        let locked = meeting.table.lock();
        let mut table = locked.unwrap_or_else(PoisonError::into_inner);
        table.brought[*rank] = Some(mine);
        if table.brought.iter().all(Option::is_some) {
            let all: Arc<[T]> = table.brought.iter_mut().filter_map(Option::take).collect();
            table.handed.fill_with(|| Some(Arc::clone(&all)));
            meeting.changed.notify_all();
        }
        loop {
            if let Some(all) = table.handed[*rank].take() {
                return Ok(all);
            }
            if table.left {
                return Err(Left);
            }
            let woken = meeting.changed.wait(table);
            table = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Drop for Member<T> {
    fn drop(&mut self) {
        let locked = self.meeting.table.lock();
        locked.unwrap_or_else(PoisonError::into_inner).left = true;
        self.meeting.changed.notify_all();
    }
}

impl<T> Debug for Meeting<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Formatted {
        f.debug_struct("Meeting").finish_non_exhaustive()
    }
}

/// One rank has all shards.
#[derive(Debug)]
pub(super) struct Alone;

impl Collective for Alone {
    fn sum(&mut self, mine: Vec<Tensor>) -> Result<Tensor> {
        in_order(&mine)
    }
}

/// Through the memory of the processor, in the order of the shards: the bits are those of one rank
/// with all shards.
impl Collective for Member<Vec<Tensor>> {
    fn sum(&mut self, mine: Vec<Tensor>) -> Result<Tensor> {
        let device = mine.first().map_or(Device::Cpu, |t| t.device().clone());
        let mine: Result<_, _> = mine.iter().map(|t| t.to_device(&Device::Cpu)).collect();
        let all = self.exchange(mine?)?;
        Ok(in_order(all.iter().flatten())?.to_device(&device)?)
    }
}

/// The sum, from the first on.
///
/// # Errors
/// Nothing to sum, or what the device says.
pub(super) fn in_order<'a>(shards: impl IntoIterator<Item = &'a Tensor>) -> Result<Tensor> {
    let mut shards = shards.into_iter();
    let mut sum = shards.next().context("a device without a shard")?.clone();
    for shard in shards {
        sum = (sum + shard)?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    #[test]
    fn all_get_what_all_brought_round_after_round() {
        let work = |member: Member<usize>| {
            thread::spawn(move || -> Vec<Vec<usize>> {
                let each = (0..200).map(|round| {
                    if (round + member.rank).is_multiple_of(40) {
                        thread::sleep(Duration::from_millis(2));
                    }
                    member.exchange(10 * round + member.rank).unwrap().to_vec()
                });
                each.collect()
            })
        };
        let threads: Vec<_> = meeting(3).into_iter().map(work).collect();
        let wanted: Vec<Vec<usize>> = (0..200)
            .map(|round| (0..3).map(|rank| 10 * round + rank).collect())
            .collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), wanted);
        }
    }

    #[test]
    fn who_waits_for_one_that_left_is_told() {
        let mut members = meeting(3).into_iter();
        let waiting = members.next().unwrap();
        let waiting = thread::spawn(move || waiting.exchange(()));
        let panicking = members.next().unwrap();
        let panicking = thread::spawn(move || {
            let _here = panicking;
            // Quiet: no hook sees it.
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicking.join().is_err());
        assert_eq!(waiting.join().unwrap(), Err(Left));
        assert_eq!(members.next().unwrap().exchange(()), Err(Left));
    }

    /// `(a + b) + c` is not `a + (b + c)` in `f32`.
    #[test]
    fn the_order_of_the_sum_is_that_of_the_shards_for_any_number_of_ranks() {
        let shard = |value: f32| Tensor::new(&[value], &Device::Cpu).unwrap();
        let values = [1.0_f32, 1e8, -1e8, 3.0, 0.1, 7e7];
        let wanted = values.iter().copied().reduce(|a, b| a + b).unwrap();
        for ranks in 1..=3 {
            let members: Vec<Member<Vec<Tensor>>> = meeting(ranks);
            let threads: Vec<_> = members
                .into_iter()
                .zip(values.chunks(values.len() / ranks))
                .map(|(mut member, mine)| {
                    let mine: Vec<Tensor> = mine.iter().map(|v| shard(*v)).collect();
                    thread::spawn(move || member.sum(mine).unwrap().to_vec1::<f32>().unwrap())
                })
                .collect();
            for thread in threads {
                assert_eq!(thread.join().unwrap(), [wanted], "{ranks} ranks");
            }
        }
    }
}
