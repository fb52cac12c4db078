//! The `tombola` program. Everything it does is in the library's `commands`.

use libmimalloc_sys::{mi_option_set_default, mi_option_t};
use std::ffi::c_long;
use std::process::ExitCode;

/// Facts are made on a worker and freed on a committer's thread: the system's allocator spends a quarter of
/// the engine's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc.h, which the bindings don't name: for how many milliseconds freed memory is
/// kept before the system has it back.
const PURGE_DELAY: mi_option_t = 15;

fn main() -> ExitCode {
    keep_freed_memory();
    pipelines::commands::main()
}

/// What an epoch frees the next one needs: given back in between, as some is after a second by default, it has to be
/// found and cleared anew each time. MIMALLOC_PURGE_DELAY in the environment goes before.
#[allow(unsafe_code, reason = "the allocator's options are set by a C function")]
fn keep_freed_memory() {
    const KEPT_MS: c_long = 10_000;
    // SAFETY: it writes one number of mimalloc's own table, in which PURGE_DELAY lies; no other thread runs yet.
    unsafe { mi_option_set_default(PURGE_DELAY, KEPT_MS) }
}
