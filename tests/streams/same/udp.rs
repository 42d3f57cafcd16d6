//! UDP.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::root::net::UdpSocket;
use super::{run, thread};

const SHORT: Duration = Duration::from_millis(8);
const LONG: Duration = Duration::from_secs(1000);

fn bind() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Two that are connected with each other.
fn pair() -> (UdpSocket, UdpSocket) {
    let ((near, near_address), (far, far_address)) = (bind(), bind());
    near.connect(far_address).unwrap();
    far.connect(near_address).unwrap();
    (near, far)
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("should have failed").kind()
}

#[test]
fn what_is_sent_comes_back() {
    run(|| {
        let (server, address) = bind();
        let echo = thread::spawn(move || {
            let mut room = [0; 70_000];
            loop {
                let (n, peer) = server.recv_from(&mut room).unwrap();
                server.send_to(&room[..n], peer).unwrap();
                if n == 0 {
                    return;
                }
            }
        });
        let (client, _) = bind();
        let mut room = [0; 70_000];
        for n in [1, 2, 100, 1500, 9000, 65_507, 0] {
            let sent: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
            assert_eq!(client.send_to(&sent, address).unwrap(), n);
            assert_eq!(client.recv_from(&mut room).unwrap(), (n, address));
            assert!(room[..n] == sent);
        }
        echo.join().unwrap();
    });
}

#[test]
fn who_waits_gets_what_comes() {
    run(|| {
        let (server, address) = bind();
        let waiting = thread::spawn(move || {
            let mut room = [0; 10];
            (0..50).for_each(|n| assert_eq!(server.recv(&mut room).unwrap(), n % 10));
        });
        let (client, _) = bind();
        for n in 0..50 {
            thread::yield_now();
            client.send_to(&[7; 10][..n % 10], address).unwrap();
        }
        waiting.join().unwrap();
    });
}

#[test]
fn what_there_is_no_room_for_is_lost() {
    run(|| {
        let (near, far) = pair();
        let far_address = far.local_addr().unwrap();
        let mut room = [0; 3];
        for _ in 0..3 {
            far.send(b"truncated").unwrap();
        }
        far.send(b"next").unwrap();
        assert_eq!(near.recv(&mut room).unwrap(), 3);
        assert_eq!(near.recv_from(&mut room).unwrap(), (3, far_address));
        // Nothing at all is asked for, and a datagram taken for it.
        assert_eq!(near.recv(&mut []).unwrap(), 0);
        assert_eq!(near.recv_from(&mut room).unwrap(), (3, far_address));
        assert_eq!(&room, b"nex");
    });
}

#[test]
fn peeking_takes_nothing() {
    run(|| {
        let (near, far) = pair();
        let far_address = far.local_addr().unwrap();
        let sender = thread::spawn(move || {
            far.send(b"one").unwrap();
            far.send(b"second").unwrap();
        });
        let mut room = [0; 10];
        assert_eq!(near.peek(&mut room).unwrap(), 3);
        assert_eq!(near.peek_from(&mut room).unwrap(), (3, far_address));
        assert_eq!(near.peek(&mut room[..1]).unwrap(), 1);
        assert_eq!(near.recv(&mut room).unwrap(), 3);
        assert_eq!(near.peek_from(&mut room).unwrap(), (6, far_address));
        assert_eq!(near.recv(&mut room).unwrap(), 6);
        sender.join().unwrap();
    });
}

#[test]
fn who_is_connected_hears_nobody_else() {
    run(|| {
        let (near, far) = pair();
        let (stranger, _) = bind();
        stranger.send_to(b"hi", near.local_addr().unwrap()).unwrap();
        far.send(b"it is me").unwrap();
        let mut room = [0; 20];
        assert_eq!(near.recv(&mut room).unwrap(), 8);
        assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
        assert_eq!(kind(stranger.peer_addr()), ErrorKind::NotConnected);
        // Elsewhere is sent all the same, on Linux.
        near.send_to(b"hello", stranger.local_addr().unwrap())
            .unwrap();
        assert_eq!(stranger.recv(&mut room).unwrap(), 5);
    });
}

#[test]
fn nobody_at_the_other_end() {
    run(|| {
        let (near, _) = bind();
        let nobody = bind().1;
        near.connect(nobody).unwrap();
        near.send(b"hello?").unwrap();
        assert_eq!(kind(near.recv(&mut [0; 10])), ErrorKind::ConnectionRefused);
        // Once.
        near.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(kind(near.recv(&mut [0; 10])), ErrorKind::WouldBlock);
        // And to who waits already.
        near.set_read_timeout(Some(LONG)).unwrap();
        let near = Arc::new(near);
        let waiting = Arc::clone(&near);
        let waiting = thread::spawn(move || kind(waiting.recv(&mut [0; 10])));
        thread::yield_now();
        // One of two hears of it, who sends or who waits.
        while !waiting.is_finished() {
            let _ = near.send(b"hello?");
            thread::yield_now();
        }
        assert_eq!(waiting.join().unwrap(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn errors_are_stds() {
    run(|| {
        let (socket, address) = bind();
        assert_eq!(kind(UdpSocket::bind(address)), ErrorKind::AddrInUse);
        assert_eq!(
            kind(UdpSocket::bind("192.0.2.1:0")),
            ErrorKind::AddrNotAvailable
        );
        assert_eq!(
            kind(UdpSocket::bind(&[][..] as &[SocketAddr])),
            ErrorKind::InvalidInput
        );
        let none: &[SocketAddr] = &[];
        assert_eq!(kind(socket.send_to(b"a", none)), ErrorKind::InvalidInput);
        assert_eq!(
            socket.send_to(b"a", none).unwrap_err().to_string(),
            "no addresses to send data to"
        );
        assert_eq!(kind(socket.connect(none)), ErrorKind::InvalidInput);
        assert_eq!(
            kind(socket.send_to(b"a", "no address")),
            ErrorKind::InvalidInput
        );
        let too_long = vec![0; 65_508];
        let error = socket.send_to(&too_long, address).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
        // Not connected.
        let error = socket.send(b"a").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EDESTADDRREQ));
        let error = socket.send_to(b"a", "[::1]:9").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
        assert!(socket.take_error().unwrap().is_none());
    });
}

#[test]
fn of_several_addresses_one_is_taken() {
    run(|| {
        let (server, address) = bind();
        let elsewhere: SocketAddr = "192.0.2.1:0".parse().unwrap();
        let local: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let client = UdpSocket::bind(&[elsewhere, local][..]).unwrap();
        assert_eq!(client.local_addr().unwrap().ip(), local.ip());
        // The first, and no other.
        client.send_to(b"a", &[address, local][..]).unwrap();
        assert_eq!(server.recv(&mut [0; 4]).unwrap(), 1);
        let v6: SocketAddr = "[::1]:9".parse().unwrap();
        client.connect(&[v6, address][..]).unwrap();
        assert_eq!(client.peer_addr().unwrap(), address);
    });
}

#[test]
fn timeouts() {
    run(|| {
        let (near, far) = pair();
        for timeout in [None, Some(SHORT * 2), Some(LONG)] {
            near.set_read_timeout(timeout).unwrap();
            near.set_write_timeout(timeout).unwrap();
            assert_eq!(near.write_timeout().unwrap(), timeout);
        }
        for zero in [
            near.set_read_timeout(Some(Duration::ZERO)),
            near.set_write_timeout(Some(Duration::ZERO)),
        ] {
            assert_eq!(kind(zero), ErrorKind::InvalidInput);
        }
        assert_eq!(near.read_timeout().unwrap(), Some(LONG));
        let clone = near.try_clone().unwrap();
        clone.set_read_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        assert_eq!(kind(near.recv(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(near.recv_from(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(near.peek(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(near.peek_from(&mut [0])), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= SHORT * 4);
        far.send(b"a").unwrap();
        assert_eq!(near.recv(&mut [0]).unwrap(), 1);
    });
}

#[test]
fn nonblocking() {
    run(|| {
        let (near, far) = pair();
        let clone = near.try_clone().unwrap();
        clone.set_nonblocking(true).unwrap();
        assert!(SockRef::from(&near).nonblocking().unwrap());
        assert_eq!(kind(near.recv(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(kind(near.recv_from(&mut [0])), ErrorKind::WouldBlock);
        far.send(b"a").unwrap();
        assert_eq!(near.recv(&mut [0]).unwrap(), 1);
        near.set_nonblocking(false).unwrap();
        assert!(!SockRef::from(&clone).nonblocking().unwrap());
    });
}

#[test]
fn each_datagram_goes_to_one() {
    run(|| {
        let (server, address) = bind();
        let server = Arc::new(server);
        let receivers: Vec<_> = (0..4)
            .map(|_| {
                let server = Arc::clone(&server);
                thread::spawn(move || {
                    let (mut sum, mut room) = (0, [0; 4]);
                    while server.recv(&mut room).unwrap() > 0 {
                        sum += u32::from_le_bytes(room);
                    }
                    sum
                })
            })
            .collect();
        let (client, _) = bind();
        for n in 1..=100_u32 {
            client.send_to(&n.to_le_bytes(), address).unwrap();
            if n.is_multiple_of(10) {
                thread::yield_now();
            }
        }
        for _ in &receivers {
            client.send_to(&[], address).unwrap();
        }
        let sums: Vec<u32> = receivers.into_iter().map(|r| r.join().unwrap()).collect();
        assert_eq!(sums.iter().sum::<u32>(), 5050);
    });
}

#[test]
fn the_newer_protocol() {
    run(|| {
        let near = UdpSocket::bind("[::1]:0").unwrap();
        let far = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).unwrap();
        let waiting = {
            let near = near.try_clone().unwrap();
            thread::spawn(move || {
                let mut room = [0; 10];
                near.recv_from(&mut room).unwrap()
            })
        };
        thread::yield_now();
        far.send_to(b"six", near.local_addr().unwrap()).unwrap();
        assert_eq!(waiting.join().unwrap(), (3, far.local_addr().unwrap()));
        near.set_multicast_loop_v6(false).unwrap();
        assert!(!near.multicast_loop_v6().unwrap());
        let group: Ipv6Addr = "ff11::4711".parse().unwrap();
        near.join_multicast_v6(&group, 1).unwrap();
        near.leave_multicast_v6(&group, 1).unwrap();
        assert_eq!(
            kind(near.leave_multicast_v6(&group, 1)),
            ErrorKind::AddrNotAvailable
        );
    });
}

/// An address of this machine that is one only together with its interface, if there is one.
fn link_local() -> Option<(Ipv6Addr, u32)> {
    let interfaces = std::fs::read_to_string("/proc/net/if_inet6").ok()?;
    let line = interfaces.lines().find(|line| line.starts_with("fe80"))?;
    let mut words = line.split_whitespace();
    let address = u128::from_str_radix(words.next()?, 16).ok()?;
    let interface = u32::from_str_radix(words.next()?, 16).ok()?;
    Some((address.into(), interface))
}

#[test]
fn an_address_keeps_its_scope() {
    run(|| {
        let Some((ip, interface)) = link_local() else {
            return;
        };
        let any = SocketAddrV6::new(ip, 0, 0, interface);
        let Ok(near) = UdpSocket::bind(any) else {
            // It is being given up, or not yet to be had.
            return;
        };
        let far = UdpSocket::bind(any).unwrap();
        let (near_address, far_address) = (near.local_addr().unwrap(), far.local_addr().unwrap());
        assert!(matches!(near_address, SocketAddr::V6(a) if a.scope_id() == interface));
        far.send_to(b"scope", near_address).unwrap();
        let mut room = [0; 8];
        assert_eq!(near.peek_from(&mut room).unwrap(), (5, far_address));
        assert_eq!(near.recv_from(&mut room).unwrap(), (5, far_address));
        near.connect(far_address).unwrap();
        assert_eq!(near.peer_addr().unwrap(), far_address);
    });
}

#[test]
fn a_broadcast_has_to_be_allowed() {
    run(|| {
        let hears = UdpSocket::bind("0.0.0.0:0").unwrap();
        let everybody = (
            Ipv4Addr::new(127, 255, 255, 255),
            hears.local_addr().unwrap().port(),
        );
        let (sender, address) = bind();
        let refused = sender.send_to(b"all", everybody);
        assert_eq!(kind(refused), ErrorKind::PermissionDenied);
        assert_eq!(kind(sender.connect(everybody)), ErrorKind::PermissionDenied);
        sender.set_broadcast(true).unwrap();
        sender.send_to(b"all", everybody).unwrap();
        sender.connect(everybody).unwrap();
        sender.send(b"again").unwrap();
        let mut room = [0; 8];
        assert_eq!(hears.recv_from(&mut room).unwrap(), (3, address));
        assert_eq!(hears.recv_from(&mut room).unwrap(), (5, address));
    });
}

#[test]
fn options_are_kept() {
    run(|| {
        let (socket, _) = bind();
        assert!(!socket.broadcast().unwrap());
        for on in [true, false] {
            socket.set_broadcast(on).unwrap();
            assert_eq!(socket.broadcast().unwrap(), on);
            socket.set_multicast_loop_v4(on).unwrap();
            assert_eq!(socket.multicast_loop_v4().unwrap(), on);
        }
        socket.set_ttl(42).unwrap();
        assert_eq!(socket.ttl().unwrap(), 42);
        socket.set_multicast_ttl_v4(5).unwrap();
        assert_eq!(socket.multicast_ttl_v4().unwrap(), 5);
    });
}

#[test]
fn a_group_hears_what_is_sent_to_it() {
    run(|| {
        let group = Ipv4Addr::new(239, 47, 11, 8);
        let member = UdpSocket::bind("0.0.0.0:0").unwrap();
        member
            .join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        let port = member.local_addr().unwrap().port();
        let (sender, address) = bind();
        SockRef::from(&sender)
            .set_multicast_if_v4(&Ipv4Addr::LOCALHOST)
            .unwrap();
        sender.send_to(b"all", (group, port)).unwrap();
        let mut room = [0; 10];
        assert_eq!(member.recv_from(&mut room).unwrap(), (3, address));
        member
            .leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
            .unwrap();
        assert_eq!(
            kind(member.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST)),
            ErrorKind::AddrNotAvailable
        );
    });
}

#[test]
#[expect(unsafe_code, reason = "a number becomes a descriptor")]
fn descriptors_come_and_go() {
    run(|| {
        let (near, far) = pair();
        let number = near.as_raw_fd();
        near.set_read_timeout(Some(SHORT)).unwrap();
        near.set_nonblocking(true).unwrap();
        let number_again = near.into_raw_fd();
        assert_eq!(number, number_again);
        // SAFETY: it is ours since `into_raw_fd`.
        let stds = unsafe { std::net::UdpSocket::from_raw_fd(number) };
        assert!(SockRef::from(&stds).nonblocking().unwrap());
        stds.set_nonblocking(false).unwrap();
        let near = UdpSocket::from(OwnedFd::from(stds));
        assert_eq!(kind(near.recv(&mut [0])), ErrorKind::WouldBlock);
        near.set_read_timeout(None).unwrap();
        let waiting = thread::spawn(move || near.recv(&mut [0; 4]).unwrap());
        thread::yield_now();
        far.send(b"abc").unwrap();
        assert_eq!(waiting.join().unwrap(), 3);
    });
}

#[test]
fn looks_as_stds_does() {
    run(|| {
        let (socket, address) = bind();
        let fd = socket.as_raw_fd();
        assert_eq!(
            format!("{socket:?}"),
            format!("UdpSocket {{ addr: {address}, fd: {fd} }}")
        );
    });
}

#[test]
fn more_than_the_system_holds_for_a_slow_receiver() {
    run(|| {
        // What does not fit is dropped by the system, and nobody waits for it.
        let (server, address) = bind();
        SockRef::from(&server).set_recv_buffer_size(4096).unwrap();
        let (client, _) = bind();
        for _ in 0..2000 {
            assert_eq!(client.send_to(&[1; 1000], address).unwrap(), 1000);
        }
        server.set_nonblocking(true).unwrap();
        let mut n = 0;
        while server.recv(&mut [0; 1000]).is_ok() {
            n += 1;
        }
        assert!(0 < n && n < 2000, "{n}");
    });
}
