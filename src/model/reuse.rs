//! Lists of borrowed slices whose memory is kept from run to run.

/// An empty list in the memory of `list`: between runs a struct keeps it as one of `'static`
/// slices, in a run it holds slices that are borrowed.
pub(super) fn reuse<A, B>(mut list: Vec<A>) -> Vec<B> {
    list.clear();
    // The standard library collects into the memory of the vector that it takes from.
    list.into_iter().map(|_| unreachable!()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_kept() {
        let values = [1.0_f32, 2.0];
        let kept: Vec<&'static [f32]> = Vec::with_capacity(7);
        let memory = kept.as_ptr() as usize;
        let mut list: Vec<&[f32]> = reuse(kept);
        list.push(&values);
        let kept: Vec<&'static [f32]> = reuse(list);
        assert_eq!((kept.as_ptr() as usize, kept.len()), (memory, 0));
        assert_eq!(kept.capacity(), 7);
    }
}
