//! The owner of a foreign object.

use std::ptr::NonNull;

/// A foreign object that is freed when this is dropped.
pub(crate) struct Owned<T> {
    object: NonNull<T>,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `object` is null, or is owned by the caller and freed only by `free`.
    pub(crate) unsafe fn new(object: *mut T, free: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        NonNull::new(object).map(|object| Self { object, free })
    }

    pub(crate) fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: the object is ours and alive, by the contract of `new`.
        unsafe { (self.free)(self.object.as_ptr()) }
    }
}
