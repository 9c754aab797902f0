//! Work side by side, whose results come in order.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use anyhow::anyhow;

/// Places ahead of the one that is waited for, for each worker: as long as one of them takes long,
/// the others go on, and what they have done is kept.
const AHEAD: usize = 4;

/// Lets `workers` do `work` for each of the places from 0 to `count`, and `take` the results in
/// that order, on this thread, until it says `false`. One of the workers is `first`; the others
/// open themselves. A single one works on this thread. Says how many results were taken.
///
/// # Errors
/// What `take` fails with, and a worker that can't be opened.
pub(super) fn in_order<W: Send, T: Send>(
    count: usize,
    workers: usize,
    mut first: W,
    open: impl Fn() -> anyhow::Result<W> + Sync,
    work: impl Fn(&mut W, usize) -> T + Sync,
    mut take: impl FnMut(usize, T) -> anyhow::Result<bool>,
) -> anyhow::Result<usize> {
    if workers <= 1 {
        for place in 0..count {
            if !take(place, work(&mut first, place))? {
                return Ok(place + 1);
            }
        }
        return Ok(count);
    }
    let (ask, asked) = channel();
    let (give, given) = channel();
    let asked = &Asked {
        places: Mutex::new(asked),
        ended: AtomicBool::new(false),
    };
    let (open, work) = (&open, &work);
    // Without anybody who asks, the workers end.
    thread::scope(move |scope| {
        let _end = End(&asked.ended);
        let mut first = Some(first);
        for _ in 0..workers {
            let (give, first) = (give.clone(), first.take());
            scope.spawn(move || {
                let _guard = Guard(give.clone());
                match first.map_or_else(open, Ok) {
                    Ok(worker) => serve(worker, asked, work, &give),
                    // Nobody waits for it any more where this fails.
                    Err(error) => drop(give.send(Err(error))),
                }
            });
        }
        drop(give);
        let mut places = 0..count;
        for place in places.by_ref().take(AHEAD * workers) {
            let _ = ask.send(place);
        }
        let mut waiting = BTreeMap::new();
        for place in 0..count {
            let result = loop {
                match waiting.remove(&place) {
                    Some(result) => break result,
                    None => {
                        let (place, result) = given.recv()??;
                        waiting.insert(place, result);
                    }
                }
            };
            if let Some(next) = places.next() {
                let _ = ask.send(next);
            }
            if !take(place, result)? {
                return Ok(place + 1);
            }
        }
        Ok(count)
    })
}

/// What a worker gives: a place and its result, or why it ended.
type Given<T> = anyhow::Result<(usize, T)>;

/// What workers are asked for.
struct Asked {
    places: Mutex<Receiver<usize>>,
    /// Whether nobody waits for the rest.
    ended: AtomicBool,
}

impl Asked {
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

/// Works as long as it is asked to.
fn serve<W, T>(
    mut worker: W,
    asked: &Asked,
    work: &impl Fn(&mut W, usize) -> T,
    give: &Sender<Given<T>>,
) {
    while let Some(place) = asked.next() {
        if give.send(Ok((place, work(&mut worker, place)))).is_err() {
            return;
        }
    }
}

/// Says that a worker panicked: its place would be waited for without an end.
struct Guard<T>(Sender<Given<T>>);

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

    /// Squares of 0 to 99 by so many workers; even places take longer.
    fn squares(workers: usize, stop: usize) -> (usize, Vec<usize>) {
        let mut taken = Vec::new();
        let work = |_: &mut (), place: usize| {
            if place.is_multiple_of(2) {
                thread::sleep(Duration::from_micros(200));
            }
            place * place
        };
        let done = in_order(
            100,
            workers,
            (),
            || Ok(()),
            work,
            |place, square| {
                assert_eq!(square, place * place);
                taken.push(place);
                Ok(place + 1 < stop)
            },
        );
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
        let done = in_order(1000, 2, (), || Ok(()), work, |_, ()| Ok(true));
        assert_eq!(done.unwrap(), 1000);
    }

    #[test]
    fn a_worker_that_is_not_opened_ends_the_work() {
        let open = || bail!("no memory");
        let work = |_: &mut (), _| thread::sleep(Duration::from_millis(1));
        // The other one goes on until that is known.
        let error = in_order(usize::MAX, 2, (), open, work, |_, ()| Ok(true)).unwrap_err();
        assert_eq!(error.to_string(), "no memory");
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_worker_that_breaks_off_is_not_waited_for() {
        let work = |_: &mut (), place: usize| assert_ne!(place, 5);
        let _ = in_order(100, 3, (), || Ok(()), work, |_, ()| Ok(true));
    }
}
