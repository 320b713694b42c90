//! A directory of the operating system as a [`Disk`].

use super::disk::{Disk, DiskFile};
use rustix::fs::FallocateFlags;
use rustix::io::ReadWriteFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A directory.
#[derive(Debug)]
pub struct RealDisk {
    folder: PathBuf,
    hurried_reads: Arc<AtomicBool>,
}

impl RealDisk {
    /// The disk that is the directory `folder`, made if it is not there (mode 0700).
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub fn new(folder: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let is_new = !folder.exists();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        if is_new && let Some(parent) = folder.canonicalize()?.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Self { folder: folder.to_owned(), hurried_reads: Arc::new(AtomicBool::new(true)) })
    }

    fn file(&self, file: File) -> Arc<dyn DiskFile> {
        Arc::new(RealFile { file, hurried_reads: Arc::clone(&self.hurried_reads) })
    }
}

impl Disk for RealDisk {
    fn create(&self, name: &str, room: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        if room > 0
            && let Err(error) = preallocate(&file, room)
        {
            drop(std::fs::remove_file(&path));
            return Err(error);
        }
        Ok(self.file(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(OpenOptions::new().read(true).write(true).open(self.folder.join(name))?))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.folder.join(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// Where the file system cannot reserve room, the length alone is set; running out of it then breaks the store
/// instead of refusing one put.
fn preallocate(file: &File, room: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, room) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(room),
        done => Ok(done?),
    }
}

struct RealFile {
    file: File,
    /// Shared by all files of the disk: cleared once the file system has said that it knows no hurried reads.
    hurried_reads: Arc<AtomicBool>,
}

impl DiskFile for RealFile {
    fn read_at(&self, into: &mut [u8], offset: u64, hurried: bool) -> io::Result<usize> {
        let mut filled = 0;
        while filled < into.len() {
            let at = offset + filled as u64;
            let rest = &mut into[filled..];
            let read = if hurried && self.hurried_reads.load(Relaxed) {
                match rustix::io::preadv2(&self.file, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT) {
                    Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
                        self.hurried_reads.store(false, Relaxed);
                        continue;
                    }
                    read => read.map_err(io::Error::from),
                }
            } else {
                self.file.read_at(rest, at)
            };
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}
