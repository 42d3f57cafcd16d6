//! A stream that comes in parts: a short read that says nothing of what is left loses nothing.
//!
//! Mirrors LEVEL in `reactor/source.rs`, with a reader who parks, and a worker who looks. Whoever
//! changes one changes both.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Green, LOCK, beside, bounded};
use crate::park::word::CLAIM_WOKEN;
use crate::primitive::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::primitive::atomic::{AtomicBool, AtomicU32};

const READ: u32 = 1;
const HAS_READERS: u32 = 1 << 4;
const LEVEL: u32 = 1 << 6;
const TICK: u32 = 1 << 8;

/// What the kernel knows.
struct Kernel {
    /// Parts of one byte each.
    n_parts: usize,
    /// It is watched level-triggered.
    level: bool,
    /// Something has come since the last look.
    edge: bool,
}

struct Stream {
    kernel: Mutex<Kernel>,
    readiness: AtomicU32,
    /// Whether the reader is queued.
    waiting: Mutex<bool>,
    reader: Green,
    over: AtomicBool,
}

impl Stream {
    /// Registered, and found empty.
    fn new() -> Arc<Stream> {
        Arc::new(Stream {
            kernel: Mutex::new(Kernel {
                n_parts: 0,
                level: true,
                edge: false,
            }),
            readiness: AtomicU32::new(LEVEL),
            waiting: Mutex::new(false),
            reader: Green::new(),
            over: AtomicBool::new(false),
        })
    }

    // The kernel.

    fn receive(&self, n_parts: usize) {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.n_parts += n_parts;
        kernel.edge = true;
    }

    /// Reads one part; whether there are more. `None` is `EAGAIN`.
    fn recv(&self) -> Option<bool> {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.n_parts = kernel.n_parts.checked_sub(1)?;
        Some(kernel.n_parts > 0)
    }

    /// Whether there is an event.
    fn look(&self) -> bool {
        let mut kernel = self.kernel.lock().unwrap();
        let edge = std::mem::take(&mut kernel.edge);
        (kernel.level || edge) && kernel.n_parts > 0
    }

    // The source.

    fn clear(&self, seen: u32) {
        let mut now = self.readiness.load(Relaxed);
        while now / TICK == seen / TICK && now & READ != 0 {
            match self
                .readiness
                .compare_exchange(now, now & !READ, AcqRel, Relaxed)
            {
                Ok(_) => return,
                Err(other) => now = other,
            }
        }
    }

    fn watch_edges(&self) {
        // First, or a short read that was not asked to tell might come after what is reported now.
        self.readiness.fetch_and(!LEVEL, AcqRel);
        let mut kernel = self.kernel.lock().unwrap();
        kernel.level = false;
        kernel.edge = true;
    }

    fn on_event(&self) {
        let mut before = self.readiness.load(Relaxed);
        while let Err(now) = {
            let next = (before | READ).wrapping_add(TICK);
            self.readiness
                .compare_exchange(before, next, AcqRel, Relaxed)
        } {
            before = now;
        }
        if before & READ != 0 && before & LEVEL != 0 {
            self.watch_edges();
        }
        if before & HAS_READERS != 0 {
            let was_waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
            self.readiness.fetch_and(!HAS_READERS, AcqRel);
            if was_waiting && self.reader.word.claim(CLAIM_WOKEN) {
                self.reader.make_runnable();
            }
        }
    }

    /// Looks until the reader has all.
    fn work(&self) {
        while !self.over.load(Acquire) {
            if self.look() {
                self.on_event();
            }
            thread::yield_now();
        }
    }

    fn wait(&self) {
        assert!(self.reader.word.open(LOCK).is_ok());
        let before = {
            *self.waiting.lock().unwrap() = true;
            self.readiness.fetch_or(HAS_READERS, AcqRel)
        };
        if before & READ == 0 {
            assert_eq!(self.reader.switch(), CLAIM_WOKEN);
            return;
        }
        *self.waiting.lock().unwrap() = false;
        self.readiness.fetch_and(!HAS_READERS, AcqRel);
        if !self.reader.word.close() {
            self.reader.switch();
        }
    }

    /// Reads one part into room for more.
    fn read(&self) {
        loop {
            let seen = self.readiness.load(Acquire);
            if seen & READ == 0 {
                self.wait();
                continue;
            }
            match self.recv() {
                None => self.clear(seen),
                Some(more) => {
                    let must_tell = seen & LEVEL == 0;
                    if !(must_tell && more) {
                        self.clear(seen);
                    }
                    return;
                }
            }
        }
    }
}

fn all_is_read(n_preemptions: usize, batches: &'static [usize]) {
    bounded(n_preemptions, move || {
        let stream = Stream::new();
        let worker = beside(&stream, move |stream| {
            for &n_parts in batches {
                stream.receive(n_parts);
                if stream.look() {
                    stream.on_event();
                }
            }
            stream.work();
        });
        for _ in 0..batches.iter().sum() {
            stream.read();
        }
        stream.over.store(true, Release);
        worker.join().unwrap();
        stream.reader.check();
    });
}

#[test]
fn what_a_short_read_has_left_is_told_of() {
    all_is_read(3, &[2]);
}

#[test]
fn what_comes_while_levels_become_edges_is_told_of() {
    all_is_read(3, &[1, 2]);
}

#[test]
fn a_writer_who_wants_edges_hides_nothing() {
    bounded(2, || {
        let stream = Stream::new();
        stream.receive(2);
        let worker = beside(&stream, Stream::work);
        let writer = beside(&stream, Stream::watch_edges);
        stream.read();
        stream.read();
        stream.over.store(true, Release);
        worker.join().unwrap();
        writer.join().unwrap();
        stream.reader.check();
    });
}
