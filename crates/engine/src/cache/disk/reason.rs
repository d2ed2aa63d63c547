//! The reasons for which the disk layer fails.

use std::error::Error;
use std::io::{self, ErrorKind};

use wedcache_model::trouble::report;

use super::open::DiskError;
use crate::cache::LayerError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    Full,
    Refused,
    Gone,
    Corrupt,
    Io,
    Overloaded,
    /// The layer's thread has ended.
    Ended,
}

pub(super) type Failure = report::Failure<Reason>;

impl Reason {
    fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::Full
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => Self::Refused,
            ErrorKind::NotFound => Self::Gone,
            _ => Self::Io,
        }
    }

    /// Derives the reason from the I/O error in the chain of causes, at whatever depth it is.
    fn of_cause(error: &(dyn Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(sled::Error::Io(error)) = error.downcast_ref() {
                return Self::of_io(error);
            }
            if let Some(error) = error.downcast_ref() {
                return Self::of_io(error);
            }
            cause = error.source();
        }
        Self::Io
    }
}

impl report::Reason for Reason {
    const ALL: &'static [Self] = &[
        Self::Full,
        Self::Refused,
        Self::Gone,
        Self::Corrupt,
        Self::Io,
        Self::Overloaded,
        Self::Ended,
    ];

    fn label(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Corrupt => "corrupt",
            Self::Io => "io",
            Self::Overloaded => "overloaded",
            Self::Ended => "ended",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Full => "no room is left: make some, or set layers.disk.max_size",
            Self::Refused => "the folder may not be written to: look at its owner and mount",
            Self::Gone => "the folder was deleted: the next start makes it anew",
            Self::Corrupt => "the files are damaged: they are put aside and the layer starts empty",
            Self::Io => "the disk fails: look at the kernel's log",
            Self::Overloaded => "more is to be written than the disk takes: the queue is full",
            Self::Ended => "the layer's thread has ended: restart this instance",
        }
    }
}

/// Describes the failure of a call of the layer.
pub(super) fn failure(error: &LayerError) -> Failure {
    let reason = match error {
        LayerError::Corrupt { .. } => Reason::Corrupt,
        LayerError::Overloaded { .. } => Reason::Overloaded,
        LayerError::Closed => Reason::Ended,
        LayerError::Failed { source } => Reason::of_cause(source.as_ref()),
        LayerError::Away | LayerError::BreakerOpen | LayerError::TimedOut { .. } => Reason::Io,
    };
    Failure::new(reason, &error.to_string())
}

/// Describes the failure that keeps the folder from being opened again.
pub(super) fn not_open(error: &DiskError) -> Failure {
    let reason = match error {
        DiskError::Io { source, .. } => Reason::of_io(source),
        DiskError::Unusable { .. } => Reason::Corrupt,
        DiskError::Locked { .. } | DiskError::TimedOut { .. } | DiskError::Panicked { .. } => {
            Reason::Io
        }
    };
    Failure::new(reason, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_machine_have_their_reasons() {
        for (kind, reason) in [
            (ErrorKind::StorageFull, Reason::Full),
            (ErrorKind::QuotaExceeded, Reason::Full),
            (ErrorKind::PermissionDenied, Reason::Refused),
            (ErrorKind::ReadOnlyFilesystem, Reason::Refused),
            (ErrorKind::NotFound, Reason::Gone),
            (ErrorKind::TimedOut, Reason::Io),
        ] {
            let error = LayerError::failed(sled::Error::Io(kind.into()));
            assert_eq!(failure(&error).reason, reason, "{kind}");
            let path = "x".into();
            let source = kind.into();
            let error = DiskError::Io { path, source };
            assert_eq!(not_open(&error).reason, reason, "{kind}");
        }
        let capacity = 1;
        let error = failure(&LayerError::Overloaded { capacity });
        assert_eq!(error.reason, Reason::Overloaded);
    }
}
