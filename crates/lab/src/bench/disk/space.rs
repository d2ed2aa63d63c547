//! Free and used space.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

/// The unit of a file's block count, independent of the file system's block size.
const BLOCK: u64 = 512;

/// Returns the free bytes where the path is, as POSIX `df` reports them; `None` if there is no
/// `df`.
pub(super) fn free(path: &Path) -> Option<u64> {
    let told = Command::new("df").arg("-Pk").arg(path).output().ok()?;
    available(&String::from_utf8_lossy(&told.stdout))
}

/// Returns the fourth field of the second line, which is in KiB, in bytes.
fn available(told: &str) -> Option<u64> {
    let fields = told.lines().nth(1)?;
    let kibibytes: u64 = fields.split_ascii_whitespace().nth(3)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Returns the bytes that the files in a folder and below it take, holes left out.
pub(super) fn taken(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for found in fs::read_dir(folder)? {
        let found = found?;
        let metadata = found.metadata()?;
        bytes += if metadata.is_dir() {
            taken(&found.path())?
        } else {
            metadata.blocks() * BLOCK
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_the_fourth_field() {
        let told = "Filesystem 1024-blocks Used Available Capacity Mounted on\n\
                    /dev/vda 263112772 14064736 81234567 15% /\n";
        assert_eq!(available(told), Some(81_234_567 * 1024));
        assert_eq!(available("df: no such file\n"), None);
    }

    #[test]
    fn the_space_that_files_take_is_summed_up_through_folders() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("below");
        fs::create_dir(&below).unwrap();
        fs::write(folder.path().join("a"), vec![1; 10_000]).unwrap();
        fs::write(below.join("b"), vec![1; 10_000]).unwrap();
        assert!(taken(folder.path()).unwrap() >= 20_000);
    }
}
