//! What an operation costs: no call of the system but its own.

#![expect(unsafe_code, reason = "asks the kernel to forbid calls")]

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use greenrt::spawn;
use greenstd::net::{TcpListener, TcpStream, UdpSocket};
use greenstd::os::unix::net::{UnixDatagram, UnixStream};

use crate::support::Child;

const LONG: Duration = Duration::from_secs(1000);
const SHORT: Duration = Duration::from_millis(1);

/// Has the calling process die of what asks about settings or changes them, and of what asks for
/// readiness one by one; also its threads that are started later. `false` where the system cannot.
fn forbid_all_but_operations() -> bool {
    let forbidden = [
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_select,
        libc::SYS_pselect6,
        libc::SYS_timerfd_settime,
        libc::SYS_epoll_ctl,
    ];
    let statement = |code: u32, k: u32, jt, jf| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // The number of the call is first in what the filter is given.
    let mut filter = vec![statement(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        0,
        0,
        0,
    )];
    for number in forbidden {
        let is_it = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        filter.push(statement(is_it, number as u32, 0, 1));
        let dies = libc::SECCOMP_RET_KILL_PROCESS;
        filter.push(statement(libc::BPF_RET | libc::BPF_K, dies, 0, 0));
    }
    let goes_on = libc::SECCOMP_RET_ALLOW;
    filter.push(statement(libc::BPF_RET | libc::BPF_K, goes_on, 0, 0));
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: numbers only.
    let prepared = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program is there, and as long as it says.
    let done = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    prepared == 0 && done == 0
}

/// Sends and receives a number of times.
type Play = Box<dyn Fn(usize)>;

/// Two ends, of which one sends back what it receives.
macro_rules! echo {
    ($near:expr, $far:expr, $send:expr, $receive:expr) => {{
        let (near, far) = ($near, $far);
        for end in [&near, &far] {
            end.set_read_timeout(Some(LONG)).unwrap();
            end.set_write_timeout(Some(LONG)).unwrap();
        }
        spawn(
            move || while $receive(&far, &mut [0; 4]).is_ok_and(|n| n == $send(&far).unwrap()) {},
        );
        let play: Play = Box::new(move |n| {
            for _ in 0..n {
                assert_eq!($send(&near).unwrap(), 4);
                assert_eq!($receive(&near, &mut [0; 4]).unwrap(), 4);
            }
        });
        play
    }};
}

/// Something for which nobody has anything.
macro_rules! late {
    ($socket:expr, $receive:expr) => {{
        let (socket, _peer) = $socket;
        socket.set_read_timeout(Some(SHORT)).unwrap();
        let play: Play = Box::new(move |n| {
            let _peer = &_peer;
            for _ in 0..n {
                let error = $receive(&socket, &mut [0; 4]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            }
        });
        play
    }};
}

#[test]
fn operations_with_timeouts_make_no_other_calls() {
    let child = Child::new("calls::operations_with_timeouts_make_no_other_calls");
    let died = child.run(|| {
        greenrt::run(|| {
            let tcp = || {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                (near, listener.accept().unwrap().0)
            };
            let udp = || {
                let ends = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
                ends[0].connect(ends[1].local_addr().unwrap()).unwrap();
                ends[1].connect(ends[0].local_addr().unwrap()).unwrap();
                ends.into()
            };
            let write_tcp = |mut stream: &TcpStream| stream.write(b"ping");
            let read_tcp = |mut stream: &TcpStream, room: &mut [u8]| stream.read(room);
            let write_unix = |mut stream: &UnixStream| stream.write(b"ping");
            let read_unix = |mut stream: &UnixStream, room: &mut [u8]| stream.read(room);
            let (tcp_ends, udp_ends): (_, (_, _)) = (tcp(), udp());
            let unix_ends = UnixStream::pair().unwrap();
            let datagram_ends = UnixDatagram::pair().unwrap();
            let plays = [
                echo!(tcp_ends.0, tcp_ends.1, write_tcp, read_tcp),
                echo!(unix_ends.0, unix_ends.1, write_unix, read_unix),
                echo!(
                    udp_ends.0,
                    udp_ends.1,
                    |socket: &UdpSocket| socket.send(b"ping"),
                    UdpSocket::recv
                ),
                echo!(
                    datagram_ends.0,
                    datagram_ends.1,
                    |socket: &UnixDatagram| socket.send(b"ping"),
                    UnixDatagram::recv
                ),
                late!(tcp(), read_tcp),
                late!(UnixStream::pair().unwrap(), read_unix),
                late!(udp(), UdpSocket::recv),
                late!(UnixDatagram::pair().unwrap(), UnixDatagram::recv),
            ];
            // Each has waited once, and is registered.
            plays.iter().for_each(|play| play(2));
            if forbid_all_but_operations() {
                plays.iter().for_each(|play| play(30));
            } else {
                eprintln!("the system cannot forbid calls");
            }
            std::process::exit(0);
        });
    });
    died.expect_success();
}
