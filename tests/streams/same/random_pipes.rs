//! A random play for the two ends of a pipe, whose every line has one right outcome.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;

use socket2::SockRef;

use super::root::io::{PipeReader, PipeWriter, pipe};
use super::thread;
use crate::support::Random;

/// Less than the system has room for, so that writing it never waits.
const WRITES_MAX: usize = 8;

/// A pipe: the handles of its ends, and what is on its way.
struct Pipe {
    readers: Vec<PipeReader>,
    writers: Vec<PipeWriter>,
    coming: Vec<u8>,
    /// Since it was empty last.
    n_writes: usize,
}

impl Pipe {
    fn new() -> Self {
        let (reader, writer) = pipe().unwrap();
        Pipe {
            readers: vec![reader],
            writers: vec![writer],
            coming: Vec::new(),
            n_writes: 0,
        }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        self.coming.extend_from_slice(bytes);
        self.n_writes += 1;
    }

    fn take(&mut self, n: usize) -> Vec<u8> {
        let taken = self.coming.drain(..n.min(self.coming.len())).collect();
        if self.coming.is_empty() {
            self.n_writes = 0;
        }
        taken
    }
}

fn any<'a, T>(handles: &'a [T], random: &mut Random) -> &'a T {
    &handles[random.below(handles.len() as u64) as usize]
}

/// Acts for a while, and returns the outcome of every operation.
pub(crate) fn play(mut random: Random, n_acts: usize) -> Vec<String> {
    let mut outcomes = Vec::new();
    let mut pipe = Pipe::new();
    while outcomes.len() < n_acts {
        if let Some((act, outcome)) = act(&mut pipe, &mut random) {
            outcomes.push(format!("{act}: {outcome}"));
        }
    }
    outcomes
}

fn show<T: std::fmt::Debug>(result: std::io::Result<T>) -> String {
    format!("{:?}", result.map_err(|error| error.kind()))
}

fn some_bytes(random: &mut Random) -> Vec<u8> {
    let n = 1 + random.below(1500) as usize;
    let first = random.next() as u8;
    (0..n).map(|i| first.wrapping_add(i as u8)).collect()
}

/// Something that is done with the pipe; `None` if this is not the time for it.
fn act(pipe: &mut Pipe, random: &mut Random) -> Option<(&'static str, String)> {
    let can_write = pipe.n_writes < WRITES_MAX;
    match random.below(14) {
        0..=2 if can_write => {
            let bytes = some_bytes(random);
            let outcome = show(any(&pipe.writers, random).write(&bytes));
            pipe.wrote(&bytes);
            Some(("write", outcome))
        }
        3 if can_write => {
            let (first, second) = (some_bytes(random), some_bytes(random));
            let slices = [&first[..], &[], &second].map(IoSlice::new);
            let outcome = show(any(&pipe.writers, random).write_vectored(&slices));
            pipe.wrote(&[first, second].concat());
            Some(("write slices", outcome))
        }
        4 => {
            let outcome = show(any(&pipe.writers, random).write(&[]));
            Some((
                "write nothing",
                outcome + &show(any(&pipe.readers, random).read(&mut [])),
            ))
        }
        5..=7 if !pipe.coming.is_empty() => {
            let mut room = vec![0; 1 + random.below(4000) as usize];
            let expected = pipe.take(room.len());
            let mut reader = any(&pipe.readers, random);
            let outcome = match random.below(2) {
                0 => reader.read(&mut room),
                _ => {
                    let at = random.below(room.len() as u64) as usize;
                    let (first, second) = room.split_at_mut(at);
                    let mut slices = [first, &mut [], second].map(IoSliceMut::new);
                    reader.read_vectored(&mut slices)
                }
            };
            assert_eq!(room[..expected.len()], expected, "{outcome:?}");
            Some(("read", show(outcome)))
        }
        8 if pipe.coming.is_empty() => {
            let (one, other) = (any(&pipe.readers, random), any(&pipe.readers, random));
            SockRef::from(one).set_nonblocking(true).unwrap();
            let outcome = show((&*other).read(&mut [0; 4]));
            SockRef::from(one).set_nonblocking(false).unwrap();
            Some(("read nothing", outcome))
        }
        9 if pipe.coming.is_empty() => {
            let mut waiting = any(&pipe.readers, random).try_clone().unwrap();
            // More than there is room for at once, now and then.
            let n = if random.below(8) == 0 {
                300_000
            } else {
                1 + random.below(3000) as usize
            };
            let bytes: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
            let reader = thread::spawn(move || {
                let mut room = vec![0; n];
                let outcome = show(waiting.read_exact(&mut room));
                (outcome, room)
            });
            for _ in 0..random.below(3) {
                thread::yield_now();
            }
            let (first, second) = bytes.split_at(random.below(n as u64) as usize);
            let outcome = show(any(&pipe.writers, random).write_all(first));
            let outcome = outcome + &show(any(&pipe.writers, random).write_all(second));
            let (read, room) = reader.join().unwrap();
            assert!(room == bytes);
            Some(("read what comes", outcome + &read))
        }
        10 => {
            let reader = any(&pipe.readers, random).try_clone();
            let writer = any(&pipe.writers, random).try_clone();
            let outcome = [reader.is_ok(), writer.is_ok()];
            pipe.readers.extend(reader);
            pipe.writers.extend(writer);
            pipe.readers.truncate(3);
            pipe.writers.truncate(3);
            Some(("clone", format!("{outcome:?}")))
        }
        11 => {
            let reader = OwnedFd::from(pipe.readers.swap_remove(0));
            let writer = OwnedFd::from(pipe.writers.swap_remove(0));
            let outcome = show(SockRef::from(&reader).nonblocking())
                + &show(SockRef::from(&writer).nonblocking());
            pipe.readers.push(PipeReader::from(reader));
            pipe.writers.push(PipeWriter::from(writer));
            Some(("through descriptors", outcome))
        }
        12 if random.below(4) == 0 => {
            // No writer is left: what was written comes, and then the end.
            pipe.writers.clear();
            let mut bytes = Vec::new();
            let mut reader = any(&pipe.readers, random);
            let outcome = show(reader.read_to_end(&mut bytes));
            assert_eq!(bytes, pipe.coming);
            let outcome = outcome + &show(reader.read(&mut [0; 4]));
            *pipe = Pipe::new();
            Some(("no writer", outcome))
        }
        13 if random.below(4) == 0 => {
            pipe.readers.clear();
            let mut writer = any(&pipe.writers, random);
            // A process that is being forked may keep the other end open for a moment.
            let outcome = loop {
                match writer.write_all(b"x") {
                    Ok(()) => thread::yield_now(),
                    Err(error) => break format!("{:?}", error.kind()),
                }
            };
            let outcome = outcome + &show(writer.write_vectored(&[IoSlice::new(b"x")]));
            *pipe = Pipe::new();
            Some(("no reader", outcome))
        }
        _ => None,
    }
}
