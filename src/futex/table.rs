//! Who waits for which word: waiters by address, in the order in which they came.
//!
//! A waiter is a link in its own frame, so waiting allocates nothing. The address of the word picks
//! a bucket; a bucket is a chain of the words that somebody waits for, and each word has its queue.
//! A queue is known by its first waiter, which is also the link in the chain:
//!
//! ```text
//! bucket -> word A: waiter -> waiter -> waiter
//!              |
//!           word B: waiter
//! ```
//!
//! So a thousand waiters for one lock are no longer to search than one. When a chain gets long the
//! table uses eight times as many of its buckets. All of them are there from the start, as memory
//! that is not touched before it is used: growing allocates nothing either, and a million waiters
//! for as many words find theirs behind some eight others.
//!
//! # No wake-up is lost
//!
//! A waiter counts itself, then takes its bucket's lock and looks at the word, and queues itself if
//! the word is as expected, all under that lock. A waker has changed the word before it comes here;
//! it looks at the count, and if that is not zero takes the lock.
//!
//! - Between the waiter's two steps, and between the waker's, is a `SeqCst` fence. So either the
//!   waker sees the count, or the waiter sees the new word and does not wait.
//! - If the waker has seen the count: under the lock it finds the waiter, or comes before it, and
//!   then the waiter's look at the word, under the same lock later, sees the new one.
//!
//! The kernel does the same for those who wait there. A waker asks both, one after the other, until
//! it has woken as many as it wants; each of the two arguments holds for itself. Which of them is
//! asked first for a single wake-up alternates, if somebody may wait in the kernel, so that neither
//! side starves: std's own locks have waiters in both.
//!
//! # A wake-up is for one who still waits
//!
//! A waiter that is taken out is claimed under the lock (`park/word.rs`). If its deadline was
//! faster it is not counted, and the next one is taken. So `n` wake-ups end `n` waits, if there are
//! so many, and one who gave up has used none.
//!
//! # Considered and left out
//!
//! - A tree in each bucket: nothing to grow, but a walk through the cold stacks of twenty others
//!   for each wake-up.
//! - A table that moves to new memory: `parking_lot` must leak the old ones, and allocating in the
//!   middle of somebody's lock may come back to that lock.

#![expect(
    unsafe_code,
    reason = "waiters are linked through the frames of those who wait"
)]

use std::cell::Cell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;

use super::lock::{Guard, Lock};
use crate::primitive::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::primitive::atomic::{AtomicBool, AtomicU32, AtomicUsize, fence};

/// How many buckets there are, as a power of two, and how many are used at first.
#[cfg(not(loom))]
const BITS_MAX: u32 = 17;
#[cfg(not(loom))]
const BITS_FIRST: u32 = 8;
/// By how much it grows.
#[cfg(not(loom))]
const BITS_STEP: u32 = 3;
/// A chain with so many words makes it grow.
#[cfg(not(loom))]
const CHAIN_MAX: usize = 8;
/// How many counts there are, as a power of two.
#[cfg(not(loom))]
const COUNT_BITS: u32 = 9;

#[cfg(loom)]
const BITS_MAX: u32 = 1;
#[cfg(loom)]
const BITS_FIRST: u32 = 0;
#[cfg(loom)]
const BITS_STEP: u32 = 1;
#[cfg(loom)]
const CHAIN_MAX: usize = 2;
#[cfg(loom)]
const COUNT_BITS: u32 = 0;

const N_BUCKETS: usize = 1 << BITS_MAX;
const N_COUNTS: usize = 1 << COUNT_BITS;

/// How many are woken for one acquisition of the lock.
const BATCH: usize = 16;

/// What a waiter is for the table: something that can be claimed once.
pub(crate) trait Claim {
    /// What makes the claimed one runnable.
    type Wake;

    /// Ends its wait with `message`, unless something else did.
    fn claim(&self, message: u32) -> Option<Self::Wake>;
}

type Link<T> = Cell<Option<NonNull<Waiter<T>>>>;

/// One who waits for a word. Pinned in its frame while it is queued.
pub(crate) struct Waiter<T> {
    target: T,
    /// The address of the word. Changed under the locks of both buckets; the owner reads it to find
    /// the bucket.
    address: AtomicUsize,
    /// Which wakes count.
    bits: u32,
    /// When it began to wait, in nanoseconds.
    since: u64,
    /// It was woken for this word, and another was faster: it waits in front.
    passed_over: bool,
    // The rest is touched under the lock.
    queued: Cell<bool>,
    /// Later waiters of the bucket have higher ones.
    ticket: Cell<u32>,
    next: Link<T>,
    /// `None` for the first one of a word.
    previous: Link<T>,
    /// Of the first one: the last one, and the first one of the next word in the chain.
    last: Link<T>,
    next_word: Link<T>,
    _pinned: PhantomPinned,
}

impl<T> Waiter<T> {
    pub(crate) fn new(target: T, address: usize, bits: u32, since: u64, passed_over: bool) -> Self {
        Waiter {
            target,
            address: AtomicUsize::new(address),
            bits,
            since,
            passed_over,
            queued: Cell::new(false),
            ticket: Cell::new(0),
            next: Cell::new(None),
            previous: Cell::new(None),
            last: Cell::new(None),
            next_word: Cell::new(None),
            _pinned: PhantomPinned,
        }
    }

    /// # Safety
    ///
    /// `at` is queued in a bucket whose lock the caller holds for as long as it uses the result.
    unsafe fn at<'a>(at: NonNull<Self>) -> &'a Self {
        // SAFETY: what is queued is still there (`Table::enqueue`).
        unsafe { at.as_ref() }
    }
}

/// One who was woken.
pub(crate) struct Woken<W> {
    pub(crate) wake: W,
    /// When it began to wait.
    pub(crate) since: u64,
    pub(crate) passed_over: bool,
}

/// What a hand-over has come to.
pub(crate) enum Handed<W> {
    /// Nobody waits; the word was set.
    Nobody,
    /// The word was set, and this one may try for it.
    Woken(Woken<W>),
    /// The word was left as it is, and this one was told that it has it.
    Over(Woken<W>),
}

/// The words that somebody waits for, of one bucket.
struct Chain<T> {
    first: Option<NonNull<Waiter<T>>>,
    next_ticket: u32,
}

// SAFETY: the waiters are touched only under the lock of the chain; their targets are made to be
// used from any thread.
unsafe impl<T: Send + Sync> Send for Chain<T> {}

impl<T> Chain<T> {
    const fn new() -> Self {
        Chain {
            first: None,
            next_ticket: 0,
        }
    }

    /// Empties it; the first waiter of its first word, and the next ticket.
    fn take_all(&mut self) -> (Option<NonNull<Waiter<T>>>, u32) {
        (self.first.take(), self.next_ticket)
    }

    /// The first waiter for a word, and how many words come before it in the chain.
    fn find(&self, address: usize) -> (Option<NonNull<Waiter<T>>>, usize) {
        let mut at = self.first;
        let mut n = 0;
        while let Some(first) = at {
            // SAFETY: queued here, and the lock is held.
            let first_ref = unsafe { Waiter::at(first) };
            if first_ref.address.load(Relaxed) == address {
                return (at, n);
            }
            n += 1;
            at = first_ref.next_word.get();
        }
        (None, n)
    }

    /// Queues `waiter`; how many words the chain has.
    ///
    /// # Safety
    ///
    /// As [`Table::enqueue`].
    unsafe fn push(&mut self, waiter: &Waiter<T>) -> usize {
        debug_assert!(!waiter.queued.get(), "greenrt: waiter queued twice");
        waiter.queued.set(true);
        waiter.ticket.set(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let at = Some(NonNull::from(waiter));
        let (first_at, n) = self.find(waiter.address.load(Relaxed));
        let Some(first_at) = first_at else {
            waiter.previous.set(None);
            waiter.next.set(None);
            waiter.last.set(at);
            waiter.next_word.set(self.first);
            self.first = at;
            return n + 1;
        };
        // SAFETY: queued here, and the lock is held.
        let first = unsafe { Waiter::at(first_at) };
        // Behind all, or if it was passed over, behind those who were too.
        let mut before = first.last.get();
        if waiter.passed_over {
            before = None;
            let mut after = Some(first_at);
            while let Some(other) = after {
                // SAFETY: queued here, and the lock is held.
                let other_ref = unsafe { Waiter::at(other) };
                if !other_ref.passed_over {
                    break;
                }
                before = after;
                after = other_ref.next.get();
            }
        }
        waiter.previous.set(before);
        let Some(before) = before else {
            waiter.next.set(Some(first_at));
            first.previous.set(at);
            waiter.last.set(first.last.get());
            waiter.next_word.set(first.next_word.get());
            self.replace_first(first_at, at);
            return n;
        };
        // SAFETY: queued here, and the lock is held.
        let before = unsafe { Waiter::at(before) };
        waiter.next.set(before.next.get());
        match before.next.replace(at) {
            // SAFETY: queued here, and the lock is held.
            Some(next) => unsafe { Waiter::at(next) }.previous.set(at),
            None => first.last.set(at),
        }
        n
    }

    /// Puts `new` into the chain in place of `old`, the first one of its word.
    fn replace_first(&mut self, old: NonNull<Waiter<T>>, new: Option<NonNull<Waiter<T>>>) {
        if self.first == Some(old) {
            self.first = new;
            return;
        }
        let mut at = self.first;
        while let Some(first) = at {
            // SAFETY: queued here, and the lock is held.
            let first = unsafe { Waiter::at(first) };
            at = first.next_word.get();
            if at == Some(old) {
                return first.next_word.set(new);
            }
        }
        unreachable!("greenrt: a word is not in its chain");
    }

    /// Takes `waiter` out, which is queued here.
    fn unlink(&mut self, waiter: &Waiter<T>) {
        waiter.queued.set(false);
        let next = waiter.next.get();
        let Some(previous) = waiter.previous.get() else {
            // The first one of its word: the next one takes its place in the chain.
            let new = match next {
                None => waiter.next_word.get(),
                Some(next) => {
                    // SAFETY: queued here, and the lock is held.
                    let next = unsafe { Waiter::at(next) };
                    next.previous.set(None);
                    next.last.set(waiter.last.get());
                    next.next_word.set(waiter.next_word.get());
                    Some(NonNull::from(next))
                }
            };
            return self.replace_first(NonNull::from(waiter), new);
        };
        // SAFETY: queued here, and the lock is held.
        let previous_ref = unsafe { Waiter::at(previous) };
        previous_ref.next.set(next);
        match next {
            // SAFETY: as above.
            Some(next) => unsafe { Waiter::at(next) }.previous.set(Some(previous)),
            None => {
                if let (Some(first), _) = self.find(waiter.address.load(Relaxed)) {
                    // SAFETY: as above.
                    unsafe { Waiter::at(first) }.last.set(Some(previous));
                }
            }
        }
    }

    /// Takes the first waiter for `address` out that is `wanted`.
    fn take(&mut self, address: usize, wanted: impl Fn(&Waiter<T>) -> bool) -> Option<&Waiter<T>> {
        let mut at = self.find(address).0;
        while let Some(waiter) = at {
            // SAFETY: queued here, and the lock is held.
            let waiter = unsafe { Waiter::at(waiter) };
            if wanted(waiter) {
                self.unlink(waiter);
                return Some(waiter);
            }
            at = waiter.next.get();
        }
        None
    }
}

/// How many wait for the words that fall on one count. It never moves, so a waker may look at it
/// without a lock.
#[repr(align(64))]
struct Count {
    /// In the table, or about to be.
    waiters: AtomicU32,
    /// In the kernel, as far as we know.
    in_kernel: AtomicU32,
    /// Whether the kernel is asked first the next time.
    kernels_turn: AtomicBool,
}

impl Count {
    #[cfg(not(loom))]
    const fn new() -> Self {
        Count {
            waiters: AtomicU32::new(0),
            in_kernel: AtomicU32::new(0),
            kernels_turn: AtomicBool::new(false),
        }
    }

    #[cfg(loom)]
    fn new() -> Self {
        Count {
            waiters: AtomicU32::new(0),
            in_kernel: AtomicU32::new(0),
            kernels_turn: AtomicBool::new(false),
        }
    }
}

#[repr(align(64))]
struct Bucket<T>(Lock<Chain<T>>);

/// See the module's documentation.
pub(crate) struct Table<T> {
    /// The number of buckets in use, less one. Changed by one thread at a time, under the locks of
    /// all of them.
    mask: AtomicUsize,
    grows: AtomicBool,
    #[cfg(not(loom))]
    counts: [Count; N_COUNTS],
    #[cfg(loom)]
    counts: Vec<Count>,
    #[cfg(not(loom))]
    buckets: [Bucket<T>; N_BUCKETS],
    #[cfg(loom)]
    buckets: Vec<Bucket<T>>,
}

#[cfg(not(loom))]
impl<T> Table<T> {
    pub(crate) const fn new() -> Self {
        Table {
            mask: AtomicUsize::new((1 << BITS_FIRST) - 1),
            grows: AtomicBool::new(false),
            counts: [const { Count::new() }; N_COUNTS],
            buckets: [const { Bucket(Lock::new(Chain::new())) }; N_BUCKETS],
        }
    }
}

#[cfg(loom)]
impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Table {
            mask: AtomicUsize::new((1 << BITS_FIRST) - 1),
            grows: AtomicBool::new(false),
            counts: (0..N_COUNTS).map(|_| Count::new()).collect(),
            buckets: (0..N_BUCKETS)
                .map(|_| Bucket(Lock::new(Chain::new())))
                .collect(),
        }
    }
}

/// Spreads addresses, whose low bits are alike. The low bits of the result are good.
fn hash(address: usize) -> usize {
    // Fibonacci hashing: the high bits of the product depend on all of the address.
    (address as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(BITS_MAX) as usize
}

#[cfg(not(loom))]
impl<T> Table<T> {
    /// Forgets all who wait.
    ///
    /// # Safety
    ///
    /// There is no other thread, and the caller holds no lock of the table. Nobody who is queued goes
    /// on.
    pub(crate) unsafe fn forget_all(&self) {
        let used = self.mask.load(Relaxed) + 1;
        for bucket in &self.buckets[..used] {
            // SAFETY: the caller's promise.
            unsafe { bucket.0.renew(Chain::new()) };
        }
        for count in &self.counts {
            count.waiters.store(0, Relaxed);
            count.in_kernel.store(0, Relaxed);
        }
        self.grows.store(false, Relaxed);
    }
}

impl<T: Claim> Table<T> {
    fn count(&self, address: usize) -> &Count {
        &self.counts[hash(address) & (N_COUNTS - 1)]
    }

    /// The chain that `address` belongs to.
    fn lock(&self, address: usize) -> Guard<'_, Chain<T>> {
        let hash = hash(address);
        loop {
            let mask = self.mask.load(Acquire);
            let guard = self.buckets[hash & mask].0.lock();
            // Under the lock it does not change.
            if self.mask.load(Relaxed) == mask {
                return guard;
            }
        }
    }

    /// The chains of two addresses; `None`: the second one is the same.
    fn lock_both(&self, a: usize, b: usize) -> (Guard<'_, Chain<T>>, Option<Guard<'_, Chain<T>>>) {
        let (hash_a, hash_b) = (hash(a), hash(b));
        loop {
            let mask = self.mask.load(Acquire);
            let (a, b) = (hash_a & mask, hash_b & mask);
            // In the order of the buckets, so that two of us never wait for each other.
            let low = self.buckets[a.min(b)].0.lock();
            let high = (a != b).then(|| self.buckets[a.max(b)].0.lock());
            if self.mask.load(Relaxed) != mask {
                continue;
            }
            return match high {
                Some(high) if b < a => (high, Some(low)),
                high => (low, high),
            };
        }
    }

    /// Queues `waiter` if `holds` says that its word is as it expects. `false`: it is not.
    ///
    /// # Safety
    ///
    /// Unless it was woken, the caller removes the waiter from this table before it goes away.
    /// `holds` reads a word and no more.
    pub(crate) unsafe fn enqueue(
        &self,
        waiter: Pin<&Waiter<T>>,
        holds: impl FnOnce() -> bool,
    ) -> bool {
        let address = waiter.address.load(Relaxed);
        let count = self.count(address);
        count.waiters.fetch_add(1, SeqCst);
        // With the fence in `may_have`: see the module's documentation.
        fence(SeqCst);
        let mut chain = self.lock(address);
        if !holds() {
            drop(chain);
            count.waiters.fetch_sub(1, Relaxed);
            return false;
        }
        // SAFETY: the caller's promise.
        let n_words = unsafe { chain.push(waiter.get_ref()) };
        drop(chain);
        if n_words > CHAIN_MAX {
            self.grow();
        }
        true
    }

    /// Takes `waiter` out, if it is still in.
    pub(crate) fn remove(&self, waiter: Pin<&Waiter<T>>) {
        loop {
            let address = waiter.address.load(Relaxed);
            let mut chain = self.lock(address);
            // It may have been moved to another word meanwhile; under the right lock it is not.
            if waiter.address.load(Relaxed) != address {
                continue;
            }
            if waiter.queued.get() {
                chain.unlink(waiter.get_ref());
                drop(chain);
                self.count(address).waiters.fetch_sub(1, Relaxed);
            }
            return;
        }
    }

    /// Whether somebody may wait for `address` here. The caller has changed the word.
    #[inline]
    pub(crate) fn may_have(&self, address: usize) -> bool {
        // With the fence in `enqueue`: see the module's documentation.
        fence(SeqCst);
        self.count(address).waiters.load(Relaxed) > 0
    }

    /// As [`Self::may_have`], for a caller who has changed the word by a read-modify-write just now.
    #[inline]
    pub(crate) fn may_have_after_swap(&self, address: usize) -> bool {
        greenrt_arch::context::fence_after_swap();
        self.count(address).waiters.load(Relaxed) > 0
    }

    /// Counts one who waits in the kernel, as long as `wait` takes.
    pub(crate) fn in_kernel<R>(&self, address: usize, wait: impl FnOnce() -> R) -> R {
        let in_kernel = &self.count(address).in_kernel;
        in_kernel.fetch_add(1, Relaxed);
        let result = wait();
        in_kernel.fetch_sub(1, Relaxed);
        result
    }

    /// Wakes up to `n` who wait for `address`, and whom one of `bits` concerns; how many.
    ///
    /// Those who come while it runs are not woken.
    pub(crate) fn wake(
        &self,
        address: usize,
        n: usize,
        bits: u32,
        mut wake: impl FnMut(Woken<T::Wake>),
    ) -> usize {
        let mut n_woken = 0;
        let mut end = None;
        loop {
            let n_max = BATCH.min(n - n_woken);
            let mut batch = Batch::new();
            let mut chain = self.lock(address);
            let end = *end.get_or_insert(chain.next_ticket);
            batch.fill(&mut chain, address, n_max, |waiter| {
                waiter.bits & bits != 0 && (waiter.ticket.get().wrapping_sub(end) as i32) < 0
            });
            drop(chain);
            let n_batch = batch.n;
            batch.wake(self.count(address), &mut wake);
            n_woken += n_batch;
            if n_batch < BATCH || n_woken == n {
                return n_woken;
            }
        }
    }

    /// As [`Self::wake`], for a word for which others may wait in the kernel: they are woken by
    /// `kernel`, which is told how many at most, and answers how many, or with an error.
    pub(crate) fn wake_both(
        &self,
        address: usize,
        n: usize,
        bits: u32,
        wake: impl FnMut(Woken<T::Wake>),
        mut kernel: impl FnMut(usize) -> Option<usize>,
    ) -> Option<usize> {
        if !self.may_have(address) {
            return kernel(n);
        }
        let count = self.count(address);
        let kernel_first = n == 1
            && count.in_kernel.load(Relaxed) > 0
            && count.kernels_turn.fetch_xor(true, Relaxed);
        if kernel_first && kernel(1)? > 0 {
            return Some(1);
        }
        let n_woken = self.wake(address, n, bits, wake);
        // Whoever waits in the kernel may have come there on another way than through us.
        if n_woken == n || kernel_first {
            return Some(n_woken);
        }
        match kernel(n - n_woken) {
            None if n_woken == 0 => None,
            more => Some(n_woken + more.unwrap_or(0)),
        }
    }

    /// Wakes the first one who waits for `address`. If `is_old` of it, it is told message 1 and the
    /// word stays as it is; otherwise, or if there is nobody, `free` sets the word.
    pub(crate) fn hand_over(
        &self,
        address: usize,
        is_old: impl Fn(u64, bool) -> bool,
        free: impl FnOnce(),
    ) -> Handed<T::Wake> {
        let count = self.count(address);
        let mut chain = self.lock(address);
        while let Some(waiter) = chain.take(address, |_| true) {
            count.waiters.fetch_sub(1, Relaxed);
            let (since, passed_over) = (waiter.since, waiter.passed_over);
            let is_old = is_old(since, passed_over);
            let Some(wake) = waiter.target.claim(u32::from(is_old)) else {
                continue;
            };
            let woken = Woken {
                wake,
                since,
                passed_over,
            };
            if is_old {
                return Handed::Over(woken);
            }
            free();
            return Handed::Woken(woken);
        }
        // Under the lock: whoever comes now sees it.
        free();
        Handed::Nobody
    }

    /// Wakes up to `n_wake` who wait for `from`, and has up to `n_move` others wait for `to`, if
    /// `holds`; how many were woken, and how many moved.
    pub(crate) fn requeue(
        &self,
        (from, to): (usize, usize),
        (n_wake, n_move): (usize, usize),
        mut holds: impl FnMut() -> bool,
        mut wake: impl FnMut(Woken<T::Wake>),
    ) -> Option<(usize, usize)> {
        let mut n_woken = 0;
        let mut end = None;
        loop {
            let mut batch = Batch::new();
            let (mut chain, mut other) = self.lock_both(from, to);
            if !holds() {
                return if end.is_some() {
                    Some((n_woken, 0))
                } else {
                    None
                };
            }
            let end = *end.get_or_insert(chain.next_ticket);
            let is_in = |waiter: &Waiter<T>| (waiter.ticket.get().wrapping_sub(end) as i32) < 0;
            batch.fill(&mut chain, from, BATCH.min(n_wake - n_woken), is_in);
            n_woken += batch.n;
            let all_woken = batch.n < BATCH || n_woken == n_wake;
            let mut n_moved = 0;
            while all_woken && from != to && n_moved < n_move {
                let Some(waiter) = chain.take(from, is_in) else {
                    break;
                };
                // SAFETY: nobody has claimed it, and the locks are held.
                let waiter = unsafe { Waiter::at(NonNull::from(waiter)) };
                self.count(to).waiters.fetch_add(1, SeqCst);
                waiter.address.store(to, Relaxed);
                let target = other.as_deref_mut().unwrap_or(&mut chain);
                // SAFETY: its owner removes it from this table, wherever it is.
                unsafe { target.push(waiter) };
                self.count(from).waiters.fetch_sub(1, Relaxed);
                n_moved += 1;
            }
            drop(other);
            drop(chain);
            batch.wake(self.count(from), &mut wake);
            if all_woken {
                return Some((n_woken, n_moved));
            }
        }
    }

    /// Wakes all who wait here for anything. They look again and find that nothing has happened.
    pub(crate) fn wake_everyone(&self, mut wake: impl FnMut(Woken<T::Wake>)) {
        let mut index = 0;
        loop {
            let mask = self.mask.load(Acquire);
            if index > mask {
                return;
            }
            let mut batch = Batch::new();
            let mut chain = self.buckets[index].0.lock();
            let Some(first) = chain.first.filter(|_| self.mask.load(Relaxed) == mask) else {
                drop(chain);
                // What has moved meanwhile has moved to the right.
                index += 1;
                continue;
            };
            // SAFETY: queued here, and the lock is held.
            let address = unsafe { Waiter::at(first) }.address.load(Relaxed);
            batch.fill(&mut chain, address, BATCH, |_| true);
            drop(chain);
            batch.wake(self.count(address), &mut wake);
        }
    }

    /// Uses more buckets.
    #[cold]
    fn grow(&self) {
        if self.grows.swap(true, Acquire) {
            return;
        }
        let old = self.mask.load(Relaxed);
        let new = ((old + 1) << BITS_STEP).min(N_BUCKETS) - 1;
        if new > old {
            self.grow_to(old, new);
        }
        self.grows.store(false, Release);
    }

    fn grow_to(&self, old: usize, new: usize) {
        let in_use = &self.buckets[..=old];
        in_use.iter().for_each(|bucket| bucket.0.acquire());
        // Either acquired above, or not in use before `mask` says so: nobody else refers to them.
        let chain = |index: usize| self.buckets[index].0.value();
        for from in 0..=old {
            // SAFETY: see above; one reference at a time, here and below.
            let (first, ticket) = unsafe { &mut *chain(from) }.take_all();
            for to in (from..=new).step_by(old + 1) {
                // SAFETY: as above.
                unsafe { &mut *chain(to) }.next_ticket = ticket;
            }
            let mut at = first;
            while let Some(first) = at {
                // SAFETY: it was queued here, and the lock is held.
                let first_ref = unsafe { Waiter::at(first) };
                let to = hash(first_ref.address.load(Relaxed)) & new;
                // SAFETY: as above.
                let to = unsafe { &mut *chain(to) };
                at = first_ref.next_word.replace(to.first);
                to.first = Some(first);
            }
        }
        // Release: pairs with the acquire in `lock`, so that whoever uses a new bucket sees what
        // was put there.
        self.mask.store(new, Release);
        for bucket in in_use {
            // SAFETY: acquired above.
            unsafe { bucket.0.release() };
        }
    }
}

/// Those who are woken for one acquisition of the lock.
struct Batch<W> {
    n: usize,
    /// Taken out, claimed or not.
    n_out: u32,
    woken: [Option<Woken<W>>; BATCH],
}

impl<W> Batch<W> {
    fn new() -> Self {
        Batch {
            n: 0,
            n_out: 0,
            woken: [const { None }; BATCH],
        }
    }

    /// Takes out and claims up to `n_max`.
    fn fill<T: Claim<Wake = W>>(
        &mut self,
        chain: &mut Chain<T>,
        address: usize,
        n_max: usize,
        wanted: impl Fn(&Waiter<T>) -> bool,
    ) {
        while self.n < n_max {
            let Some(waiter) = chain.take(address, &wanted) else {
                return;
            };
            self.n_out += 1;
            let (since, passed_over) = (waiter.since, waiter.passed_over);
            // Once it is claimed it may go away.
            if let Some(wake) = waiter.target.claim(0) {
                self.woken[self.n] = Some(Woken {
                    wake,
                    since,
                    passed_over,
                });
                self.n += 1;
            }
        }
    }

    /// Wakes them. The caller has let go of the lock.
    fn wake(&mut self, count: &Count, wake: &mut impl FnMut(Woken<W>)) {
        if self.n_out > 0 {
            count.waiters.fetch_sub(self.n_out, Relaxed);
        }
        let woken = self.woken[..self.n].iter_mut();
        woken.filter_map(Option::take).for_each(wake);
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod loom_tests;
