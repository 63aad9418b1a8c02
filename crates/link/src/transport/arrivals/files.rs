//! The files that a port gives out.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use panpipe_wire::websocket::{Refusal, file_head};
use panpipe_wire::{Address, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;

use super::super::link::error;

/// What is read of a file at once.
const PIECE: usize = 64 << 10;

/// What a folder gives out.
const INDEX: &str = "index.html";

/// A folder of files.
pub(crate) struct Files(OwnedFd);

impl Files {
    /// The folder that an address names.
    pub(crate) fn of(address: &Address) -> Result<Option<Self>> {
        let Some(path) = address.option("static") else { return Ok(None) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(path, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(Files(folder))),
            Err(errno) => {
                let error = error(errno, format!("listening on {}", address.text()));
                Err(error.because(format!("the folder {path} of static: {errno}")).at(address.text()))
            }
        }
    }

    /// The file at `path` below the folder, or why there is none to give.
    pub(crate) fn find(&self, path: &str) -> std::result::Result<(Given, Vec<u8>), Refusal> {
        let mut path = path.to_owned();
        let mut found = self.open(&path);
        if found.as_ref().is_ok_and(|(_, kind)| *kind == FileType::Directory) {
            path = if path.is_empty() { INDEX.to_owned() } else { format!("{}/{INDEX}", path.trim_end_matches('/')) };
            found = self.open(&path);
        }
        let file = match found {
            Ok((file, FileType::RegularFile)) => File::from(file),
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => return Err(Refusal::new(503, "too many open files")),
            // Whether it is there and may not be read is nobody's business.
            Ok(_) | Err(_) => return Err(Refusal::new(404, "no such file")),
        };
        let left = file.metadata().map_err(|_| Refusal::new(404, "no such file"))?.len();
        let head = file_head(&path, left);
        Ok((Given { file, at: 0, left }, head))
    }

    /// Nothing leads out of the folder, neither `..` nor a link; a FIFO makes nobody wait (openat2(2)).
    fn open(&self, path: &str) -> std::result::Result<(OwnedFd, FileType), Errno> {
        let path = if path.is_empty() { "." } else { path };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat2(&self.0, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)?;
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        Ok((file, kind))
    }
}

/// A file on its way out.
pub(crate) struct Given {
    file: File,
    at: u64,
    left: u64,
}

impl Given {
    /// Appends the next piece; `false` where there is no more of it than was promised, or not as much.
    pub(super) fn read(&mut self, bytes: &mut Vec<u8>) -> bool {
        let wanted = self.left.min(PIECE as u64) as usize;
        let before = bytes.len();
        bytes.resize(before + wanted, 0);
        let count = self.file.read_at(&mut bytes[before..], self.at).unwrap_or(0);
        bytes.truncate(before + count);
        self.at += count as u64;
        self.left -= count as u64;
        count > 0
    }

    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }
}
