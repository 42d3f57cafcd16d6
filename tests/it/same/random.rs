//! A random play for two ends of a connection, whose every line has one right outcome.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::net::{Shutdown, TcpListener, TcpStream};
use super::thread;
use crate::support::Random;

/// Less than the system buffers for a connection, so that writing it never waits.
const IN_FLIGHT_MAX: usize = 60_000;

/// One end: its handles, and what must be true of it.
struct End {
    handles: Vec<TcpStream>,
    /// Bytes on their way to it, and the value of the first of them.
    n_coming: usize,
    first: u8,
    has_ended: bool,
    is_deaf: bool,
}

impl End {
    fn new(stream: TcpStream) -> Self {
        End {
            handles: vec![stream],
            n_coming: 0,
            first: 0,
            has_ended: false,
            is_deaf: false,
        }
    }

    fn any(&self, random: &mut Random) -> &TcpStream {
        &self.handles[random.below(self.handles.len() as u64) as usize]
    }

    fn next_value(&self) -> u8 {
        self.first.wrapping_add(self.n_coming as u8)
    }

    fn took(&mut self, n: usize) {
        self.n_coming -= n;
        self.first = self.first.wrapping_add(n as u8);
    }
}

/// Bytes that tell their place.
fn bytes_from(first: u8, n: usize) -> Vec<u8> {
    (0..n).map(|i| first.wrapping_add(i as u8)).collect()
}

fn connect() -> [End; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    // Or the system waits up to 40 ms for more to send.
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    [client, server].map(End::new)
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

/// Something that `me` does; `None` if this is not the time for it.
fn act(ends: &mut [End; 2], random: &mut Random) -> Option<(&'static str, String)> {
    let [me, peer] = ends;
    let stays_open = !(me.has_ended && peer.has_ended);
    match random.below(26) {
        0..=2 if !me.has_ended && !peer.is_deaf => {
            let n = 1 + random.below(3000) as usize;
            if peer.n_coming + n > IN_FLIGHT_MAX {
                return None;
            }
            let bytes = bytes_from(peer.next_value(), n);
            let mut stream = me.any(random);
            let outcome = match random.below(3) {
                0 => {
                    let (a, b) = bytes.split_at(n / 2);
                    show(stream.write_vectored(&[IoSlice::new(a), IoSlice::new(b)]))
                }
                _ => show(stream.write(&bytes)),
            };
            peer.n_coming += n;
            Some(("write", outcome))
        }
        3 if me.has_ended => Some(("write after the end", show(me.any(random).write(b"x")))),
        4..=6 if me.n_coming > 0 => {
            let n = 1 + random.below(me.n_coming as u64) as usize;
            let mut bytes = vec![0; n];
            let outcome = show(me.any(random).read_exact(&mut bytes));
            assert!(bytes == bytes_from(me.first, n));
            me.took(n);
            Some(("read", outcome))
        }
        7 if me.n_coming > 0 => {
            let mut bytes = vec![0; me.n_coming];
            let (a, b) = bytes.split_at_mut(me.n_coming / 2);
            let room = &mut [IoSliceMut::new(a), IoSliceMut::new(b)];
            let mut stream = me.any(random);
            // How many come at once is up to the system.
            let n = stream.read_vectored(room).unwrap();
            let outcome = show(stream.read_exact(&mut bytes[n..]));
            assert!(n > 0 && bytes == bytes_from(me.first, me.n_coming));
            me.took(me.n_coming);
            Some(("read slices", outcome))
        }
        8 if me.n_coming > 0 => {
            let mut bytes = vec![0; 1 + random.below(100) as usize];
            let n = me.any(random).peek(&mut bytes).unwrap();
            assert!(n > 0 && bytes[..n] == bytes_from(me.first, n));
            Some(("peek", String::new()))
        }
        9 if me.n_coming == 0 && (peer.has_ended || me.is_deaf) => {
            let mut stream = me.any(random);
            let n = random.below(2) as usize;
            let outcome = [stream.peek(&mut [0; 4]), stream.read(&mut [0; 4][n..])].map(show);
            Some(("read the end", format!("{outcome:?}")))
        }
        10 if me.n_coming == 0 && !peer.has_ended && !me.is_deaf => {
            let (first, mut second) = (me.any(random), me.any(random));
            let outcome = if random.below(2) == 0 {
                first.set_nonblocking(true).unwrap();
                let outcome = show(second.read(&mut [0; 4]));
                second.set_nonblocking(false).unwrap();
                outcome
            } else {
                let before = second.read_timeout().unwrap();
                second
                    .set_read_timeout(Some(Duration::from_micros(100)))
                    .unwrap();
                let mut first = first;
                let outcome = show(first.read(&mut [0; 4]));
                first.set_read_timeout(before).unwrap();
                outcome
            };
            Some(("read nothing", outcome))
        }
        11 if me.n_coming == 0 && !peer.has_ended && !me.is_deaf && me.handles.len() < 3 => {
            // Somebody waits for what is sent later.
            let n = 1 + random.below(3000) as usize;
            let waiting = me.any(random).try_clone().unwrap();
            let reader = thread::spawn(move || {
                let mut bytes = vec![0; n];
                (&waiting).read_exact(&mut bytes).map(|()| bytes)
            });
            for _ in 0..random.below(3) {
                thread::yield_now();
            }
            let bytes = bytes_from(me.first, n);
            let outcome = show(peer.any(random).write_all(&bytes));
            assert!(reader.join().unwrap().unwrap() == bytes);
            me.first = me.first.wrapping_add(n as u8);
            Some(("send to one who waits", outcome))
        }
        12 if random.below(6) == 0 && !me.has_ended && !peer.is_deaf && peer.n_coming == 0 => {
            // Until there is no more room, and out again.
            let mut stream = me.any(random);
            stream.set_nonblocking(true).unwrap();
            let mut n_written = 0;
            let outcome = loop {
                match stream.write(&[9; 50_000]) {
                    Ok(n) => n_written += n,
                    Err(error) => break error.kind(),
                }
            };
            stream.set_nonblocking(false).unwrap();
            let mut all = vec![0; n_written];
            peer.any(random).read_exact(&mut all).unwrap();
            assert!(all.iter().all(|&byte| byte == 9));
            Some(("fill", format!("{outcome:?}")))
        }
        13 if random.below(8) == 0 && !me.has_ended && stays_open => {
            me.has_ended = true;
            let outcome = show(me.any(random).shutdown(Shutdown::Write));
            Some(("shut down writing", outcome))
        }
        14 if random.below(8) == 0 && me.n_coming == 0 && !me.is_deaf && stays_open => {
            me.is_deaf = true;
            let outcome = show(me.any(random).shutdown(Shutdown::Read));
            Some(("shut down reading", outcome))
        }
        15 if me.handles.len() < 3 => {
            let clone = me.any(random).try_clone();
            let outcome = show(clone.as_ref().map(drop).map_err(|e| e.kind().into()));
            me.handles.extend(clone);
            Some(("clone", outcome))
        }
        15 => {
            me.handles.swap_remove(0);
            Some(("drop a clone", String::new()))
        }
        // Clones share their settings in greenstd only with those that never were descriptors.
        16 if me.handles.len() == 1 => {
            let stream = me.handles.pop().unwrap();
            let mode = random.below(2) == 0;
            stream.set_nonblocking(mode).unwrap();
            let fd = OwnedFd::from(stream);
            let mut outcome = show(SockRef::from(&fd).nonblocking());
            let mut stream = TcpStream::from(fd);
            if mode && me.n_coming == 0 && !peer.has_ended && !me.is_deaf {
                outcome += &show(stream.read(&mut [0; 4]));
            }
            stream.set_nonblocking(false).unwrap();
            outcome += &show(SockRef::from(&stream).nonblocking());
            me.handles.push(stream);
            Some(("through a descriptor", outcome))
        }
        17 => {
            let (first, second) = (me.any(random), me.any(random));
            let seconds = random.below(4);
            let timeout = (seconds > 0).then(|| Duration::from_secs(1000 + seconds));
            let outcomes = match random.below(5) {
                0 => {
                    let set = show(first.set_read_timeout(timeout));
                    format!("{set} {}", show(second.read_timeout()))
                }
                1 => {
                    let set = show(first.set_write_timeout(timeout));
                    format!("{set} {}", show(second.write_timeout()))
                }
                2 => show(first.set_read_timeout(Some(Duration::ZERO))),
                3 => show(first.set_nodelay(seconds > 0)) + &show(second.nodelay()),
                _ => show(first.set_ttl(seconds as u32 * 10)) + &show(second.ttl()),
            };
            Some(("options", outcomes))
        }
        18 if stays_open => {
            let (mine, theirs) = (me.any(random), peer.any(random));
            assert_eq!(mine.local_addr().unwrap(), theirs.peer_addr().unwrap());
            Some(("take the error", show(mine.take_error())))
        }
        19 if random.below(6) == 0 && stays_open => {
            // One end goes; if it had not read all, the other is told so by a reset, which may
            // overtake what is on its way.
            let was_read = me.n_coming == 0;
            if !was_read && peer.n_coming > 0 {
                return None;
            }
            me.handles.clear();
            let mut stream = peer.any(random);
            let mut bytes = vec![0; peer.n_coming];
            let rest = show(stream.read_exact(&mut bytes));
            assert!(bytes == bytes_from(peer.first, peer.n_coming));
            let end = match stream.read(&mut [0; 4]) {
                Err(error) if error.kind() == ErrorKind::ConnectionReset && peer.is_deaf => Ok(0),
                end => end,
            };
            let outcome = format!("{was_read} {rest} {}", show(end));
            *ends = connect();
            Some(("close", outcome))
        }
        20 if random.below(6) == 0 && stays_open && me.n_coming + peer.n_coming == 0 => {
            // A reset, while somebody waits for it or before.
            let mut stream = peer.any(random).try_clone().unwrap();
            let can_read = !me.has_ended && !peer.is_deaf;
            SockRef::from(me.any(random))
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            let outcomes = if random.below(2) == 0 && can_read {
                let mut waiting = stream.try_clone().unwrap();
                let reader = thread::spawn(move || show(waiting.read(&mut [0; 4])));
                for _ in 0..random.below(3) {
                    thread::yield_now();
                }
                me.handles.clear();
                vec![reader.join().unwrap(), show(stream.read(&mut [0; 4]))]
            } else if can_read {
                me.handles.clear();
                let room = &mut [0; 4];
                let first = match random.below(3) {
                    0 => stream.read(room),
                    1 => stream.read_vectored(&mut [IoSliceMut::new(room)]),
                    _ => stream.peek(room),
                };
                vec![show(first), show(stream.read(&mut [0; 4]))]
            } else {
                return None;
            };
            let outcome = format!(
                "{outcomes:?} {} {} {} {}",
                show(stream.write(b"x")),
                show(stream.write_vectored(&[IoSlice::new(b"x")])),
                show(stream.peer_addr()),
                show(stream.shutdown(Shutdown::Both)),
            );
            *ends = connect();
            Some(("reset", outcome))
        }
        21 if random.below(6) == 0 && me.n_coming == 0 && !peer.has_ended && !me.is_deaf => {
            // A shutdown, while somebody waits for what does not come.
            let mut waiting = me.any(random).try_clone().unwrap();
            let reader = thread::spawn(move || show(waiting.read(&mut [0; 4])));
            for _ in 0..random.below(3) {
                thread::yield_now();
            }
            let how = if me.has_ended || random.below(2) == 0 {
                Shutdown::Read
            } else {
                me.has_ended = true;
                Shutdown::Both
            };
            me.is_deaf = true;
            let outcome = show(me.any(random).shutdown(how)) + &reader.join().unwrap();
            Some(("shut down who reads", outcome))
        }
        22 => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let outcome = match random.below(4) {
                0 => {
                    // A socket that does not listen keeps its port from everybody else.
                    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
                    deaf.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
                        .unwrap();
                    let address = deaf.local_addr().unwrap().as_socket().unwrap();
                    show(TcpStream::connect(address).map(drop))
                }
                1 => show(TcpListener::bind(address).map(drop)),
                2 => show(TcpStream::connect_timeout(&address, Duration::ZERO).map(drop)),
                _ => {
                    listener.set_nonblocking(true).unwrap();
                    let none = show(listener.accept().map(drop));
                    listener.set_nonblocking(false).unwrap();
                    let acceptor = thread::spawn(move || show(listener.accept().map(drop)));
                    let client = show(TcpStream::connect(address).map(drop));
                    none + &client + &acceptor.join().unwrap()
                }
            };
            Some(("listen and connect", outcome))
        }
        23 if me.n_coming > 0 => {
            // A timeout and a mode that do not matter once there is something to read.
            let (first, mut second) = (me.any(random), me.any(random));
            assert_eq!(first.peek(&mut [0]).unwrap(), 1);
            let before = first.read_timeout().unwrap();
            first
                .set_read_timeout(Some(Duration::from_micros(1)))
                .unwrap();
            first.set_nonblocking(random.below(2) == 0).unwrap();
            let mut bytes = [0; 1];
            let outcome = show(second.read(&mut bytes));
            first.set_nonblocking(false).unwrap();
            first.set_read_timeout(before).unwrap();
            assert_eq!(bytes, [me.first], "{outcome}");
            me.took(1);
            Some(("read what is there", outcome))
        }
        24 if random.below(3) == 0 && !me.has_ended && !peer.is_deaf && peer.n_coming == 0 => {
            // More than is on its way at once, to one who reads meanwhile.
            let n = 300_000;
            let mut reading = peer.any(random).try_clone().unwrap();
            let first = peer.first;
            let reader = thread::spawn(move || {
                let mut bytes = vec![0; n];
                let outcome = show(reading.read_exact(&mut bytes));
                assert!(bytes == bytes_from(first, n));
                outcome
            });
            let outcome = show(me.any(random).write_all(&bytes_from(first, n)));
            peer.first = first.wrapping_add(n as u8);
            Some(("send a lot", outcome + &reader.join().unwrap()))
        }
        25 if random.below(6) == 0 && !me.has_ended && !peer.is_deaf && peer.n_coming == 0 => {
            // No room, and a timeout.
            let mut stream = me.any(random);
            let before = stream.write_timeout().unwrap();
            stream
                .set_write_timeout(Some(Duration::from_micros(100)))
                .unwrap();
            let mut n_written = 0;
            let outcome = loop {
                match stream.write(&[9; 50_000]) {
                    Ok(n) => n_written += n,
                    Err(error) => break error.kind(),
                }
            };
            stream.set_write_timeout(before).unwrap();
            peer.any(random)
                .read_exact(&mut vec![0; n_written])
                .unwrap();
            Some(("fill until it is too late", format!("{outcome:?}")))
        }
        _ => None,
    }
}
