//! Work that stands back: writing snapshots, drawing images and posting them must not take the processor from those
//! who decide.
//!
//! The kernel's scheduler is asked, because only it knows when there is a processor to spare: pauses of our own would
//! slow such work down on an idle machine and still disturb a full one. On Linux niceness is a thread's own, so it costs
//! one call; a thread can't take it back, so it is for threads that do nothing else.

/// Of threads that somebody waits for, if not as urgently: snapshots, posts.
const BACK: i32 = 10;
/// Of threads that only compute. A hundredth of what others get where the machine is full, everything where it is idle.
const FAR_BACK: i32 = 19;

/// Lowers the priority of the calling thread, where the system lets it.
pub fn stand_back() {
    lower_to(BACK);
}

/// Lowers it as far as it goes.
pub fn stand_far_back() {
    lower_to(FAR_BACK);
}

fn lower_to(niceness: i32) {
    if cfg!(target_os = "linux") {
        // Without it the work is as good; only the latency beside it is worse.
        if let Err(error) = rustix::process::setpriority_process(None, niceness) {
            tracing::debug!(%error, "a background thread keeps its priority");
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_lowers_its_own_priority_and_no_other_thread_s() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let before = niceness();
        let lowered = std::thread::spawn(move || {
            stand_back();
            let back = niceness();
            stand_far_back();
            (back, niceness())
        });
        assert_eq!(lowered.join().unwrap(), (BACK.max(before), FAR_BACK));
        assert_eq!(niceness(), before);
    }
}
