//! The `tombola` program. Everything it does is in the library's `commands`.

use std::process::ExitCode;

/// Facts are made on a worker and freed on a committer's thread: the system's allocator spends a quarter of
/// the engine's time on that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pipelines::commands::main()
}
