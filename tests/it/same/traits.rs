//! What may be sent, shared and kept across a panic, of every type: exactly what std says of its own,
//! no less and no more. (Of handles of threads no less, for greenrt's own may be kept across a panic.)
//! That it compiles is the test.

use std::cell::Cell;
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

use super::sync::mpsc::{IntoIter, Iter, Receiver, Sender, SyncSender, TryIter};
use super::sync::{
    Barrier, BarrierWaitResult, Condvar, LazyLock, Mutex, MutexGuard, Once, OnceLock, OnceState,
    RwLock, RwLockReadGuard, RwLockWriteGuard, WaitTimeoutResult,
};
use super::thread::{
    AccessError, Builder, JoinHandle, LocalKey, Scope, ScopedJoinHandle, Thread, ThreadId,
};

/// `is`: it has all these traits; `not`: it has none of those.
macro_rules! traits {
    ($($T:ty: is [$($Is:path),*] not [$($Not:path),*];)*) => {$(
        const _: fn() = || {
            $({
                fn is<T: ?Sized + $Is>() {}
                is::<$T>();
            })*
            $({
                // With the trait there are two of these, and which one is meant is not clear.
                trait Not<A> {
                    fn not() {}
                }
                impl<T: ?Sized> Not<()> for T {}
                struct Has;
                impl<T: ?Sized + $Not> Not<Has> for T {}
                <$T as Not<_>>::not();
            })*
        };
    )*};
}

/// To be sent, not to be shared.
type Sent = Cell<i32>;
/// Neither.
type Kept = Rc<i32>;
/// Shared, not sent.
type Shared = MutexGuard<'static, i32>;
/// Not to be kept across a panic.
type Exclusive = &'static mut i32;
/// Without traits.
struct Plain;
/// Not to be moved.
type Pinned = std::marker::PhantomPinned;

traits! {
    Mutex<Sent>: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Default, From<Sent>] not [Clone];
    Mutex<Kept>: is [UnwindSafe] not [Send, Sync];
    Mutex<Shared>: is [UnwindSafe] not [Send, Sync];
    Mutex<Pinned>: is [Send] not [Unpin];
    Mutex<dyn Send>: is [Send, Sync] not [Debug];
    MutexGuard<'static, i32>: is [Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Display] not [Send, Clone];
    MutexGuard<'static, Sent>: is [Unpin] not [Send, Sync, Display];
    MutexGuard<'static, Exclusive>: is [UnwindSafe, RefUnwindSafe] not [Send];
    MutexGuard<'static, Pinned>: is [Unpin] not [Display, Send];

    RwLock<i32>: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Default, From<i32>] not [Clone];
    RwLock<Sent>: is [Send, UnwindSafe] not [Sync];
    RwLock<Kept>: is [RefUnwindSafe] not [Send, Sync];
    RwLock<Shared>: is [UnwindSafe] not [Send, Sync];
    RwLock<Pinned>: is [Send] not [Unpin];
    RwLockReadGuard<'static, i32>: is [Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Display] not [Send, Clone];
    RwLockReadGuard<'static, Sent>: is [Unpin] not [Send, Sync, UnwindSafe, RefUnwindSafe];
    RwLockReadGuard<'static, Pinned>: is [Unpin] not [Send];
    RwLockWriteGuard<'static, i32>: is [Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Display] not [Send, Clone];
    RwLockWriteGuard<'static, Sent>: is [UnwindSafe, RefUnwindSafe] not [Send, Sync];
    RwLockWriteGuard<'static, Pinned>: is [Unpin] not [Send];

    Condvar: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Default] not [Clone];
    WaitTimeoutResult: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Copy, Eq] not [Default];
    Barrier: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Clone, Default];
    BarrierWaitResult: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Clone];
    Once: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Clone, Default];
    OnceState: is [Send, Unpin, UnwindSafe, Debug] not [Sync, RefUnwindSafe, Clone];

    OnceLock<i32>: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Default, Clone, Eq, From<i32>] not [Hash];
    OnceLock<Sent>: is [Send, UnwindSafe] not [Sync, RefUnwindSafe];
    OnceLock<Kept>: is [UnwindSafe] not [Send, Sync];
    OnceLock<Shared>: is [UnwindSafe] not [Send, Sync];
    OnceLock<Exclusive>: is [Send] not [UnwindSafe, RefUnwindSafe];
    OnceLock<Pinned>: is [Send] not [Unpin];
    LazyLock<i32>: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Default] not [Clone];
    LazyLock<i32, Sent>: is [Send, Sync, UnwindSafe, RefUnwindSafe] not [Clone];
    LazyLock<Sent, i32>: is [Send] not [Sync, RefUnwindSafe];
    LazyLock<i32, Kept>: is [Unpin] not [Send, Sync];
    LazyLock<i32, Exclusive>: is [Send] not [UnwindSafe, RefUnwindSafe];
    LazyLock<Pinned, i32>: is [Send] not [Unpin];

    Sender<Sent>: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Clone] not [Default];
    Sender<Kept>: is [Unpin, UnwindSafe, RefUnwindSafe, Clone] not [Send, Sync];
    Sender<Exclusive>: is [Send, Sync, UnwindSafe, RefUnwindSafe] not [Eq];
    Sender<Pinned>: is [Unpin] not [Eq];
    SyncSender<Sent>: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Clone] not [Default];
    SyncSender<Kept>: is [Unpin, UnwindSafe, RefUnwindSafe, Clone] not [Send, Sync];
    Receiver<Sent>: is [Send, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Sync, Clone];
    Receiver<Kept>: is [Unpin, UnwindSafe, RefUnwindSafe] not [Send, Sync];
    Receiver<Exclusive>: is [Send, UnwindSafe, RefUnwindSafe, IntoIterator] not [Sync];
    Iter<'static, i32>: is [Iterator, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Send, Sync, Clone];
    Iter<'static, Pinned>: is [Unpin, UnwindSafe] not [Send];
    Iter<'static, Plain>: is [Iterator] not [Debug];
    TryIter<'static, i32>: is [Iterator, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Send, Sync, Clone];
    IntoIter<i32>: is [Iterator, Send, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Sync, Clone];
    IntoIter<Kept>: is [Iterator, UnwindSafe] not [Send, Sync];

    Builder: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Clone, Default];
    JoinHandle<i32>: is [Send, Sync, Unpin, Debug] not [Clone];
    JoinHandle<Kept>: is [Send, Sync, Unpin, Debug] not [Clone];
    JoinHandle<Pinned>: is [Send, Unpin] not [Clone];
    ScopedJoinHandle<'static, Sent>: is [Send, Sync, Unpin, Debug] not [Clone];
    ScopedJoinHandle<'static, Kept>: is [Unpin] not [Send];
    ScopedJoinHandle<'static, Pinned>: is [Send, Unpin] not [Clone];
    Scope<'static, 'static>: is [Send, Sync, Unpin, RefUnwindSafe, Debug] not [UnwindSafe, Clone];
    Thread: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Clone] not [Copy, Eq];
    ThreadId: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Copy, Eq, Hash] not [Ord, Default];
    LocalKey<Kept>: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug] not [Clone];
    AccessError: is [Send, Sync, Unpin, UnwindSafe, RefUnwindSafe, Debug, Display, std::error::Error, Copy, Eq] not [Default, Hash];
}
