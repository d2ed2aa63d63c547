//! Opens sled's folder defensively: locks it, checks it for damage, and puts a damaged one aside.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use wedcache_model::Timestamp;

use super::DiskOptions;

/// The name of the file, and of the tree and key in sled, that mark a folder as having been in use.
const WITNESS: &str = "wedcache";
/// The time for which a lock is waited for. A process that has just ended may hold it for a moment,
/// and so may a child of this one until it has become another program.
const LOCK_WAIT: Duration = Duration::from_secs(2);
const LOCK_ASKED_EVERY: Duration = Duration::from_millis(10);

/// The reason why the disk layer cannot be used. The program goes on without the layer.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{} is in use by another process", path.display())]
    Locked { path: PathBuf },
    #[error("{} cannot be used: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} did not open within {after:?}", path.display())]
    TimedOut { path: PathBuf, after: Duration },
    /// The freshly created folder did not open either.
    #[error("{} does not open, not even rebuilt: {detail}", path.display())]
    Unusable { path: PathBuf, detail: String },
    #[error("opening {} panicked", path.display())]
    Panicked { path: PathBuf },
}

/// An open folder with its lock.
#[derive(Debug)]
pub(super) struct Store {
    // Declared before the lock, so that sled is closed before the lock is released.
    pub(super) db: sled::Db,
    _lock: Arc<File>,
}

/// Takes `<path>.lock`, which is held as long as the returned file is open. The kernel releases it
/// when the process dies. sled has a lock of its own, but inside the folder, which may have to be
/// renamed.
pub(super) fn lock(path: &Path) -> Result<Arc<File>, DiskError> {
    let failed = |source| DiskError::Io {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(beside(path, ".lock"))
        .map_err(failed)?;
    match lock_soon(&file) {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => Err(DiskError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Takes a lock that another may hold for a moment.
fn lock_soon(file: &File) -> Result<(), TryLockError> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(LOCK_ASKED_EVERY);
            }
            result => return result,
        }
    }
}

/// Opens the folder; puts a damaged one aside and creates a new one. The returned flag is true if
/// that was done.
pub(super) fn open(
    options: &DiskOptions,
    lock: &Arc<File>,
    now: Timestamp,
) -> Result<(Store, bool), DiskError> {
    let path = &options.path;
    match try_open(options, lock) {
        Ok(store) => Ok((store, false)),
        Err(Damage::None(error)) => Err(error),
        Err(Damage::Some(detail)) => {
            tracing::warn!(path = %path.display(), detail, "the disk layer's folder is corrupt: putting it aside and starting empty");
            quarantine(options, now)?;
            match try_open(options, lock) {
                Ok(store) => Ok((store, true)),
                Err(Damage::None(error)) => Err(error),
                Err(Damage::Some(detail)) => Err(DiskError::Unusable {
                    path: path.clone(),
                    detail,
                }),
            }
        }
    }
}

/// Renames the folder to `<path>.quarantine-<ms>` and deletes the oldest ones beyond the bound.
pub(super) fn quarantine(options: &DiskOptions, now: Timestamp) -> Result<(), DiskError> {
    let path = &options.path;
    let failed = |source| DiskError::Io {
        path: path.clone(),
        source,
    };
    let mut number = now.0;
    let mut target = beside(path, &quarantine_suffix(number));
    while target.exists() {
        number += 1;
        target = beside(path, &quarantine_suffix(number));
    }
    fs::rename(path, target).map_err(failed)?;
    let mut kept = quarantines(path).map_err(failed)?;
    kept.sort();
    let surplus = kept.len().saturating_sub(options.quarantines);
    for (_, old) in kept.drain(..surplus) {
        let removed = if old.is_dir() {
            fs::remove_dir_all(&old)
        } else {
            fs::remove_file(&old)
        };
        if let Err(error) = removed {
            tracing::warn!(path = %old.display(), %error, "an old quarantined folder cannot be deleted");
        }
    }
    Ok(())
}

/// Returns true if the error means damage, as opposed to a machine that refuses (permission, no
/// space).
pub(super) fn is_corruption(error: &sled::Error) -> bool {
    match error {
        sled::Error::Corruption { .. }
        | sled::Error::ReportableBug(_)
        | sled::Error::Unsupported(_)
        | sled::Error::CollectionNotFound(_) => true,
        sled::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof
                | ErrorKind::InvalidData
                | ErrorKind::InvalidInput
                | ErrorKind::IsADirectory
                | ErrorKind::NotADirectory
                | ErrorKind::AlreadyExists
                | ErrorKind::Other
        ),
    }
}

enum Damage {
    None(DiskError),
    Some(String),
}

fn try_open(options: &DiskOptions, lock: &Arc<File>) -> Result<Store, Damage> {
    let path = &options.path;
    refuse_foreign_lock(path)?;
    let config = sled::Config::new()
        .path(path)
        .cache_capacity(options.page_cache_bytes)
        // The writer flushes explicitly.
        .flush_every_ms(None);
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let db = config.open()?;
        check_witness(path, &db)?;
        // Reads the tree's first and last page, so that gross damage shows now.
        db.first()?;
        db.last()?;
        Ok(db)
    }));
    match opened {
        Ok(Ok(db)) => Ok(Store {
            db,
            _lock: Arc::clone(lock),
        }),
        Ok(Err(error)) if is_corruption(&error) => Err(Damage::Some(error.to_string())),
        Ok(Err(sled::Error::Io(source))) => Err(Damage::None(DiskError::Io {
            path: path.clone(),
            source,
        })),
        Ok(Err(error)) => Err(Damage::Some(error.to_string())),
        Err(_) => Err(Damage::Some("sled panicked".to_owned())),
    }
}

/// Compares the two marks of a folder that has been in use: a value in sled's log, written first,
/// and then a file beside it. If the file exists without the value, the log is lost. sled does not
/// report that: it takes a damaged log for one that a crash cut short and opens empty.
fn check_witness(path: &Path, db: &sled::Db) -> sled::Result<()> {
    let (file, tree) = (path.join(WITNESS), db.open_tree(WITNESS)?);
    if tree.contains_key(WITNESS)? {
        return Ok(());
    }
    if file.exists() {
        return Err(sled::Error::Io(io::Error::new(
            ErrorKind::InvalidData,
            "the log that was written here is gone",
        )));
    }
    tree.insert(WITNESS, &[])?;
    db.flush()?;
    fs::write(
        file,
        "This folder holds a cache of answers; it may be deleted.\n",
    )?;
    Ok(())
}

/// Fails if another process holds sled's own lock. sled reports that like any other failure; it is
/// detected here, before a folder that is in use could be renamed.
fn refuse_foreign_lock(path: &Path) -> Result<(), Damage> {
    let Ok(file) = File::open(path.join("db")) else {
        return Ok(());
    };
    match lock_soon(&file) {
        Err(TryLockError::WouldBlock) => Err(Damage::None(DiskError::Locked {
            path: path.to_owned(),
        })),
        // The lock is released when the file is dropped here; sled will meet other errors too.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

fn quarantine_suffix(number: i64) -> String {
    format!(".quarantine-{number}")
}

/// Returns the quarantined folders beside `path` with their numbers.
fn quarantines(path: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
    else {
        return Ok(Vec::new());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let prefix = format!("{name}{}", ".quarantine-");
    let mut found = Vec::new();
    for file in fs::read_dir(parent)? {
        let file = file?;
        let number = file
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        if let Some(number) = number {
            found.push((number, file.path()));
        }
    }
    Ok(found)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}
