//! What librdkafka finds in memory that it forgot to write: nothing that leads it astray.
//!
//! While brokers change leaders and some partition has none, its client takes for partitions what it never wrote, and
//! reads and writes where what lay there before points to (its issue 5280, open up to 2.15). It has that memory from
//! `malloc`. So this `malloc` stands before glibc's and hands out what its `calloc` gives; what `realloc` adds to a block is
//! as it was. What is then taken for a partition is number 0 of leader 0 in epoch 0, which is dropped, but where a broker
//! has the number 0 and the partition is still in its first epoch; its leader is put right by the broker's next answer.
//! Nothing is read or written outside. glibc's own switch for this (`M_PERTURB`) leaves out blocks of up to 1,032 bytes, which a thread
//! gets back from itself.
//!
//! Rust's own memory is not of this allocator in the program; what it costs is a `memset` for each of librdkafka's and
//! SQLite's blocks. Not promised: anything without glibc, where nothing is done.

/// glibc's `malloc`, but for what lies in the block: zeros.
///
/// # Safety
///
/// That of C's `malloc`: whoever takes a block frees it once and keeps to its size.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code, reason = "C's allocator is replaced by a symbol of its name")]
// SAFETY: the block comes from glibc's heap as its own would, so that its `free`, `realloc` and the rest take it; glibc
// makes its blocks for `calloc` without a call of `malloc`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn malloc(size: usize) -> *mut std::ffi::c_void {
    // SAFETY: any size may be asked for; what can't be had is null, which is what `malloc` says.
    unsafe { libc::calloc(1, size) }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use std::hint::black_box;

    #[test]
    #[allow(unsafe_code, reason = "the allocator that is asked is C's")]
    fn memory_holds_nothing_of_what_lay_there_before() {
        for size in [24_usize, 64, 1_000, 5_000, 100_000] {
            for _ in 0..50 {
                // SAFETY: every byte of the block was written by the allocator, and it is freed once.
                unsafe {
                    let block = black_box(libc::malloc(black_box(size)).cast::<u8>());
                    let found = std::slice::from_raw_parts(block, size);
                    assert!(found.iter().all(|byte| *byte == 0), "{size}: {found:?}");
                    block.write_bytes(0x55, size);
                    // A block whose bytes nobody looks at need not be written.
                    libc::free(black_box(block).cast());
                }
            }
        }
    }
}
