//! What is kept for each green thread where they share thread-locals.
//!
//! With private thread-locals std's own are right. With shared ones they are the worker's, and what
//! a shim wants to keep for each green thread goes here. The same rule holds as for private ones: a
//! thread that was spawned with [`spawn_local`](crate::spawn_local) gets what is not `Send` from its
//! spawner, so it has the same data; the closure of [`run`](crate::run) has that of the OS thread that
//! called it, which is std's. The data of such a family ends with the last of them.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::scheduler::Section;

/// Something that is kept for a green thread; see [`thread_data`].
pub trait ThreadData: Any {
    /// The thread has ended, as far as its closure goes.
    ///
    /// Called by the thread, before whoever joins it goes on. It may wait, is not interrupted, and
    /// may use the data, which is dropped later on its worker: so what is the user's is to be
    /// dropped here. Called again if the thread runs user code after this.
    fn end(&self);
}

/// All data of a family.
#[derive(Default)]
pub(crate) struct Kept(RefCell<Vec<Rc<dyn ThreadData>>>);

impl Kept {
    /// The data of this type, made if there is none.
    fn get<T: ThreadData + Default>(&self) -> Rc<T> {
        let find = |all: &[Rc<dyn ThreadData>]| {
            all.iter().find_map(|one| {
                let any: Rc<dyn Any> = Rc::<dyn ThreadData>::clone(one);
                any.downcast().ok()
            })
        };
        let known = find(&self.0.borrow());
        known.unwrap_or_else(|| {
            let made = Rc::new(T::default());
            self.0
                .borrow_mut()
                .push(Rc::clone(&made) as Rc<dyn ThreadData>);
            made
        })
    }

    fn end(&self) {
        let mut n = 0;
        // What is added on the way is ended too.
        while let Some(one) = { self.0.borrow().get(n).map(Rc::clone) } {
            one.end();
            n += 1;
        }
    }
}

/// Whose data a thread has, in its frame.
#[derive(Default)]
pub(crate) enum Keeps {
    /// Std's thread-locals are right.
    #[default]
    InThreadLocals,
    /// Its own, of which there is none yet.
    Nothing,
    /// Its own, or its family's.
    Own(Rc<Kept>),
}

/// See [`Keeps`]; in a frame.
#[derive(Default)]
pub(crate) struct Slot(Cell<Keeps>);

impl Slot {
    pub(crate) fn new(keeps: Keeps) -> Self {
        Slot(Cell::new(keeps))
    }

    /// What is kept, made if there is nothing. `None` if thread-locals do.
    pub(crate) fn kept(&self) -> Option<Rc<Kept>> {
        let kept = match self.0.take() {
            Keeps::InThreadLocals => return None,
            Keeps::Nothing => Rc::default(),
            Keeps::Own(kept) => kept,
        };
        self.0.set(Keeps::Own(Rc::clone(&kept)));
        Some(kept)
    }

    /// The closure of the thread has ended: ends what was kept if nobody else has it, after
    /// `before`.
    #[inline]
    pub(crate) fn end(&self, before: impl FnOnce()) {
        match self.0.take() {
            Keeps::Own(kept) if Rc::strong_count(&kept) == 1 => {
                self.0.set(Keeps::Own(Rc::clone(&kept)));
                before();
                kept.end();
            }
            // The others have it. Should the thread need some after this it is its own.
            Keeps::Own(_) => self.0.set(Keeps::Nothing),
            keeps => self.0.set(keeps),
        }
    }

    /// Forgets what was kept: the thread has ended.
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }
}

/// The data of the calling green thread of type `T`, made if there is none.
///
/// `None` if std's thread-locals do for the caller: on OS threads, where green threads have private
/// thread-locals, and in the closure of [`run`](crate::run).
///
/// Threads that were spawned with [`spawn_local`](crate::spawn_local) share it with their spawner.
///
/// # Examples
///
/// ```
/// use std::cell::Cell;
/// use greenrt::lowlevel::{ThreadData, thread_data};
///
/// #[derive(Default)]
/// struct Counter(Cell<u32>);
///
/// impl ThreadData for Counter {
///     fn end(&self) {}
/// }
///
/// let runtime = greenrt::Runtime::builder()
///     .thread_locals(greenrt::ThreadLocals::Shared)
///     .build()?;
/// let counts = || thread_data::<Counter>().map(|counter| counter.0.replace(7));
/// runtime.run(move || {
///     assert_eq!(counts(), Some(0));
///     assert_eq!(counts(), Some(7));
///     assert_eq!(greenrt::spawn(counts).join().unwrap(), Some(0));
/// });
/// assert_eq!(counts(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn thread_data<T: ThreadData + Default>() -> Option<Rc<T>> {
    // Not inside the runtime any more when `T` is made.
    let kept = Section::enter_green()?.thread_data().kept()?;
    Some(kept.get())
}
