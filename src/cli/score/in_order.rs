//! Work side by side, whose results come in order.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;

/// Places ahead of the one that is waited for, for each worker: as long as one of them takes long,
/// the others go on, and what they have done is kept.
const AHEAD: usize = 4;

/// Who does the work.
pub(super) struct Workers<W, O> {
    /// How many; a single one works on the thread of the caller.
    pub(super) count: usize,
    /// One of them.
    pub(super) first: W,
    /// Opens another one.
    pub(super) open: O,
    /// How long the first one works alone, before others are opened: about as long as that takes,
    /// so that little work is never held up by it for longer than it lasts.
    pub(super) alone: Duration,
}

/// Lets `workers` do `work` for each of the places from 0 to `count`, and `take` the results in
/// that order, on this thread, until it says `false`. Says how many results were taken.
///
/// # Errors
/// What `take` fails with, and a worker that can't be opened.
pub(super) fn in_order<W: Send, T: Send>(
    count: usize,
    workers: Workers<W, impl Fn() -> anyhow::Result<W> + Sync>,
    work: impl Fn(&mut W, usize) -> T + Sync,
    mut take: impl FnMut(usize, T) -> anyhow::Result<bool>,
) -> anyhow::Result<usize> {
    let Workers {
        count: workers,
        mut first,
        open,
        alone,
    } = workers;
    let began = Instant::now();
    let mut done = 0;
    while done < count && (workers <= 1 || began.elapsed() < alone) {
        let goes_on = take(done, work(&mut first, done))?;
        done += 1;
        if !goes_on {
            return Ok(done);
        }
    }
    if done == count {
        return Ok(count);
    }
    let (request, requests) = channel();
    let (produce, produced) = channel();
    let requests = &Requests {
        places: Mutex::new(requests),
        ended: AtomicBool::new(false),
    };
    let (open, work) = (&open, &work);
    // Without further requests the workers end.
    thread::scope(move |scope| {
        let _end = End(&requests.ended);
        let mut first = Some(first);
        for _ in 0..workers {
            let (produce, first) = (produce.clone(), first.take());
            scope.spawn(move || {
                let _guard = Guard(produce.clone());
                match first.map_or_else(open, Ok) {
                    Ok(worker) => serve(worker, requests, work, &produce),
                    // Nobody waits for it any more where this fails.
                    Err(error) => drop(produce.send(Err(error))),
                }
            });
        }
        drop(produce);
        let mut places = done..count;
        for place in places.by_ref().take(AHEAD * workers) {
            let _ = request.send(place);
        }
        let mut waiting = BTreeMap::new();
        for place in done..count {
            let result = loop {
                match waiting.remove(&place) {
                    Some(result) => break result,
                    None => {
                        let (place, result) = produced.recv()??;
                        waiting.insert(place, result);
                    }
                }
            };
            if let Some(next) = places.next() {
                let _ = request.send(next);
            }
            if !take(place, result)? {
                return Ok(place + 1);
            }
        }
        Ok(count)
    })
}

/// What a worker produces: a place and its result, or why it ended.
type Produced<T> = anyhow::Result<(usize, T)>;

/// The places that workers are to work on.
struct Requests {
    places: Mutex<Receiver<usize>>,
    /// Whether nobody waits for the rest.
    ended: AtomicBool,
}

impl Requests {
    fn next(&self) -> Option<usize> {
        let place = self.places.lock().ok()?.recv().ok()?;
        (!self.ended.load(Ordering::Relaxed)).then_some(place)
    }
}

/// Ends the work when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Works as long as there are requests.
fn serve<W, T>(
    mut worker: W,
    requests: &Requests,
    work: &impl Fn(&mut W, usize) -> T,
    produce: &Sender<Produced<T>>,
) {
    while let Some(place) = requests.next() {
        if produce.send(Ok((place, work(&mut worker, place)))).is_err() {
            return;
        }
    }
}

/// Says that a worker panicked: its place would be waited for without an end.
struct Guard<T>(Sender<Produced<T>>);

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        if thread::panicking() {
            let _ = self.0.send(Err(anyhow!("a worker broke off")));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use anyhow::bail;

    use super::*;

    /// So many workers, none of which works alone.
    fn of<O>(count: usize, open: O) -> Workers<(), O> {
        Workers {
            count,
            first: (),
            open,
            alone: Duration::ZERO,
        }
    }

    /// Squares of 0 to 99 by so many workers; even places take longer.
    fn squares(workers: usize, stop: usize) -> (usize, Vec<usize>) {
        let mut taken = Vec::new();
        let work = |_: &mut (), place: usize| {
            if place.is_multiple_of(2) {
                thread::sleep(Duration::from_micros(200));
            }
            place * place
        };
        let done = in_order(100, of(workers, || Ok(())), work, |place, square| {
            assert_eq!(square, place * place);
            taken.push(place);
            Ok(place + 1 < stop)
        });
        (done.unwrap(), taken)
    }

    #[test]
    fn results_come_in_order_whatever_the_workers() {
        for workers in [1, 2, 7] {
            let (done, taken) = squares(workers, 1000);
            assert_eq!(done, 100);
            assert!(taken.into_iter().eq(0..100));
        }
    }

    #[test]
    fn no_more_is_done_once_it_is_to_stop() {
        for workers in [1, 3] {
            assert_eq!(squares(workers, 10).0, 10);
        }
    }

    /// The first place takes as long as all others together would.
    #[test]
    fn workers_are_a_few_places_ahead_and_no_more() {
        let started = AtomicUsize::new(0);
        let work = |_: &mut (), place: usize| {
            started.fetch_add(1, Ordering::SeqCst);
            if place == 0 {
                thread::sleep(Duration::from_millis(50));
                assert!(started.load(Ordering::SeqCst) <= 2 * AHEAD);
            }
        };
        let done = in_order(1000, of(2, || Ok(())), work, |_, ()| Ok(true));
        assert_eq!(done.unwrap(), 1000);
    }

    #[test]
    fn little_work_is_done_by_the_first_alone() {
        let workers = Workers {
            alone: Duration::from_secs(3600),
            ..of(2, || bail!("nobody else is needed"))
        };
        let mut taken = 0;
        let done = in_order(
            50,
            workers,
            |_, place| place,
            |_, place| {
                taken += place;
                Ok(true)
            },
        );
        assert_eq!((done.unwrap(), taken), (50, 49 * 25));
    }

    #[test]
    fn a_worker_that_is_not_opened_ends_the_work() {
        let open = || bail!("no memory");
        let work = |_: &mut (), _| thread::sleep(Duration::from_millis(1));
        // The other one goes on until that is known.
        let error = in_order(usize::MAX, of(2, open), work, |_, ()| Ok(true)).unwrap_err();
        assert_eq!(error.to_string(), "no memory");
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_worker_that_breaks_off_is_not_waited_for() {
        let work = |_: &mut (), place: usize| assert_ne!(place, 5);
        let _ = in_order(100, of(3, || Ok(())), work, |_, ()| Ok(true));
    }
}
