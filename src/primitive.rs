//! Atomics: std's, or those of the model checker.
//!
//! The files that argue about interleavings (`park/word.rs`, `scheduler/{inbox,fresh,idle}.rs`)
//! take their atomics from here, so that `--cfg loom` explores every order of them.

#[cfg(not(loom))]
pub(crate) use std::{hint, sync::atomic};

#[cfg(loom)]
pub(crate) use loom::hint;

#[cfg(loom)]
pub(crate) mod atomic {
    use std::ops::Deref;

    use loom::sync::atomic as loom;
    pub(crate) use loom::{Ordering, fence};

    /// An atomic of loom's whose loads are not overlooked.
    ///
    /// Before a store, loom (0.7) remembers only the last access. So if two threads load and one of
    /// them then stores, as all loops of compare-and-swap do, the order in which the other one
    /// loads after the store may never be tried. Here each load also stores to a place of its
    /// own, which nobody reads: that means nothing to the memory model, and makes loom try both
    /// orders of any two loads.
    #[derive(Debug)]
    pub(crate) struct Atomic<A> {
        atomic: A,
        loads: loom::AtomicBool,
    }

    pub(crate) type AtomicBool = Atomic<loom::AtomicBool>;
    pub(crate) type AtomicU32 = Atomic<loom::AtomicU32>;
    pub(crate) type AtomicUsize = Atomic<loom::AtomicUsize>;
    pub(crate) type AtomicPtr<T> = Atomic<loom::AtomicPtr<T>>;

    macro_rules! impl_atomic {
        ($([$($T:ident)?] $name:ident: $value:ty;)*) => {$(
            impl$(<$T>)? $name$(<$T>)? {
                pub(crate) fn new(value: $value) -> Self {
                    let atomic = loom::$name::new(value);
                    Atomic { atomic, loads: loom::AtomicBool::new(false) }
                }

                pub(crate) fn load(&self, ordering: Ordering) -> $value {
                    self.loads.store(true, Ordering::Relaxed);
                    self.atomic.load(ordering)
                }
            }
        )*};
    }

    impl_atomic! {
        [] AtomicBool: bool;
        [] AtomicU32: u32;
        [] AtomicUsize: usize;
        [T] AtomicPtr: *mut T;
    }

    /// All that is not a load. (`fetch_update` is one, so it is not for the models.)
    impl<A> Deref for Atomic<A> {
        type Target = A;

        fn deref(&self) -> &A {
            &self.atomic
        }
    }
}
