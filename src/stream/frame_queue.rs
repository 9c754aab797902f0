//! The bounded queues between sources and the model: one for each source, taken from in turn.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

/// What happens to a frame for which a queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The oldest frame that waits is lost, and counted: what is judged is the present.
    Latest,
    /// The source waits: every frame is judged.
    All,
}

impl Policy {
    /// Where none is set: the latest of a live source, all of another.
    pub fn default_for(live: bool) -> Self {
        if live { Self::Latest } else { Self::All }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latest => "the oldest is lost",
            Self::All => "the source waits",
        })
    }
}

/// Bounded queues, each with its writer; one reader takes from them in turn, so that a fast source
/// does not starve a slow one.
#[derive(Debug)]
pub(super) struct FrameQueue<T> {
    queues: Mutex<Queues<T>>,
    arrived: Condvar,
    taken: Condvar,
    depth: usize,
}

#[derive(Debug)]
struct Queues<T> {
    queues: BTreeMap<usize, VecDeque<T>>,
    /// The source that was taken from last.
    last: usize,
    closed: bool,
}

/// What became of a frame that was put into its queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Put<T> {
    /// It waits for its turn.
    Waits,
    /// It waits, and an older one was lost for it.
    Lost(T),
    /// Nobody takes frames any more, or the writer was asked to end.
    Closed,
}

impl<T> FrameQueue<T> {
    /// Queues with room for `depth` frames each, at least 1.
    pub(super) fn new(depth: usize) -> Self {
        Self {
            queues: Mutex::new(Queues {
                queues: BTreeMap::new(),
                last: 0,
                closed: false,
            }),
            arrived: Condvar::new(),
            taken: Condvar::new(),
            depth: depth.max(1),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queues<T>> {
        // No code that holds the lock can panic half-way through a change.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame into the queue of its source. Where it has to wait for room, `ended` is asked
    /// now and then whether it still should.
    pub(super) fn put(
        &self,
        source: usize,
        item: T,
        policy: Policy,
        ended: &dyn Fn() -> bool,
    ) -> Put<T> {
        let mut queues = self.lock();
        loop {
            if queues.closed {
                return Put::Closed;
            }
            let depth = self.depth;
            let queue = queues
                .queues
                .entry(source)
                .or_insert_with(|| VecDeque::with_capacity(depth));
            let full = queue.len() >= depth;
            if !full || policy == Policy::Latest {
                let lost = if full { queue.pop_front() } else { None };
                queue.push_back(item);
                self.arrived.notify_one();
                return lost.map_or(Put::Waits, Put::Lost);
            }
            if ended() {
                return Put::Closed;
            }
            queues = self
                .taken
                .wait_timeout(queues, Duration::from_millis(100))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The next frame: of the source after the one that was taken from last, of those that `may`
    /// be taken from. `None` if there is none within `patience`.
    pub(super) fn take(&self, patience: Duration, may: &dyn Fn(usize) -> bool) -> Option<T> {
        let until = Instant::now() + patience;
        let mut queues = self.lock();
        loop {
            if let Some(item) = queues.next(may) {
                self.taken.notify_all();
                return Some(item);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || queues.closed {
                return None;
            }
            queues = self
                .arrived
                .wait_timeout(queues, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether no frame of a source waits.
    pub(super) fn is_empty(&self, source: usize) -> bool {
        self.lock()
            .queues
            .get(&source)
            .is_none_or(VecDeque::is_empty)
    }

    /// Lets no more frames in: writers that wait are sent away. Those that are in can be taken.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.arrived.notify_all();
        self.taken.notify_all();
    }
}

impl<T> Queues<T> {
    fn next(&mut self, may: &dyn Fn(usize) -> bool) -> Option<T> {
        let waiting = self.queues.iter();
        let waiting = waiting.filter(|&(&source, queue)| !queue.is_empty() && may(source));
        let source = waiting
            .map(|(&source, _)| source)
            .min_by_key(|&source| (source <= self.last, source))?;
        self.last = source;
        self.queues.get_mut(&source)?.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    const NEVER: &dyn Fn() -> bool = &|| false;
    const NOW: Duration = Duration::ZERO;
    const ALL: &dyn Fn(usize) -> bool = &|_| true;

    #[test]
    fn the_oldest_is_lost_where_the_latest_is_wanted() {
        let queue = FrameQueue::new(2);
        assert_eq!(queue.put(0, 'a', Policy::Latest, NEVER), Put::Waits);
        assert_eq!(queue.put(0, 'b', Policy::Latest, NEVER), Put::Waits);
        assert_eq!(queue.put(0, 'c', Policy::Latest, NEVER), Put::Lost('a'));
        assert_eq!(queue.take(NOW, ALL), Some('b'));
        assert_eq!(queue.take(NOW, ALL), Some('c'));
        assert_eq!(queue.take(NOW, ALL), None);
    }

    #[test]
    fn sources_are_taken_from_in_turn() {
        let queue = FrameQueue::new(4);
        for item in ["a1", "a2", "a3"] {
            queue.put(0, item, Policy::All, NEVER);
        }
        queue.put(3, "b1", Policy::All, NEVER);
        queue.put(7, "c1", Policy::All, NEVER);
        queue.put(7, "c2", Policy::All, NEVER);
        let mut order = Vec::new();
        while let Some(item) = queue.take(NOW, ALL) {
            order.push(item);
        }
        // The first is of the source after 0, where it starts.
        assert_eq!(order, ["b1", "c1", "a1", "c2", "a2", "a3"]);
    }

    #[test]
    fn a_source_waits_for_room_and_loses_nothing() {
        let queue = Arc::new(FrameQueue::new(1));
        let writer = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                for item in 0..1000 {
                    assert_eq!(queue.put(0, item, Policy::All, NEVER), Put::Waits);
                }
            }
        });
        for item in 0..1000 {
            assert_eq!(queue.take(Duration::from_secs(60), ALL), Some(item));
        }
        writer.join().unwrap();
    }

    #[test]
    fn a_writer_that_waits_is_sent_away_at_the_end() {
        let queue = Arc::new(FrameQueue::new(1));
        queue.put(0, 1, Policy::All, NEVER);
        let writer = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.put(0, 2, Policy::All, NEVER)
        });
        queue.close();
        assert_eq!(writer.join().unwrap(), Put::Closed);
        assert_eq!(queue.take(Duration::from_secs(60), ALL), Some(1));
        assert_eq!(queue.take(Duration::from_secs(60), ALL), None);
        assert_eq!(
            FrameQueue::new(1).put(0, 1, Policy::All, &|| true),
            Put::Waits,
            "there is room"
        );
    }
}
