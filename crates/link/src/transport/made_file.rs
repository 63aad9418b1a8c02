//! A file that this process made at a path, for others to find.

use std::path::PathBuf;

use rustix::fs::{Stat, lstat, unlink};

use crate::fork;

/// A file that this process made; dropping it removes the file if it is still the same one.
pub(crate) struct MadeFile {
    path: PathBuf,
    made: (u64, u64),
    forks: u64,
}

impl MadeFile {
    /// The file at `path`, of which the system says `stat`.
    pub(crate) fn new(path: &str, stat: &Stat) -> Self {
        MadeFile { path: PathBuf::from(path), made: identity(stat), forks: fork::watch() }
    }

    /// Whether `stat` is of this file.
    pub(crate) fn is(&self, stat: &Stat) -> bool {
        identity(stat) == self.made
    }
}

impl Drop for MadeFile {
    fn drop(&mut self) {
        if self.forks == fork::generation() && lstat(&self.path).is_ok_and(|stat| self.is(&stat)) {
            let _ = unlink(&self.path);
        }
    }
}

/// What tells a file from every other one of the machine.
pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}
