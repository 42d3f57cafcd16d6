//! Waits for descriptors: one per worker.
//!
//! A descriptor is registered once, with the worker that first waits for it, edge-triggered and in
//! both directions, and stays registered until it is closed (`source.rs`). Some tell after each message
//! that there is room; those are registered for reading only, until somebody waits for room, and
//! streams among them level-triggered as long as that costs nothing ([`Watch::Level`]). The worker looks at its
//! events once per round, and sleeps in the same system call when it has nothing to run.
//!
//! # Tokens
//!
//! An event names its source by a slot and the slot's generation. A registration may outlive its
//! descriptor (a duplicate keeps it alive), and events may still be on their way when a source
//! closes: their generation is an old one, and they are dropped.
//!
//! # Forks
//!
//! The child of a fork shares epoll with its parent, and whatever it registered, or took out, would be
//! the parent's. So the one worker that goes on there gets another poller ([`Reactor::renew`]), and the
//! reactors of the others, which do not, are not touched again: they are *stale*. Each source finds
//! out for itself that its registration is the parent's (`source.rs`).

#![expect(unsafe_code, reason = "the poller is replaced in the child of a fork")]

pub(crate) mod io;
pub(crate) mod source;

use std::io as std_io;
use std::os::fd::{AsFd, RawFd};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicUsize};
use std::time::Duration;

use greenrt_arch::epoll;
use mio::event::Source as _;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use parking_lot::{Mutex, MutexGuard};

use crate::fork;
use source::Source;

/// The token of the waker.
const WAKER: usize = usize::MAX;

/// Room for the events of one look.
pub(crate) struct Events {
    precise: epoll::Events,
    portable: Option<mio::Events>,
}

impl Events {
    pub(crate) fn with_capacity(n: usize) -> Self {
        let portable = (!epoll::precise()).then(|| mio::Events::with_capacity(n));
        Events {
            precise: epoll::Events::with_capacity(n),
            portable,
        }
    }
}

/// What an event says of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    readable: bool,
    writable: bool,
    /// Reading will meet something that no later edge tells of: the end, or urgent data.
    read_end: bool,
    /// So will both directions: a hang-up or an error.
    end: bool,
}

/// What a reactor is to tell of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Watch {
    /// When something has changed, in both directions.
    All,
    /// When something has changed that concerns reading.
    Reads,
    /// At every look, as long as there is something to read.
    Level,
}

/// See the module's documentation.
pub(crate) struct Reactor {
    /// A box; null if there was none to be had in the child of a fork.
    poller: AtomicPtr<Poller>,
    /// The number of forks that had been when it was made.
    generation: AtomicU32,
    sources: Mutex<Slots>,
    n_sources: AtomicUsize,
}

struct Poller {
    poll: Mutex<mio::Poll>,
    registry: mio::Registry,
    waker: mio::Waker,
}

impl Poller {
    fn new() -> std_io::Result<Box<Self>> {
        let poll = mio::Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = mio::Waker::new(&registry, Token(WAKER))?;
        Ok(Box::new(Poller {
            poll: Mutex::new(poll),
            registry,
            waker,
        }))
    }
}

/// Who is registered.
#[derive(Default)]
pub(crate) struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

struct Slot {
    generation: u32,
    source: Option<Arc<Source>>,
}

impl Reactor {
    pub(crate) fn new() -> std_io::Result<Self> {
        Ok(Reactor {
            poller: AtomicPtr::new(Box::into_raw(Poller::new()?)),
            generation: AtomicU32::new(fork::generation()),
            sources: Mutex::new(Slots::default()),
            n_sources: AtomicUsize::new(0),
        })
    }

    #[inline]
    fn poller(&self) -> &Poller {
        let poller = self.poller.load(Relaxed);
        if poller.is_null() {
            no_poller();
        }
        // SAFETY: a box that is freed by `drop`, and by `renew`, whose caller promises that nobody is
        // in here.
        unsafe { &*poller }
    }

    /// Whether it belongs to a worker that has not come along a fork.
    fn is_stale(&self) -> bool {
        self.generation.load(Relaxed) != fork::generation()
    }

    /// Keeps others from registering anything.
    pub(crate) fn hold(&self) -> MutexGuard<'_, Slots> {
        self.sources.lock()
    }

    /// In the child of a fork, for the worker that goes on: forgets everything, and has a poller of its
    /// own from now on. `slots` are its own.
    ///
    /// # Safety
    ///
    /// There is no other thread, and the caller is not in the middle of a method of this type.
    pub(crate) unsafe fn renew(&self, slots: &mut Slots) {
        for (index, slot) in slots.slots.iter_mut().enumerate() {
            slot.generation = slot.generation.wrapping_add(1);
            if let Some(source) = slot.source.take() {
                // It may be the last reference, and its lock may be held by somebody who is not here.
                std::mem::forget(source);
                slots.free.push(index as u32);
            }
        }
        self.n_sources.store(0, Relaxed);
        self.generation.store(fork::generation(), Relaxed);
        // First the old one, which leaves room for descriptors. The parent has its own.
        let old = self.poller.swap(ptr::null_mut(), Relaxed);
        if !old.is_null() {
            // SAFETY: a box, and nobody is in it, says the caller.
            drop(unsafe { Box::from_raw(old) });
        }
        // Without one the child may still become another program, or end.
        if let Ok(new) = Poller::new() {
            self.poller.store(Box::into_raw(new), Relaxed);
        }
    }

    /// Wakes the worker out of `poll`, or makes its next one return at once.
    #[cold]
    pub(crate) fn wake(&self) {
        if self.is_stale() {
            return;
        }
        if let Err(error) = self.poller().waker.wake() {
            // The worker might sleep for ever; nobody can go on without it.
            eprintln!("greenrt: cannot wake a worker: {error}");
            std::process::abort();
        }
    }

    /// Whether any descriptor is registered.
    #[inline]
    pub(crate) fn has_sources(&self) -> bool {
        self.n_sources.load(Relaxed) > 0
    }

    /// Whether events wait to be looked at. Takes none of them.
    pub(crate) fn has_events(&self) -> bool {
        // What cannot be asked is taken for yes.
        let registry = self.poller().registry.as_fd();
        greenrt_arch::fd::wait(registry, false, Some(Duration::ZERO)).unwrap_or(true)
    }

    /// Waits until there are events, and takes none of them.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let _ = greenrt_arch::fd::wait(self.poller().registry.as_fd(), false, timeout);
    }

    /// Registers a source, so that its events come to this worker.
    fn register(&self, source: &Arc<Source>, watch: Watch) -> std_io::Result<u64> {
        let fd = source.fd();
        let token = {
            let mut slots = self.sources.lock();
            let index = match slots.free.pop() {
                Some(index) => index,
                None => {
                    slots.slots.push(Slot {
                        generation: 0,
                        source: None,
                    });
                    slots.slots.len() as u32 - 1
                }
            };
            let slot = &mut slots.slots[index as usize];
            slot.source = Some(Arc::clone(source));
            u64::from(slot.generation) << 32 | u64::from(index)
        };
        self.n_sources.fetch_add(1, Relaxed);
        match self.watch(token, fd, watch, true) {
            Ok(()) => Ok(token),
            Err(error) => {
                self.forget(token);
                Err(error)
            }
        }
    }

    /// Says what is to be told of a descriptor, which is registered unless it is `new`. What is ready
    /// already comes as an event.
    fn watch(&self, token: u64, fd: RawFd, watch: Watch, new: bool) -> std_io::Result<()> {
        let registry = &self.poller().registry;
        let interests = match watch {
            Watch::All => greenrt_arch::all_interests!(Interest),
            Watch::Reads => greenrt_arch::read_interests!(Interest),
            Watch::Level => return epoll::watch_level(registry.as_fd(), fd, token),
        };
        let mut source = SourceFd(&fd);
        let token = Token(token as usize);
        if new {
            match source.register(registry, token, interests) {
                // An earlier registration of the same file under the same number was left behind.
                Err(error) if error.kind() == std_io::ErrorKind::AlreadyExists => {}
                done => return done,
            }
        }
        source.reregister(registry, token, interests)
    }

    /// Takes a source out. `close`: the descriptor is about to be closed and has no duplicates, so
    /// the system forgets it by itself.
    fn deregister(&self, token: u64, fd: RawFd, close: bool) {
        if self.is_stale() {
            return;
        }
        if !close {
            // An error means that it is not registered, which is what we want.
            let _ = SourceFd(&fd).deregister(&self.poller().registry);
        }
        self.forget(token);
    }

    fn forget(&self, token: u64) {
        let source = {
            let mut slots = self.sources.lock();
            let index = token as u32;
            let slot = &mut slots.slots[index as usize];
            if slot.generation != (token >> 32) as u32 {
                // `close` was faster.
                return;
            }
            slot.generation = slot.generation.wrapping_add(1);
            let source = slot.source.take();
            slots.free.push(index);
            source
        };
        self.n_sources.fetch_sub(1, Relaxed);
        drop(source);
    }

    /// Called when the worker ends: nobody looks at the events any more. Whoever waits for one of
    /// the descriptors on another worker finds another reactor.
    pub(crate) fn close(&self) {
        let sources: Vec<Arc<Source>> = {
            let mut slots = self.sources.lock();
            let taken = slots.slots.iter_mut().filter_map(|slot| {
                slot.generation = slot.generation.wrapping_add(1);
                slot.source.take()
            });
            taken.collect()
        };
        sources.iter().for_each(|source| source.lose_home(self));
    }

    /// Looks at the events, waiting for at most `timeout`, and makes runnable whom they concern.
    pub(crate) fn poll(&self, events: &mut Events, timeout: Option<Duration>) {
        let looked = match &mut events.portable {
            None => epoll::wait(self.poller().registry.as_fd(), &mut events.precise, timeout),
            Some(portable) => match self.poller().poll.lock().poll(portable, timeout) {
                Err(error) if error.kind() == std_io::ErrorKind::Interrupted => return,
                looked => looked,
            },
        };
        if let Err(error) = looked {
            eprintln!("greenrt: cannot wait for descriptors: {error}");
            std::process::abort();
        }
        match &events.portable {
            None => {
                let all = || {
                    events.precise.iter().map(|event| {
                        let readiness = Readiness {
                            readable: event.readable(),
                            writable: event.writable(),
                            read_end: event.read_closed() || event.priority(),
                            end: event.hup() || event.error(),
                        };
                        (event.token, readiness)
                    })
                };
                self.dispatch(all(), all().map(|(token, _)| token));
            }
            Some(portable) => {
                let all = || {
                    portable.iter().map(|event| {
                        let readiness = Readiness {
                            readable: event.is_readable(),
                            writable: event.is_writable(),
                            read_end: event.is_read_closed() || event.is_priority(),
                            end: event.is_error() || event.is_write_closed(),
                        };
                        (event.token().0 as u64, readiness)
                    })
                };
                self.dispatch(all(), all().map(|(token, _)| token));
            }
        }
    }

    /// Hands each event to its source. `ahead` has the same tokens, to fetch memory that is needed
    /// soon: with many descriptors none of it is in the cache.
    #[inline]
    fn dispatch(
        &self,
        events: impl Iterator<Item = (u64, Readiness)>,
        mut ahead: impl Iterator<Item = u64>,
    ) {
        const SOURCES_AHEAD: usize = 8;
        const WAITERS_AHEAD: usize = 4;
        let Some(first) = ahead.next() else { return };
        let slots = self.sources.lock();
        // The sources of the next events, those that are closed left out.
        let mut coming: [Option<&Source>; SOURCES_AHEAD] = [None; SOURCES_AHEAD];
        for (place, token) in coming
            .iter_mut()
            .zip(std::iter::once(first).chain(&mut ahead))
        {
            *place = slots.find(token);
        }
        coming.iter().flatten().for_each(|source| source.prefetch());
        for (at, (token, readiness)) in events.enumerate() {
            if let Some(source) = coming[(at + WAITERS_AHEAD) % SOURCES_AHEAD] {
                source.prefetch_reader();
            }
            let source = coming[at % SOURCES_AHEAD];
            let next = ahead.next().and_then(|token| slots.find(token));
            next.inspect(|source| source.prefetch());
            coming[at % SOURCES_AHEAD] = next;
            if let Some(source) = source {
                debug_assert!(token != WAKER as u64);
                source.on_event(readiness);
            }
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        let poller = *self.poller.get_mut();
        if !poller.is_null() {
            // SAFETY: a box, of which this is the owner.
            drop(unsafe { Box::from_raw(poller) });
        }
    }
}

#[cold]
fn no_poller() -> ! {
    eprintln!("greenrt: the child of a fork cannot wait: it had no descriptors for that");
    std::process::abort();
}

impl Slots {
    /// The source that an event is for. None for the waker's, and for events of what has closed.
    #[inline]
    fn find(&self, token: u64) -> Option<&Source> {
        let slot = self.slots.get(token as u32 as usize)?;
        slot.source
            .as_deref()
            .filter(|_| slot.generation == (token >> 32) as u32)
    }
}
