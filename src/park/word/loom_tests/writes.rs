//! Writing to a descriptor that is watched for reading only, until somebody waits for room.
//!
//! Mirrors `reactor/source.rs` (`reads_only`, `watch_writes`, `settle`, `retire`) and `reactor/io.rs`,
//! for a reader and a writer who park on one worker each, with a socket of one byte and one place, and
//! an epoll that has edges. Whoever changes one changes both. Where it is registered is told by
//! `settle.rs`; levels are left out.

use loom::sync::{Arc, Condvar, Mutex};

use super::{Green, LOCK, beside, bounded};
use crate::park::word::CLAIM_WOKEN;
use crate::primitive::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use crate::primitive::atomic::{AtomicBool, AtomicU32};

const READ: u32 = 1;
const WRITE: u32 = 1 << 1;
const READ_END: u32 = 1 << 2;
const WRITE_END: u32 = 1 << 3;
const HAS_READERS: u32 = 1 << 4;
const HAS_WRITERS: u32 = 1 << 5;
const TICK: u32 = 1 << 8;

/// The bits of a direction, by the number of who waits for it.
const BIT: [u32; 2] = [READ, WRITE];
const END: [u32; 2] = [READ_END, WRITE_END];
const WAITING: [u32; 2] = [HAS_READERS, HAS_WRITERS];
const READER: usize = 0;
const WRITER: usize = 1;

/// What the kernel knows.
#[derive(Default)]
struct Kernel {
    /// `READ` and `WRITE`: what would not block.
    ready: u32,
    /// What epoll watches, if it does.
    interest: Option<u32>,
    /// An event that nobody has looked at.
    event: u32,
    is_closed: bool,
    /// The model has come to its end.
    is_over: bool,
}

impl Kernel {
    /// An edge, or a registration.
    fn announce(&mut self) {
        if let Some(interest) = self.interest {
            self.event |= self.ready & interest;
        }
    }
}

#[derive(Default)]
struct State {
    is_home: bool,
    moving: bool,
    closed: bool,
    waiting: [bool; 2],
}

struct Source {
    kernel: Mutex<Kernel>,
    announced: Condvar,
    readiness: AtomicU32,
    reads_only: AtomicBool,
    state: Mutex<State>,
    threads: [Green; 2],
}

impl Source {
    fn new() -> Arc<Source> {
        Arc::new(Source {
            kernel: Mutex::default(),
            announced: Condvar::new(),
            readiness: AtomicU32::new(READ | WRITE),
            reads_only: AtomicBool::new(true),
            state: Mutex::default(),
            threads: [Green::new(), Green::new()],
        })
    }

    // The kernel.

    fn change(&self, change: impl FnOnce(&mut Kernel)) {
        change(&mut self.kernel.lock().unwrap());
        self.announced.notify_one();
    }

    fn watch(&self, interest: u32) {
        self.change(|kernel| {
            kernel.interest = Some(interest);
            kernel.announce();
        });
    }

    /// Something comes, or goes out.
    fn becomes(&self, bits: u32) {
        self.change(|kernel| {
            kernel.ready |= bits;
            kernel.announce();
        });
    }

    /// The system call. `None` is `EAGAIN`, `false` says that there is no descriptor.
    fn attempt(&self, me: usize) -> Option<bool> {
        let mut kernel = self.kernel.lock().unwrap();
        if kernel.is_closed {
            return Some(false);
        }
        let is_ready = kernel.ready & BIT[me] != 0;
        kernel.ready &= !BIT[me];
        is_ready.then_some(true)
    }

    /// The worker looks at epoll.
    fn poll(&self) {
        let event = std::mem::take(&mut self.kernel.lock().unwrap().event);
        if event != 0 {
            self.on_event(event);
        }
    }

    /// The worker looks at epoll again and again, until nobody needs it any more.
    fn poll_to_the_end(&self) {
        loop {
            let mut kernel = self.kernel.lock().unwrap();
            while kernel.event == 0 && !kernel.is_over {
                kernel = self.announced.wait(kernel).unwrap();
            }
            if kernel.is_over {
                return;
            }
            drop(kernel);
            self.poll();
        }
    }

    // The source.

    fn add(&self, bits: u32) -> u32 {
        let mut before = self.readiness.load(Relaxed);
        while let Err(now) = {
            let next = (before | bits).wrapping_add(TICK);
            self.readiness
                .compare_exchange(before, next, AcqRel, Relaxed)
        } {
            before = now;
        }
        before
    }

    fn wake(&self, state: &mut State, whose: usize) {
        if !std::mem::take(&mut state.waiting[whose]) {
            return;
        }
        let thread = &self.threads[whose];
        let claimed = thread.word.claim(CLAIM_WOKEN);
        self.readiness.fetch_and(!WAITING[whose], AcqRel);
        thread.wake_if(claimed);
    }

    fn on_event(&self, bits: u32) {
        let before = self.add(bits);
        if before & (HAS_READERS | HAS_WRITERS) == 0 {
            return;
        }
        let mut state = self.state.lock().unwrap();
        for whose in [READER, WRITER] {
            if bits & BIT[whose] != 0 && before & WAITING[whose] != 0 {
                self.wake(&mut state, whose);
            }
        }
    }

    fn clear(&self, bits: u32, seen: u32) {
        let mut now = self.readiness.load(Relaxed);
        while now / TICK == seen / TICK && now & bits != 0 {
            match self
                .readiness
                .compare_exchange(now, now & !bits, AcqRel, Relaxed)
            {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    fn settle(&self) {
        {
            let mut state = self.state.lock().unwrap();
            if state.moving || state.closed {
                return;
            }
            state.moving = true;
        }
        let reads_only = self.reads_only.load(Relaxed);
        self.watch(if reads_only { READ } else { READ | WRITE });
        let mut state = self.state.lock().unwrap();
        if reads_only && !self.reads_only.load(Relaxed) {
            self.watch(READ | WRITE);
        }
        state.is_home = !state.closed;
        state.moving = false;
    }

    fn watch_writes(&self) {
        let state = self.state.lock().unwrap();
        if !self.reads_only.load(Relaxed) {
            return;
        }
        if state.is_home {
            self.watch(READ | WRITE);
        }
        self.reads_only.store(false, Relaxed);
    }

    /// Parks until the direction may be ready.
    fn wait(&self, me: usize) {
        if me == WRITER && self.reads_only.load(Relaxed) {
            self.watch_writes();
        }
        let thread = &self.threads[me];
        loop {
            thread.word.open(LOCK).unwrap();
            let queued = {
                let mut state = self.state.lock().unwrap();
                let is_watched = state.is_home || state.moving || state.closed;
                is_watched.then(|| {
                    state.waiting[me] = true;
                    self.readiness.fetch_or(WAITING[me], AcqRel)
                })
            };
            match queued {
                Some(before) if before & (BIT[me] | END[me]) == 0 => {
                    thread.switch();
                    return;
                }
                Some(_) => {
                    {
                        let mut state = self.state.lock().unwrap();
                        state.waiting[me] = false;
                        self.readiness.fetch_and(!WAITING[me], AcqRel);
                    }
                    if !thread.word.close() {
                        thread.switch();
                    }
                    return;
                }
                None => {
                    assert!(thread.word.close(), "claimed, and not queued");
                    self.settle();
                }
            }
        }
    }

    fn retire(&self) {
        self.change(|kernel| kernel.is_closed = true);
        self.add(READ | WRITE | READ_END | WRITE_END);
        let mut state = self.state.lock().unwrap();
        state.closed = true;
        state.is_home = false;
        self.wake(&mut state, READER);
        self.wake(&mut state, WRITER);
    }

    // The operations (`reactor/io.rs`).

    /// Whether it was done, and not ended by the close.
    fn run(&self, me: usize) -> bool {
        let mut tries = me == WRITER;
        loop {
            let seen = self.readiness.load(Acquire);
            let is_ready = seen & (BIT[me] | END[me]) != 0;
            if !is_ready && !std::mem::take(&mut tries) {
                self.wait(me);
                continue;
            }
            tries = false;
            match self.attempt(me) {
                None => self.clear(BIT[me] | END[me], seen),
                Some(done) => return done,
            }
        }
    }

    fn check(&self) {
        let state = self.state.lock().unwrap();
        assert_eq!(state.waiting, [false; 2]);
        assert!(!state.moving);
        assert_eq!(
            self.readiness.load(Relaxed) & (HAS_READERS | HAS_WRITERS),
            0
        );
        self.threads.iter().for_each(Green::check);
    }
}

/// Everybody's part, until those who read and write have done it.
fn play(n_preemptions: usize, reactor: fn(&Source), reader: fn(&Source), writer: fn(&Source)) {
    bounded(n_preemptions, move || {
        let source = Source::new();
        let reactor = beside(&source, move |source| {
            reactor(source);
            source.poll_to_the_end();
        });
        let reader = beside(&source, reader);
        writer(&source);
        reader.join().unwrap();
        source.change(|kernel| kernel.is_over = true);
        reactor.join().unwrap();
        source.check();
    });
}

#[test]
fn who_waits_for_room_hears_of_it() {
    play(
        4,
        |source| source.becomes(WRITE),
        |_| {},
        |source| assert!(source.run(WRITER)),
    );
}

#[test]
fn one_who_reads_registers_it_meanwhile() {
    play(
        2,
        |source| {
            source.becomes(READ);
            source.poll();
            source.becomes(WRITE);
        },
        |source| assert!(source.run(READER)),
        |source| assert!(source.run(WRITER)),
    );
}

#[test]
fn who_waits_when_it_is_closed_hears_of_that() {
    play(
        2,
        |source| source.becomes(READ),
        Source::retire,
        |source| assert!(!source.run(WRITER)),
    );
    play(
        2,
        Source::retire,
        |source| assert!(!source.run(READER)),
        |source| assert!(!source.run(WRITER)),
    );
}
