//! Images in the formats of others, by way of qemu-img.

use crate::failure::Failure;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What an image file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Format {
    /// The disk's bytes as they are.
    Raw,
    /// Something that qemu-img reads, by its name there.
    Other(String),
}

/// First bytes that no raw image of a disk begins with.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"QFI\xFB", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"# Disk Descriptor", "vmdk"),
    (b"vhdxfile", "vhdx"),
    (b"conectix", "vpc"),
    (b"<<< Oracle VM VirtualBox Disk Image >>>", "vdi"),
];

impl Format {
    /// The format of this name.
    pub(super) fn named(name: &str) -> Self {
        if name == "raw" { Self::Raw } else { Self::Other(name.to_owned()) }
    }

    /// The format of a file, by its first bytes.
    pub(super) fn of_file(path: &Path) -> Result<Self, Failure> {
        let failure = |error| Failure::io(path.display(), &error);
        let mut first = Vec::new();
        let file = File::open(path).map_err(failure)?;
        if !file.metadata().map_err(failure)?.is_file() {
            // A device is raw; from a fifo nothing can be read twice.
            return Ok(Self::Raw);
        }
        file.take(64).read_to_end(&mut first).map_err(failure)?;
        let found = BEGINNINGS.iter().find(|(beginning, _)| first.starts_with(beginning));
        Ok(found.map_or(Self::Raw, |(_, format)| Self::Other((*format).to_owned())))
    }
}

/// A raw image among the temporary files, gone when it is dropped.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("okapi-image-{}.raw", std::process::id())))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is in the way of nobody if this fails.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// The raw image that a file of another format stands for.
pub(super) fn to_raw(path: &Path, format: &str) -> Result<Temporary, Failure> {
    let raw = Temporary::new();
    convert(path, format, raw.path(), "raw")?;
    Ok(raw)
}

/// Makes an image of another format of a raw one, or the other way round.
pub(super) fn convert(from: &Path, from_format: &str, to: &Path, to_format: &str) -> Result<(), Failure> {
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-f", from_format, "-O", to_format]).arg("--").arg(from).arg(to).stdin(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            let other = if from_format == "raw" { to_format } else { from_format };
            Failure::not_found(format!(
                "{other} goes through qemu-img, which is not installed (on Debian: apt-get install qemu-utils); raw images \
                 need nothing"
            ))
        }
        _ => Failure::io("qemu-img", &error),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("it did not say why").trim_start_matches("qemu-img: ");
    Err(Failure::new(format!("qemu-img could not convert {}: {}", from.display(), crate::view::shown(said))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        for (first, format) in
            [(&b"QFI\xFB\0\0\0\x03"[..], "qcow2"), (b"KDMV\x01", "vmdk"), (b"\xEB\x63\x90", "raw"), (b"", "raw")]
        {
            std::fs::write(&path, first).unwrap();
            assert_eq!(Format::of_file(&path).unwrap(), Format::named(format));
        }
        assert!(Format::of_file(&dir.path().join("none")).is_err());
    }
}
