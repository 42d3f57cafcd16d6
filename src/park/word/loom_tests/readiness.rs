//! The readiness word of a descriptor: no edge is lost, and no turn.
//!
//! Mirrors `reactor/source.rs` and `reactor/io.rs`, for one direction, with a socket that counts
//! its bytes; the original needs descriptors. Whoever changes one changes both.

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Green, LOCK, POINT, beside, bounded};
use crate::park::word::{CLAIM_CANCEL, CLAIM_WOKEN, Ends};
use crate::primitive::atomic::AtomicU32;
use crate::primitive::atomic::Ordering::{AcqRel, Acquire, Relaxed};

const READ: u32 = 1;
const READ_END: u32 = 1 << 2;
const HAS_READERS: u32 = 1 << 4;
const TICK: u32 = 1 << 8;

/// What the kernel knows.
#[derive(Default)]
struct Kernel {
    bytes: usize,
    end: bool,
}

/// Who waits to read, by number, in the order in which they came.
#[derive(Default)]
struct Waiting {
    /// The first, while it is the only one, or was when it came.
    first: Option<usize>,
    more: Vec<usize>,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }
}

/// A source and those who read from it.
struct Socket {
    kernel: Mutex<Kernel>,
    readiness: AtomicU32,
    waiting: Mutex<Waiting>,
    readers: [Green; 2],
}

impl Socket {
    /// `readiness` is READ if nobody has tried yet.
    fn new(readiness: u32) -> Arc<Socket> {
        Arc::new(Socket {
            kernel: Mutex::new(Kernel::default()),
            readiness: AtomicU32::new(readiness),
            waiting: Mutex::new(Waiting::default()),
            readers: [Green::new(), Green::new()],
        })
    }

    // The kernel.

    fn receive(&self, bytes: usize, end: bool) {
        let mut kernel = self.kernel.lock().unwrap();
        kernel.bytes += bytes;
        kernel.end |= end;
    }

    /// `None` is `EAGAIN`.
    fn recv(&self, max: usize) -> Option<usize> {
        let mut kernel = self.kernel.lock().unwrap();
        let n = kernel.bytes.min(max);
        kernel.bytes -= n;
        (n > 0 || kernel.end).then_some(n)
    }

    // The source.

    fn ready(&self) -> Option<u32> {
        let seen = self.readiness.load(Acquire);
        (seen & (READ | READ_END) != 0).then_some(seen)
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

    fn wake_one(&self) {
        let claim = |reader: &usize| self.readers[*reader].word.claim(CLAIM_WOKEN);
        let claimed = {
            let mut waiting = self.waiting.lock().unwrap();
            let mut claimed = waiting.first.take().filter(claim);
            while claimed.is_none() && !waiting.more.is_empty() {
                claimed = Some(waiting.more.remove(0)).filter(claim);
            }
            if waiting.is_empty() {
                self.readiness.fetch_and(!HAS_READERS, AcqRel);
            }
            claimed
        };
        if let Some(reader) = claimed {
            self.readers[reader].make_runnable();
        }
    }

    fn pass_on(&self) {
        let now = self.readiness.load(Relaxed);
        if now & HAS_READERS != 0 && now & (READ | READ_END) != 0 {
            self.wake_one();
        }
    }

    fn on_event(&self, bits: u32) {
        let mut before = self.readiness.load(Relaxed);
        while let Err(now) = {
            let next = (before | bits).wrapping_add(TICK);
            self.readiness
                .compare_exchange(before, next, AcqRel, Relaxed)
        } {
            before = now;
        }
        if before & HAS_READERS != 0 {
            self.wake_one();
        }
    }

    /// Parks reader `me` until the socket may be ready. `false`: it was cancelled.
    fn wait(&self, me: usize, ends: Ends) -> bool {
        let green = &self.readers[me];
        if green.word.open(ends).is_err() {
            return false;
        }
        let before = {
            let mut waiting = self.waiting.lock().unwrap();
            if waiting.is_empty() {
                waiting.first = Some(me);
            } else {
                waiting.more.push(me);
            }
            self.readiness.fetch_or(HAS_READERS, AcqRel)
        };
        let parks = before & (READ | READ_END) == 0;
        let ended = if parks { green.switch() } else { CLAIM_WOKEN };
        // Whoever woke it has taken the waiter out.
        if !(parks && ended == CLAIM_WOKEN) {
            let mut waiting = self.waiting.lock().unwrap();
            if waiting.first == Some(me) {
                waiting.first = None;
            } else {
                waiting.more.retain(|&other| other != me);
            }
            if waiting.is_empty() {
                self.readiness.fetch_and(!HAS_READERS, AcqRel);
            }
        }
        if !parks && !green.word.close() {
            green.switch();
        }
        ended != CLAIM_CANCEL
    }

    // The operations (`reactor/io.rs`).

    /// Reads up to `max` bytes, as from a stream socket; `None` if it was cancelled.
    fn read(&self, me: usize, max: usize, ends: Ends) -> Option<usize> {
        loop {
            let Some(seen) = self.ready() else {
                if !self.wait(me, ends) {
                    return None;
                }
                continue;
            };
            match self.recv(max) {
                None => self.clear(READ | READ_END, seen),
                Some(n) => {
                    if 0 < n && n < max && seen & READ_END == 0 {
                        self.clear(READ, seen);
                    }
                    self.pass_on();
                    return Some(n);
                }
            }
        }
    }

    fn check(&self) {
        assert!(self.waiting.lock().unwrap().is_empty());
        assert_eq!(self.readiness.load(Relaxed) & HAS_READERS, 0);
        self.readers.iter().for_each(Green::check);
    }
}

#[test]
fn an_edge_at_any_moment_is_not_lost() {
    for readiness in [0, READ] {
        loom::model(move || {
            let socket = Socket::new(readiness);
            let reactor = beside(&socket, |socket| {
                socket.receive(1, false);
                socket.on_event(READ);
            });
            assert_eq!(socket.read(0, 1, LOCK), Some(1));
            reactor.join().unwrap();
            socket.check();
        });
    }
}

#[test]
fn a_short_read_does_not_hide_the_next_edge() {
    bounded(5, || {
        let socket = Socket::new(READ);
        let reactor = beside(&socket, |socket| {
            socket.receive(1, false);
            socket.on_event(READ);
            socket.receive(1, false);
            socket.on_event(READ);
        });
        let mut n = 0;
        while n < 2 {
            n += socket.read(0, 2, LOCK).unwrap();
        }
        reactor.join().unwrap();
        socket.check();
    });
}

#[test]
fn the_end_that_came_with_data_is_met() {
    loom::model(|| {
        let socket = Socket::new(0);
        let reactor = beside(&socket, |socket| {
            // One event for both, and no other follows.
            socket.receive(1, true);
            socket.on_event(READ | READ_END);
        });
        assert_eq!(socket.read(0, 2, LOCK), Some(1));
        assert_eq!(socket.read(0, 2, LOCK), Some(0));
        reactor.join().unwrap();
        socket.check();
    });
}

#[test]
fn one_edge_serves_two_readers() {
    bounded(3, || {
        let socket = Socket::new(0);
        let other = beside(&socket, |socket| socket.read(1, 1, LOCK));
        let reactor = beside(&socket, |socket| {
            socket.receive(2, false);
            socket.on_event(READ);
        });
        assert_eq!(socket.read(0, 1, LOCK), Some(1));
        assert_eq!(other.join().unwrap(), Some(1));
        reactor.join().unwrap();
        socket.check();
    });
}

#[test]
fn a_cancelled_reader_does_not_keep_the_turn() {
    bounded(2, || {
        let socket = Socket::new(0);
        let other = beside(&socket, |socket| socket.read(1, 1, POINT));
        let reactor = beside(&socket, |socket| {
            socket.receive(2, false);
            socket.on_event(READ);
        });
        let canceller = beside(&socket, |socket| {
            let green = &socket.readers[1];
            green.wake_if(green.word.cancel());
        });
        assert_eq!(socket.read(0, 1, LOCK), Some(1));
        assert!(matches!(other.join().unwrap(), Some(1) | None));
        reactor.join().unwrap();
        canceller.join().unwrap();
        socket.check();
    });
}

#[test]
fn a_reader_that_takes_all_leaves_nobody_asleep_for_ever() {
    bounded(2, || {
        let socket = Socket::new(0);
        let other = beside(&socket, |socket| socket.read(1, 1, LOCK));
        let reactor = beside(&socket, |socket| {
            socket.receive(2, false);
            socket.on_event(READ);
            thread::yield_now();
            socket.receive(1, false);
            socket.on_event(READ);
        });
        let mine = socket.read(0, 2, LOCK).unwrap();
        assert!(mine == 1 || mine == 2);
        assert_eq!(other.join().unwrap(), Some(1));
        reactor.join().unwrap();
        socket.check();
    });
}
