//! A random play for two sockets that exchange datagrams, whose every line has one right outcome.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::Duration;

use socket2::SockRef;

use super::root::net::{Shutdown, UdpSocket};
use super::root::os::unix::net::UnixDatagram;
use super::thread;
use crate::places::TempPath;
use crate::support::Random;

/// Fewer than a queue holds.
const IN_FLIGHT_MAX: usize = 8;

fn show<T: std::fmt::Debug>(result: std::io::Result<T>) -> String {
    format!("{:?}", result.map_err(|error| error.kind()))
}

fn some_bytes(random: &mut Random) -> Vec<u8> {
    let n = random.below(1500) as usize;
    let first = random.next() as u8;
    (0..n).map(|i| first.wrapping_add(i as u8)).collect()
}

macro_rules! play {
    ($play:ident, $Socket:ident, $connect:expr, $special:expr) => {
        /// Acts for a while, and returns the outcome of every operation.
        pub(crate) fn $play(mut random: Random, n_acts: usize) -> Vec<String> {
            /// One end: its handles, and what is on its way to it.
            struct End {
                handles: Vec<$Socket>,
                coming: VecDeque<Vec<u8>>,
            }

            impl End {
                fn any(&self, random: &mut Random) -> &$Socket {
                    &self.handles[random.below(self.handles.len() as u64) as usize]
                }
            }

            fn act(
                [me, peer]: &mut [End; 2],
                random: &mut Random,
            ) -> Option<(&'static str, String)> {
                match random.below(13) {
                    0..=2 if peer.coming.len() < IN_FLIGHT_MAX => {
                        let bytes = some_bytes(random);
                        let outcome = show(me.any(random).send(&bytes));
                        peer.coming.push_back(bytes);
                        Some(("send", outcome))
                    }
                    3..=6 if !me.coming.is_empty() => {
                        let bytes = me.coming.pop_front().unwrap();
                        let mut room = vec![0; random.below(2000) as usize];
                        let outcome = match random.below(2) {
                            0 => show(me.any(random).recv(&mut room)),
                            _ => show(me.any(random).recv_from(&mut room).map(|(n, _)| n)),
                        };
                        let n = room.len().min(bytes.len());
                        assert_eq!(room[..n], bytes[..n], "{outcome}");
                        Some(("receive", outcome))
                    }
                    7 if me.coming.is_empty() => {
                        let (one, other) = (me.any(random), me.any(random));
                        let outcome = if random.below(2) == 0 {
                            one.set_nonblocking(true).unwrap();
                            let outcome = show(other.recv(&mut [0; 4]));
                            let outcome = outcome + &show(other.recv_from(&mut [0; 4]));
                            one.set_nonblocking(false).unwrap();
                            outcome
                        } else {
                            let before = one.read_timeout().unwrap();
                            one.set_read_timeout(Some(Duration::from_micros(50)))
                                .unwrap();
                            let outcome = show(other.recv(&mut [0; 4]));
                            other.set_read_timeout(before).unwrap();
                            outcome
                        };
                        Some(("receive nothing", outcome))
                    }
                    8 if peer.coming.is_empty() => {
                        let waiting = peer.any(random).try_clone().unwrap();
                        let receiver = thread::spawn(move || {
                            let mut room = [0; 2000];
                            let n = waiting.recv(&mut room).unwrap();
                            room[..n].to_vec()
                        });
                        for _ in 0..random.below(3) {
                            thread::yield_now();
                        }
                        let bytes = some_bytes(random);
                        let outcome = show(me.any(random).send(&bytes));
                        assert_eq!(receiver.join().unwrap(), bytes);
                        Some(("receive what comes", outcome))
                    }
                    9 if me.handles.len() < 3 => {
                        let clone = me.any(random).try_clone();
                        let outcome = show(clone.as_ref().map(drop).map_err(|e| e.kind().into()));
                        me.handles.extend(clone);
                        Some(("clone", outcome))
                    }
                    9 => {
                        me.handles.swap_remove(0);
                        Some(("drop a clone", String::new()))
                    }
                    // Clones share their settings in greenstd only with those that never were
                    // descriptors.
                    10 if me.handles.len() == 1 => {
                        let fd = OwnedFd::from(me.handles.pop().unwrap());
                        let outcome = show(SockRef::from(&fd).nonblocking());
                        me.handles.push($Socket::from(fd));
                        Some(("through a descriptor", outcome))
                    }
                    11 => {
                        let (one, other) = (me.any(random), me.any(random));
                        let seconds = random.below(4);
                        let timeout = (seconds > 0).then(|| Duration::from_secs(1000 + seconds));
                        let outcome = match random.below(3) {
                            0 => show(one.set_read_timeout(timeout)) + &show(other.read_timeout()),
                            1 => {
                                show(one.set_write_timeout(timeout)) + &show(other.write_timeout())
                            }
                            _ => show(one.set_read_timeout(Some(Duration::ZERO))),
                        };
                        Some(("settings", outcome + &show(one.take_error())))
                    }
                    12 => {
                        let (mine, theirs) = (me.any(random), peer.any(random));
                        let first = me.coming.front();
                        Some(("special", $special(mine, theirs, first, random)))
                    }
                    _ => None,
                }
            }

            let mut outcomes = Vec::new();
            let mut ends = $connect().map(|socket| End {
                handles: vec![socket],
                coming: VecDeque::new(),
            });
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
    };
}

play!(play_udp, UdpSocket, udp_pair, udp_special);
play!(play_unix, UnixDatagram, unix_pair, unix_special);

fn udp_pair() -> [UdpSocket; 2] {
    let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [near, far] = &sockets;
    near.connect(far.local_addr().unwrap()).unwrap();
    far.connect(near.local_addr().unwrap()).unwrap();
    sockets
}

fn udp_special(
    mine: &UdpSocket,
    theirs: &UdpSocket,
    first: Option<&Vec<u8>>,
    random: &mut Random,
) -> String {
    assert_eq!(mine.local_addr().unwrap(), theirs.peer_addr().unwrap());
    let value = random.below(100) as u32 + 1;
    match (random.below(7), first) {
        (0, _) => show(mine.set_ttl(value)) + &show(mine.ttl()),
        (1, _) => show(mine.set_broadcast(value > 50)) + &show(mine.broadcast()),
        (2, _) => show(mine.send(&[0; 65_508])),
        (3, Some(first)) => {
            let mut room = vec![0; random.below(2000) as usize];
            let outcome = match random.below(2) {
                0 => show(mine.peek(&mut room)),
                _ => show(mine.peek_from(&mut room).map(|(n, _)| n)),
            };
            let n = room.len().min(first.len());
            assert_eq!(room[..n], first[..n], "{outcome}");
            outcome
        }
        (4, _) => nobody(random),
        (5, _) => strangers(random),
        _ => show(mine.send_to(b"", &[][..])),
    }
}

/// Sends to nobody, who says so, to whoever asks next.
fn nobody(random: &mut Random) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    // A socket that is connected elsewhere keeps its port from everybody else.
    let deaf = UdpSocket::bind("127.0.0.1:0").unwrap();
    deaf.connect("127.0.0.1:9").unwrap();
    socket.connect(deaf.local_addr().unwrap()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1000)))
        .unwrap();
    let sent = show(socket.send(b"hello?"));
    let heard = match random.below(3) {
        0 => show(socket.recv(&mut [0; 4])),
        1 => show(socket.recv_from(&mut [0; 4]).map(drop)),
        _ => show(socket.peek(&mut [0; 4])),
    };
    socket.set_nonblocking(true).unwrap();
    let again = show(socket.recv(&mut [0; 4])) + &show(socket.take_error());
    [sent, heard, again].join(" ")
}

/// Datagrams between sockets that are not connected, or to somebody else.
fn strangers(random: &mut Random) -> String {
    let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [one, other, third] = &sockets;
    let address = other.local_addr().unwrap();
    let mut outcomes = vec![show(one.send(b"a")), show(one.peer_addr())];
    if random.below(2) == 0 {
        one.connect(third.local_addr().unwrap()).unwrap();
    }
    let bytes = some_bytes(random);
    outcomes.push(show(one.send_to(&bytes, address)));
    let mut room = vec![0; random.below(2000) as usize];
    let (n, from) = other.recv_from(&mut room).unwrap();
    assert_eq!(
        (n, from),
        (room.len().min(bytes.len()), one.local_addr().unwrap())
    );
    assert_eq!(room[..n], bytes[..n]);
    outcomes.push(show(one.send_to(b"a", "[::1]:9")));
    outcomes.join(" ")
}

fn unix_pair() -> [UnixDatagram; 2] {
    UnixDatagram::pair().unwrap().into()
}

fn unix_special(
    mine: &UnixDatagram,
    _: &UnixDatagram,
    _: Option<&Vec<u8>>,
    random: &mut Random,
) -> String {
    match random.below(6) {
        0 => show(mine.local_addr()) + &show(mine.peer_addr()),
        1 => show(mine.send_to(b"a", "/nowhere/at all")),
        2 => show(mine.send(&vec![0; 10 << 20])),
        3 => full(random),
        4 => gone(random),
        _ => shut(random),
    }
}

/// Until a queue is full, and some time longer.
fn full(random: &mut Random) -> String {
    let path = TempPath::new();
    let (near, far) = match random.below(3) {
        0 => UnixDatagram::pair().unwrap(),
        n => {
            let near = UnixDatagram::unbound().unwrap();
            let far = UnixDatagram::bind(&path).unwrap();
            if n == 1 {
                near.connect(&path).unwrap();
            }
            (near, far)
        }
    };
    let is_connected = near.peer_addr().is_ok();
    let send = |near: &UnixDatagram, bytes: &[u8]| match is_connected {
        true => near.send(bytes),
        false => near.send_to(bytes, &path),
    };
    let waits = random.below(2) == 0;
    if waits {
        near.set_write_timeout(Some(Duration::from_micros(50)))
            .unwrap();
    } else {
        near.set_nonblocking(true).unwrap();
    }
    let mut n_sent = 0;
    let error = loop {
        match send(&near, b"fill") {
            Ok(_) => n_sent += 1,
            Err(error) => break error.kind(),
        }
    };
    near.set_write_timeout(None).unwrap();
    near.set_nonblocking(false).unwrap();
    let mut outcomes = vec![format!("{n_sent} {error:?}")];
    for _ in 0..random.below(4) {
        // One out, one in.
        outcomes.push(show(far.recv(&mut [0; 9])) + &show(send(&near, b"more")));
    }
    let n_more = random.below(20) as usize;
    let receiver = thread::spawn(move || {
        let received = (0..n_sent + n_more).map(|_| far.recv(&mut [0; 9]).unwrap());
        received.sum::<usize>()
    });
    (0..n_more).for_each(|_| assert_eq!(send(&near, b"last").unwrap(), 4));
    outcomes.push(receiver.join().unwrap().to_string());
    outcomes.join(" ")
}

/// The other end goes, with something that it has not received, or without.
fn gone(random: &mut Random) -> String {
    let (near, far) = UnixDatagram::pair().unwrap();
    for _ in 0..random.below(3) {
        near.send(b"unread").unwrap();
    }
    far.send(b"last").unwrap();
    drop(far);
    near.set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        outcomes.push(match random.below(3) {
            0 => show(near.recv(&mut [0; 9])),
            1 => show(near.recv_from(&mut [0; 9])),
            _ => show(near.send(b"hello?")),
        });
    }
    outcomes.join(" ")
}

/// One end shuts a direction, or both, while somebody waits or before.
fn shut(random: &mut Random) -> String {
    let (near, far) = UnixDatagram::pair().unwrap();
    let how = [Shutdown::Read, Shutdown::Write, Shutdown::Both][random.below(3) as usize];
    let waiting = (how != Shutdown::Write && random.below(2) == 0).then(|| {
        let waiting = near.try_clone().unwrap();
        thread::spawn(move || show(waiting.recv(&mut [0; 9])))
    });
    for _ in 0..random.below(3) {
        thread::yield_now();
    }
    let mut outcomes = vec![show(near.shutdown(how))];
    outcomes.extend(waiting.map(|waiting| waiting.join().unwrap()));
    near.set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    for _ in 0..3 {
        outcomes.push(match random.below(4) {
            0 => show(near.recv(&mut [0; 9])),
            1 => show(near.recv_from(&mut [0; 9])),
            2 => show(near.send(b"a")),
            _ => show(far.send(b"a")),
        });
    }
    outcomes.join(" ")
}
