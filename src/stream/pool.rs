//! Frames whose memory is used again.

use std::sync::Arc;

use crate::Frame;

/// Buffers of one source. Those that nobody looks at any more are filled again; as queues are
/// bounded, their number settles.
#[derive(Debug, Default)]
pub(super) struct Pool {
    buffers: Vec<Arc<Frame>>,
    /// Where the search starts: buffers come free in the order in which they were given.
    next: usize,
}

impl Pool {
    /// A buffer that nobody else has, to be filled and then shared; a new one where there is none.
    pub(super) fn free(&mut self, name: &str) -> &mut Arc<Frame> {
        let count = self.buffers.len();
        let free = (0..count)
            .map(|step| (self.next + step) % count)
            .find(|&index| Arc::get_mut(&mut self.buffers[index]).is_some());
        let index = free.unwrap_or_else(|| {
            self.buffers.push(Arc::new(Frame::blank(name)));
            count
        });
        self.next = index + 1;
        &mut self.buffers[index]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buffers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_once_nobody_looks_at_them() {
        let mut pool = Pool::default();
        let mut held = std::collections::VecDeque::new();
        for _ in 0..100 {
            let buffer = pool.free("camera");
            assert!(Arc::get_mut(buffer).is_some());
            held.push_back(Arc::clone(buffer));
            if held.len() == 3 {
                held.pop_front();
            }
        }
        assert_eq!(pool.len(), 3);
    }
}
