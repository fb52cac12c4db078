//! Work that stands back: writing snapshots must not take the processor from those who decide.

/// Niceness of the threads that write snapshots.
const NICENESS: i32 = 10;

/// Lowers the priority of the calling thread, where the system lets it: on Linux niceness is a thread's own.
pub fn stand_back() {
    if cfg!(target_os = "linux") {
        // Without it snapshots are as good; only the latency beside them is worse.
        if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
            tracing::debug!(%error, "the snapshot thread keeps its priority");
        }
    }
}
