//! Disks small enough to be full.

use super::Folder;
use std::path::Path;
use std::process::Command;

/// A file system of a few megabytes; absent where mounting isn't allowed.
pub struct SmallDisk(Folder);

impl SmallDisk {
    /// Mounts one.
    pub fn mount(kib: u64) -> Option<Self> {
        let folder = Folder::new();
        let size = format!("size={kib}k");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        mount.is_ok_and(|output| output.status.success()).then_some(SmallDisk(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Gives it this size.
    pub fn grow(&self, kib: u64) {
        let size = format!("remount,size={kib}k");
        let status = Command::new("mount").args(["-o", &size]).arg(self.0.path()).status();
        assert!(status.expect("mount can be called").success(), "it can be remounted");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
