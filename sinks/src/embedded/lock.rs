//! The ownership lock: one pipeline per data directory.
//!
//! A lock on `pipeline.lock`, held for as long as the process lives: the system releases it however the
//! process ends, so a crash leaves nothing to clean up. The file names the process for the message only.
//! Fencing by generation stands behind it, for a file system that doesn't honour locks.

use super::error::{EmbeddedError, Result};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held by the one pipeline that runs on a data directory.
#[derive(Debug)]
pub struct PipelineLock {
    _file: File,
}

impl PipelineLock {
    /// Takes the lock, or says who has it.
    ///
    /// # Errors
    /// [`EmbeddedError::Owned`] where another pipeline runs on the directory.
    pub fn take(dir: &Path) -> Result<PipelineLock> {
        let path = dir.join("pipeline.lock");
        let failed = |source| EmbeddedError::Directory {
            file: path.display().to_string(),
            doing: "take the pipeline's lock",
            source,
        };
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut options = File::options();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => write_pid(&mut file).map_err(failed)?,
            Err(TryLockError::WouldBlock) => {
                return Err(EmbeddedError::Owned {
                    dir: dir.display().to_string(),
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        Ok(PipelineLock { _file: file })
    }

    /// The process that runs on a directory, where one does.
    pub fn holder(dir: &Path) -> Option<String> {
        let mut file = File::open(dir.join("pipeline.lock")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Some(read_pid(&mut file)),
            _ => None,
        }
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// The holder writes its number just after it has locked: until then it has none to tell.
fn read_pid(file: &mut File) -> String {
    let mut text = String::new();
    match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "(unknown)".to_owned(),
    }
}
