//! A cell that is filled once.

#![expect(unsafe_code, reason = "a cell whose `Once` says whether it is filled")]

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::Once;

/// A cell that is filled once, by whichever thread comes first.
///
/// As [`std::sync::OnceLock`], for threads of both kinds. If the thread that fills it is cancelled
/// on the way, or panics, the next one that comes fills it.
///
/// # Examples
///
/// ```
/// use greenstd::sync::OnceLock;
///
/// static ANSWER: OnceLock<u32> = OnceLock::new();
/// assert_eq!(*ANSWER.get_or_init(|| 42), 42);
/// assert_eq!(ANSWER.set(7), Err(7));
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Filled if `once` is complete, and written only by whom `once` runs.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: threads that share it get shared references to the value (`Sync`), and one of them makes
// the value that another one may drop (`Send`).
unsafe impl<T: Sync + Send> Sync for OnceLock<T> {}
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}
impl<T: UnwindSafe> UnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// An empty cell, as [`std::sync::OnceLock::new`].
    #[inline]
    #[must_use]
    pub const fn new() -> OnceLock<T> {
        OnceLock {
            once: Once::new(),
            value: UnsafeCell::new(None),
        }
    }

    /// The value, if there is one, as [`std::sync::OnceLock::get`].
    #[inline]
    pub fn get(&self) -> Option<&T> {
        if !self.once.is_completed() {
            return None;
        }
        // SAFETY: complete, so nobody writes it any more but through `&mut self`.
        unsafe { &*self.value.get() }.as_ref()
    }

    /// The value of a cell that nobody else can use, as [`std::sync::OnceLock::get_mut`].
    #[inline]
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
    }

    /// Waits until there is a value, as [`std::sync::OnceLock::wait`].
    ///
    /// A calling green thread parks. Not a point of cancellation.
    #[inline]
    pub fn wait(&self) -> &T {
        self.once.wait_force();
        self.filled()
    }

    /// Fills the cell, as [`std::sync::OnceLock::set`].
    ///
    /// # Errors
    ///
    /// `value`, if there is one already.
    #[inline]
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.fill(|| value.take().expect("filled once"));
        match value {
            None => Ok(()),
            Some(value) => Err(value),
        }
    }

    /// The value; `f` makes it if there is none. As [`std::sync::OnceLock::get_or_init`].
    ///
    /// # Panics
    ///
    /// If `f` panics; then the cell stays empty.
    #[inline]
    pub fn get_or_init<F>(&self, f: F) -> &T
    where
        F: FnOnce() -> T,
    {
        if let Some(value) = self.get() {
            return value;
        }
        self.fill(f);
        self.filled()
    }

    #[cold]
    fn fill(&self, f: impl FnOnce() -> T) {
        self.once.call_once_force(|_| {
            let value = f();
            // SAFETY: `once` runs one closure at a time, none after one that was completed, and
            // before that nobody else looks.
            unsafe { *self.value.get() = Some(value) };
        });
    }

    /// The value, which is there.
    #[inline]
    fn filled(&self) -> &T {
        self.get().expect("greenstd: a complete cell is empty")
    }

    /// The value, as [`std::sync::OnceLock::into_inner`].
    #[inline]
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Empties the cell, as [`std::sync::OnceLock::take`].
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        // The state first: whatever happens, an empty cell does not say that it is filled.
        if self.once.is_completed_mut() {
            self.once = Once::new();
        }
        self.value.get_mut().take()
    }
}

impl<T> Default for OnceLock<T> {
    #[inline]
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("OnceLock");
        match self.get() {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}

impl<T: Clone> Clone for OnceLock<T> {
    #[inline]
    fn clone(&self) -> OnceLock<T> {
        self.get()
            .cloned()
            .map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T> From<T> for OnceLock<T> {
    #[inline]
    fn from(value: T) -> Self {
        let mut once = Once::new();
        once.complete_mut();
        OnceLock {
            once,
            value: UnsafeCell::new(Some(value)),
        }
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    #[inline]
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}
