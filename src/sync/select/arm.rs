//! What an arm of a select is to the select.

#![expect(
    unsafe_code,
    reason = "a waiter is made anew in its place for each wait"
)]

use std::cell::UnsafeCell;
use std::pin::Pin;

use crate::park::Target;
use crate::wait_queue::Waiter;

/// One of the operations that a [`Select`](super::Select) chooses from.
///
/// Implemented by the types of this module only.
pub trait Arm: Operation {}

/// The part that only the select sees.
///
/// A select has its arms to itself while it goes on; it shares them with itself only.
pub trait Operation {
    /// Does it, if that needs no waiting; never unwinds. A section is open.
    #[doc(hidden)]
    fn attempt(&self, _: Private) -> bool;

    /// Puts a waiter where those look who can make it possible. `false`: it does not wait, because it
    /// may be possible now, without the caller itself.
    #[doc(hidden)]
    fn queue(&self, who: &Who<'_>, _: Private) -> bool;

    /// Takes the waiter out, if it is still in. Nothing happens to the arm any more after that.
    #[doc(hidden)]
    fn leave(&self, _: Private);

    /// The wait was ended through this arm, which has left: whether it was done.
    #[doc(hidden)]
    fn woken(&self, _: Private) -> bool;

    /// Until when, for those that are done when a time has come.
    #[doc(hidden)]
    fn deadline(&self, _: Private) -> Option<u64> {
        None
    }
}

/// Keeps others from calling what is public for the sake of the trait only.
#[derive(Clone, Copy, Debug)]
pub struct Private(pub(super) ());

/// Who waits, and what it is told if it is woken through this arm.
#[derive(Debug)]
pub struct Who<'a> {
    pub(super) target: &'a Target,
    pub(super) tag: u32,
}

/// Where the waiter of an arm is while its select waits.
#[derive(Debug)]
pub(super) struct Place<D>(UnsafeCell<Option<Waiter<D>>>);

impl<D> Place<D> {
    pub(super) fn new() -> Self {
        Place(UnsafeCell::new(None))
    }

    /// Makes a waiter here.
    ///
    /// # Safety
    ///
    /// The one that was here is not linked, and nobody has a reference to it. The place does not
    /// move while the new one is linked.
    pub(super) unsafe fn make(&self, who: &Who<'_>, data: D) -> Pin<&Waiter<D>> {
        let waiter = Waiter::with(who.target.clone(), who.tag, data);
        // SAFETY: nobody looks at the old one, says the caller.
        let place = unsafe { &mut *self.0.get() };
        *place = Some(waiter);
        self.waiter().expect("greenrt: a waiter made just now")
    }

    /// The one that was made last.
    pub(super) fn waiter(&self) -> Option<Pin<&Waiter<D>>> {
        // SAFETY: it is replaced only when nobody has a reference to it (`make`).
        let waiter = unsafe { &*self.0.get() }.as_ref()?;
        // SAFETY: it does not move while it is linked (`make`).
        Some(unsafe { Pin::new_unchecked(waiter) })
    }
}
