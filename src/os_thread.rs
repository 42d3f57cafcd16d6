//! OS threads of the runtime's own: workers, and those that make offloaded calls.
//!
//! Where `pthread_create` is somebody's who makes green threads of it, these must stay what they are.
//! So whoever starts one is marked meanwhile ([`is_wanted`]).

use std::cell::Cell;
use std::io;
use std::thread::JoinHandle;

use crate::scheduler::Section;

thread_local! {
    static IS_WANTED: Cell<bool> = const { Cell::new(false) };
}

/// Starts one.
#[expect(clippy::disallowed_methods, reason = "an OS thread is what is wanted")]
pub(crate) fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    struct Mark(bool);
    impl Drop for Mark {
        fn drop(&mut self) {
            IS_WANTED.set(self.0);
        }
    }
    let _section = Section::enter_green();
    let _mark = Mark(IS_WANTED.replace(true));
    std::thread::Builder::new().name(name).spawn(f)
}

/// Whether the calling thread is about to start one of the runtime's OS threads.
pub(crate) fn is_wanted() -> bool {
    IS_WANTED.get()
}
