//! How a thread is to be made.

#![expect(unsafe_code, reason = "mirrors `spawn_unchecked`")]

use std::env;
use std::io;
use std::sync::OnceLock;

use super::{JoinHandle, Scope, ScopedJoinHandle};

/// The stack of a thread, if nobody says.
const STACK_SIZE: usize = 1 << 20;
/// The largest that there is.
const STACK_SIZE_MAX: usize = 8 << 20;

/// Configures a green thread: its name and its stack.
///
/// As [`std::thread::Builder`]; [`greenrt::Builder`] can do more.
///
/// # Examples
///
/// ```
/// use greenstd::thread;
///
/// # fn main() -> std::io::Result<()> {
/// let namesake = thread::Builder::new()
///     .name("Ariadne".into())
///     .stack_size(64 * 1024)
///     .spawn(|| thread::current().name().map(String::from))?;
/// assert_eq!(namesake.join().unwrap().as_deref(), Some("Ariadne"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "must eventually spawn the thread"]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
}

impl Builder {
    /// A thread without a name, with the usual stack, as [`std::thread::Builder::new`].
    #[expect(clippy::new_without_default, reason = "std's has no default either")]
    pub fn new() -> Builder {
        Builder {
            name: None,
            stack_size: None,
        }
    }

    /// Its name, as [`std::thread::Builder::name`].
    pub fn name(mut self, name: String) -> Builder {
        self.name = Some(name);
        self
    }

    /// The size of its stack in bytes.
    ///
    /// # Differences from std
    ///
    /// It is rounded up to 64 KiB, 256 KiB, 1, 2 or 8 MiB, and cannot be larger; see
    /// [`greenrt::Builder::stack_size`]. Without this call it is what `RUST_MIN_STACK` says, as in
    /// std, though not more than 8 MiB; or 1 MiB.
    pub fn stack_size(mut self, size: usize) -> Builder {
        self.stack_size = Some(size);
        self
    }

    /// Spawns a green thread, as [`std::thread::Builder::spawn`]; see [`spawn`](super::spawn).
    ///
    /// # Panics
    ///
    /// If the name has a null byte.
    ///
    /// # Errors
    ///
    /// If no stack can be had, if the stack is to be larger than 8 MiB, or if the global runtime
    /// cannot be started.
    #[track_caller]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.into_green().spawn(f).map(JoinHandle)
    }

    /// Spawns a green thread that may borrow, as [`std::thread::Builder::spawn_unchecked`].
    ///
    /// # Safety
    ///
    /// What `f` and its result borrow must outlive the thread, and the result that nobody has taken.
    ///
    /// # Panics
    ///
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Errors
    ///
    /// As [`spawn`](Builder::spawn).
    #[track_caller]
    pub unsafe fn spawn_unchecked<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: the caller's promise.
        unsafe { self.into_green().spawn_unchecked(f) }.map(JoinHandle)
    }

    /// Spawns a green thread in a scope, as [`std::thread::Builder::spawn_scoped`].
    ///
    /// # Panics
    ///
    /// As [`spawn`](Builder::spawn).
    ///
    /// # Errors
    ///
    /// As [`spawn`](Builder::spawn).
    #[track_caller]
    pub fn spawn_scoped<'scope, 'env, F, T>(
        self,
        scope: &'scope Scope<'scope, 'env>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.into_green()
            .spawn_scoped(scope.green(), f)
            .map(ScopedJoinHandle)
    }

    fn into_green(self) -> greenrt::Builder {
        let stack_size = self.stack_size.unwrap_or_else(default_stack_size);
        let green = greenrt::Builder::new().stack_size(stack_size);
        match self.name {
            Some(name) => green.name(name),
            None => green,
        }
    }
}

/// As std: read once, and ignored if it is no number.
fn default_stack_size() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let wanted = env::var("RUST_MIN_STACK")
            .ok()
            .and_then(|bytes| bytes.parse().ok());
        wanted.map_or(STACK_SIZE, |bytes: usize| bytes.min(STACK_SIZE_MAX))
    })
}
