//! What librdkafka finds in memory that it forgot to write: nothing that leads it astray.
//!
//! While brokers change leaders and some partition has none, its client takes for partitions what it never wrote, and
//! reads and writes where what lay there before points to (its issue 5280, open up to 2.15). glibc can be told to hand memory out
//! filled: here with zeros, and what was given back with ones, which small blocks are handed out with again. What is then taken for
//! a partition is number -1 of leader -1, which is dropped, or number 0 of leader 0 in epoch 0: dropped, too, but where a broker has
//! the number 0 and the partition is still in its first epoch; its leader is put right by the broker's next answer. Nothing is read or
//! written outside. Rust's own memory is not of this allocator in the program; what it costs is a `memset` for each of
//! librdkafka's and SQLite's blocks.
//!
//! Not promised: anything without glibc, where nothing is done.

/// Tells the allocator, once for the process.
pub(crate) fn fill() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(glibc);
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "the allocator's options are set by a C function")]
fn glibc() {
    /// What is given back is filled with it, what is handed out with its complement.
    const GIVEN_BACK: std::ffi::c_int = 0xff;
    // SAFETY: it takes the allocator's lock and writes one number of its own.
    if unsafe { libc::mallopt(libc::M_PERTURB, GIVEN_BACK) } == 0 {
        tracing::debug!("the allocator doesn't fill memory");
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    #[test]
    #[allow(unsafe_code, reason = "the allocator that is asked is C's")]
    fn memory_holds_nothing_of_what_lay_there_before() {
        super::fill();
        for size in [64_usize, 1_000, 5_000, 100_000] {
            for _ in 0..50 {
                // SAFETY: the block is of this size, every byte of it was written by the allocator, and it is freed once.
                unsafe {
                    let block = libc::malloc(size).cast::<u8>();
                    // The first two words are the allocator's own links.
                    let found = std::slice::from_raw_parts(block.add(16), size - 16);
                    assert!(found.iter().all(|byte| [0, 0xff].contains(byte)), "{size}: {found:?}");
                    block.write_bytes(0x55, size);
                    libc::free(block.cast());
                }
            }
        }
    }
}
