//! A random play for two ends of a stream of the Unix domain, whose every line has one right outcome.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::SockRef;

use super::root::net::Shutdown;
use super::root::os::unix::net::UnixStream;
use super::thread;
use crate::places::Fds;
use crate::support::Random;

/// Less than the system buffers, so that writing it never waits; small writes take much more room
/// than they have bytes.
const WRITES_MAX: usize = 40;

/// One end: its handles, and what must be true of it.
struct End {
    handles: Vec<UnixStream>,
    /// What is on its way to it: bytes, and whether a descriptor came with them.
    coming: Vec<(Vec<u8>, bool)>,
    has_ended: bool,
}

impl End {
    fn new(stream: UnixStream) -> Self {
        End {
            handles: vec![stream],
            coming: Vec::new(),
            has_ended: false,
        }
    }

    fn any(&self, random: &mut Random) -> &UnixStream {
        &self.handles[random.below(self.handles.len() as u64) as usize]
    }

    /// What a read into room for `n` bytes takes.
    fn take(&mut self, n: usize) -> Vec<u8> {
        let mut taken = Vec::new();
        while taken.len() < n && !self.coming.is_empty() {
            let (bytes, has_fd) = &mut self.coming[0];
            let part = bytes.len().min(n - taken.len());
            taken.extend(bytes.drain(..part));
            let stops = *has_fd;
            // Where descriptors were passed a read ends, also in the middle.
            if bytes.is_empty() {
                self.coming.remove(0);
            } else {
                *has_fd = false;
            }
            if stops {
                break;
            }
        }
        taken
    }
}

fn connect() -> [End; 2] {
    <[UnixStream; 2]>::from(UnixStream::pair().unwrap()).map(End::new)
}

/// Acts for a while, and returns the outcome of every operation.
pub(crate) fn play(mut random: Random, n_acts: usize) -> Vec<String> {
    let mut outcomes = Vec::new();
    let mut ends = connect();
    while outcomes.len() < n_acts {
        if random.below(2) == 0 {
            ends.reverse();
        }
        if let Some((act, outcome)) = act(&mut ends, &mut random) {
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

/// Something that `me` does; `None` if this is not the time for it.
fn act(ends: &mut [End; 2], random: &mut Random) -> Option<(&'static str, String)> {
    let [me, peer] = ends;
    let can_write = !me.has_ended && peer.coming.len() < WRITES_MAX;
    match random.below(17) {
        0..=2 if can_write => {
            let bytes = some_bytes(random);
            let outcome = show(me.any(random).write(&bytes));
            peer.coming.push((bytes, false));
            Some(("write", outcome))
        }
        3 if can_write => {
            let (first, second) = (some_bytes(random), some_bytes(random));
            let slices = [&first[..], &[], &second].map(IoSlice::new);
            let outcome = show(me.any(random).write_vectored(&slices));
            peer.coming.push(([first, second].concat(), false));
            Some(("write slices", outcome))
        }
        4 if can_write => {
            let bytes = some_bytes(random);
            Fds::send(me.any(random), &bytes);
            peer.coming.push((bytes, true));
            Some(("pass a descriptor", String::new()))
        }
        5..=7 if !me.coming.is_empty() => {
            let mut room = vec![0; 1 + random.below(4000) as usize];
            let expected = me.take(room.len());
            let outcome = match random.below(2) {
                0 => me.any(random).read(&mut room),
                _ => {
                    let at = random.below(room.len() as u64) as usize;
                    let (first, second) = room.split_at_mut(at);
                    let mut slices = [first, &mut [], second].map(IoSliceMut::new);
                    me.any(random).read_vectored(&mut slices)
                }
            };
            assert_eq!(room[..expected.len()], expected, "{outcome:?}");
            Some(("read", show(outcome)))
        }
        8 if me.coming.is_empty() && peer.has_ended => {
            let outcome = show(me.any(random).read(&mut [0; 4]));
            Some(("read the end", outcome))
        }
        8 if me.coming.is_empty() => {
            let (one, other) = (me.any(random), me.any(random));
            let outcome = if random.below(2) == 0 {
                one.set_nonblocking(true).unwrap();
                let outcome = show((&*other).read(&mut [0; 4]));
                one.set_nonblocking(false).unwrap();
                outcome
            } else {
                let before = one.read_timeout().unwrap();
                one.set_read_timeout(Some(Duration::from_micros(50)))
                    .unwrap();
                let outcome = show((&*other).read(&mut [0; 4]));
                other.set_read_timeout(before).unwrap();
                outcome
            };
            Some(("read nothing", outcome))
        }
        9 if can_write && peer.coming.is_empty() => {
            let mut waiting = peer.any(random).try_clone().unwrap();
            let bytes = some_bytes(random);
            let n = bytes.len();
            let reader = thread::spawn(move || {
                let mut room = vec![0; n];
                let outcome = show(waiting.read_exact(&mut room));
                (outcome, room)
            });
            for _ in 0..random.below(3) {
                thread::yield_now();
            }
            let (first, second) = bytes.split_at(random.below(n as u64) as usize);
            let outcome = show((me.any(random)).write_all(first));
            let outcome = outcome + &show((me.any(random)).write_all(second));
            let (read, room) = reader.join().unwrap();
            assert_eq!(room, bytes);
            Some(("read what comes", outcome + &read))
        }
        10 if me.handles.len() < 3 => {
            let clone = me.any(random).try_clone();
            let outcome = show(clone.as_ref().map(drop).map_err(|e| e.kind().into()));
            me.handles.extend(clone);
            Some(("clone", outcome))
        }
        10 => {
            me.handles.swap_remove(0);
            Some(("drop a clone", String::new()))
        }
        // Clones share their settings in greenstd only with those that never were descriptors.
        11 if me.handles.len() == 1 => {
            let stream = me.handles.pop().unwrap();
            let fd = OwnedFd::from(stream);
            let outcome = show(SockRef::from(&fd).nonblocking());
            me.handles.push(UnixStream::from(fd));
            Some(("through a descriptor", outcome))
        }
        12 => {
            let (one, other) = (me.any(random), me.any(random));
            let seconds = random.below(4);
            let timeout = (seconds > 0).then(|| Duration::from_secs(1000 + seconds));
            let outcome = match random.below(3) {
                0 => show(one.set_read_timeout(timeout)) + &show(other.read_timeout()),
                1 => show(one.set_write_timeout(timeout)) + &show(other.write_timeout()),
                _ => show(one.set_read_timeout(Some(Duration::ZERO))) + &show(one.take_error()),
            };
            Some(("settings", outcome))
        }
        13 if random.below(4) == 0 && !me.has_ended => {
            me.has_ended = true;
            let outcome = show(me.any(random).shutdown(Shutdown::Write));
            Some(("end", outcome + &show(me.any(random).write(b"x"))))
        }
        14 if random.below(4) == 0 && !me.has_ended => {
            // One end goes, and what it had not read is an error for the other.
            let was_read = me.coming.is_empty();
            me.handles.clear();
            let mut outcomes = vec![was_read.to_string()];
            let stream = peer.any(random).try_clone().unwrap();
            let mut stream = &stream;
            // To the end: a process that is being forked may keep the other one open for a moment.
            loop {
                let read = stream.read(&mut [0; 1000]);
                let is_end = !matches!(read, Ok(n) if n > 0);
                outcomes.push(show(read.map(|n| n > 0)));
                if is_end {
                    break;
                }
            }
            outcomes.push(show(stream.read(&mut [0; 4])));
            outcomes.push(show(stream.write(b"x")));
            outcomes.push(show(stream.write_vectored(&[IoSlice::new(b"x")])));
            outcomes.push(show(stream.peer_addr()));
            *ends = connect();
            Some(("close", outcomes.join(" ")))
        }
        15 if random.below(4) == 0 && can_write && peer.coming.is_empty() => {
            // More than is on its way at once, to one who reads meanwhile.
            let n = 600_000;
            let mut reading = peer.any(random).try_clone().unwrap();
            let reader = thread::spawn(move || show(reading.read_exact(&mut vec![0; n])));
            let outcome = show(me.any(random).write_all(&vec![1; n]));
            Some(("send a lot", outcome + &reader.join().unwrap()))
        }
        16 if random.below(4) == 0 && can_write && peer.coming.is_empty() => {
            // No room, and then a little.
            let mut stream = me.any(random);
            let before = stream.write_timeout().unwrap();
            if random.below(2) == 0 {
                stream
                    .set_write_timeout(Some(Duration::from_micros(50)))
                    .unwrap();
            } else {
                stream.set_nonblocking(true).unwrap();
            }
            let mut n_written = 0;
            let outcome = loop {
                match stream.write(&[9; 1000]) {
                    Ok(n) => n_written += n,
                    Err(error) => break format!("{:?}", error.kind()),
                }
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_write_timeout(before).unwrap();
            let mut outcomes = vec![outcome];
            for _ in 0..random.below(4) {
                outcomes.push(show(peer.any(random).read_exact(&mut [0; 1000])));
                outcomes.push(show(me.any(random).write(&[9; 1000])));
            }
            let all = &mut vec![0; n_written];
            outcomes.push(show(peer.any(random).read_exact(all)));
            Some(("fill", outcomes.join(" ")))
        }
        _ => None,
    }
}
