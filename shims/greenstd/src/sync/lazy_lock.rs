//! A value that is made when it is first used.

#![expect(unsafe_code, reason = "a cell whose `Once` says whether it is filled")]

use std::cell::UnsafeCell;
use std::fmt;
use std::mem;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::Once;

/// A value that is made by the first thread that uses it.
///
/// As [`std::sync::LazyLock`], for threads of both kinds. The closure that makes it can be run only
/// once: if its thread is cancelled on the way the value can never be had, as after a panic.
///
/// # Examples
///
/// ```
/// use greenstd::sync::LazyLock;
///
/// static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| "sow and reap".split(' ').collect());
/// assert_eq!(WORDS.len(), 3);
/// ```
pub struct LazyLock<T, F = fn() -> T> {
    once: Once,
    /// `Value` if `once` is complete, and written only by whom `once` runs.
    data: UnsafeCell<Data<T, F>>,
}

enum Data<T, F> {
    Closure(F),
    Value(T),
    /// The closure runs, or has not returned.
    Taken,
}

// SAFETY: threads that share it get shared references to the value (`Sync`), and one of them makes
// the value that another one may drop (`Send`). The closure is moved to the thread that runs it.
unsafe impl<T: Sync + Send, F: Send> Sync for LazyLock<T, F> {}
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}
impl<T: UnwindSafe, F: UnwindSafe> UnwindSafe for LazyLock<T, F> {}

impl<T, F> Data<T, F> {
    fn value(&self) -> Option<&T> {
        match self {
            Data::Value(value) => Some(value),
            _ => None,
        }
    }

    fn value_mut(&mut self) -> Option<&mut T> {
        match self {
            Data::Value(value) => Some(value),
            _ => None,
        }
    }
}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `f` will make, as [`std::sync::LazyLock::new`].
    #[inline]
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock {
            once: Once::new(),
            data: UnsafeCell::new(Data::Closure(f)),
        }
    }

    /// The value, made if need be, as [`std::sync::LazyLock::force`].
    ///
    /// If another thread makes it now a calling green thread parks. Not a point of cancellation,
    /// beyond those in the closure.
    ///
    /// # Panics
    ///
    /// If the closure panics, or has panicked, or was cancelled.
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.once.call_once_force(|_| {
            // SAFETY: `once` runs one closure at a time, none after one that was completed, and
            // before that nobody else looks. Not borrowed while the user's closure runs.
            let closure = mem::replace(unsafe { &mut *this.data.get() }, Data::Taken);
            let Data::Closure(closure) = closure else {
                panic_poisoned();
            };
            let value = closure();
            // SAFETY: as above.
            unsafe { *this.data.get() = Data::Value(value) };
        });
        LazyLock::get(this).expect("greenstd: a complete cell is empty")
    }

    /// The value of one that nobody else can use, made if need be, as
    /// [`std::sync::LazyLock::force_mut`].
    ///
    /// # Panics
    ///
    /// As [`force`](LazyLock::force).
    #[inline]
    pub fn force_mut(this: &mut LazyLock<T, F>) -> &mut T {
        let data = this.data.get_mut();
        if !this.once.is_completed_mut() {
            // Until the closure has returned.
            this.once.poison_mut();
            let Data::Closure(closure) = mem::replace(data, Data::Taken) else {
                panic_poisoned();
            };
            *data = Data::Value(closure());
            this.once.complete_mut();
        }
        data.value_mut()
            .expect("greenstd: a complete cell is empty")
    }
}

impl<T, F> LazyLock<T, F> {
    /// The value of one that nobody else can use, if it was made, as
    /// [`std::sync::LazyLock::get_mut`].
    #[inline]
    pub fn get_mut(this: &mut LazyLock<T, F>) -> Option<&mut T> {
        this.data.get_mut().value_mut()
    }

    /// The value, if it was made, as [`std::sync::LazyLock::get`].
    #[inline]
    pub fn get(this: &LazyLock<T, F>) -> Option<&T> {
        if !this.once.is_completed() {
            return None;
        }
        // SAFETY: complete, so nobody writes it any more but through `&mut`.
        unsafe { &*this.data.get() }.value()
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T, F: FnOnce() -> T> DerefMut for LazyLock<T, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        LazyLock::force_mut(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    #[inline]
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_tuple("LazyLock");
        match LazyLock::get(self) {
            Some(value) => debug.field(value),
            None => debug.field(&format_args!("<uninit>")),
        };
        debug.finish()
    }
}

#[cold]
#[inline(never)]
fn panic_poisoned() -> ! {
    panic!("LazyLock instance has previously been poisoned")
}
