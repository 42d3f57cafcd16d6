//! Looking up names, with a `getaddrinfo` that can be held up.

#![expect(unsafe_code, reason = "stands in for a function of libc")]

use std::ffi::{CStr, c_char, c_int};
use std::io::ErrorKind;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use greenrt::{spawn, timeout, yield_now};
use greenstd::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};

use crate::support::{on_each_runtime_and_off, on_one_worker, os_thread, wait_until};

type GetAddrInfo = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const libc::addrinfo,
    *mut *mut libc::addrinfo,
) -> c_int;

/// How many wait for a name server that does not answer, and whether it has come back.
static DEAD: (Mutex<(usize, bool)>, Condvar) = (Mutex::new((0, false)), Condvar::new());
static LOOKED_UP_AT: AtomicUsize = AtomicUsize::new(0);
/// Held by the test that uses both.
static TURN: Mutex<()> = Mutex::new(());

fn dead() -> std::sync::MutexGuard<'static, (usize, bool)> {
    DEAD.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `getaddrinfo(3)`, for which the name server of `dead.test` does not answer until it is told to.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    result: *mut *mut libc::addrinfo,
) -> c_int {
    static REAL: OnceLock<GetAddrInfo> = OnceLock::new();
    let real = REAL.get_or_init(|| {
        // SAFETY: the name ends with a zero.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getaddrinfo".as_ptr()) };
        assert!(!found.is_null());
        // SAFETY: the function of that name has this type.
        unsafe { std::mem::transmute::<*mut libc::c_void, GetAddrInfo>(found) }
    });
    LOOKED_UP_AT.store(os_thread() as usize, Relaxed);
    // SAFETY: the caller's promise; std always gives a name.
    let name = unsafe { CStr::from_ptr(node) };
    if name == c"dead.test" {
        let mut state = dead();
        state.0 += 1;
        #[expect(clippy::disallowed_methods, reason = "blocks an OS thread of the pool")]
        while !state.1 {
            state = DEAD.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        return libc::EAI_NONAME;
    }
    // SAFETY: the caller's promise.
    unsafe { real(node, service, hints, result) }
}

#[test]
fn names_and_literals() {
    on_each_runtime_and_off(|| {
        let all = |addresses: &dyn Fn() -> std::io::Result<Vec<SocketAddr>>| addresses().unwrap();
        let stds = |text: &str| -> Vec<SocketAddr> {
            std::net::ToSocketAddrs::to_socket_addrs(text)
                .unwrap()
                .collect()
        };
        for text in ["localhost:80", "127.0.0.1:80", "[::1]:80"] {
            let ours = all(&|| Ok(text.to_socket_addrs()?.collect()));
            assert_eq!(ours, stds(text), "{text}");
            let owned = all(&|| Ok(text.to_string().to_socket_addrs()?.collect()));
            assert_eq!(owned, stds(text), "{text}");
        }
        for host in ["localhost", "127.0.0.1", "::1"] {
            let ours = all(&|| Ok((host, 80).to_socket_addrs()?.collect()));
            let stds: Vec<_> = std::net::ToSocketAddrs::to_socket_addrs(&(host, 80))
                .unwrap()
                .collect();
            assert_eq!(ours, stds, "{host}");
            let owned = all(&|| Ok((host.to_string(), 80).to_socket_addrs()?.collect()));
            assert_eq!(owned, stds, "{host}");
        }
        for text in ["no port", "localhost:", "localhost:99999", ":", ""] {
            let ours = text.to_socket_addrs().unwrap_err();
            let stds = std::net::ToSocketAddrs::to_socket_addrs(text).unwrap_err();
            assert_eq!(ours.kind(), stds.kind(), "{text}");
            assert_eq!(ours.to_string(), stds.to_string(), "{text}");
        }
    });
}

#[test]
fn a_dead_name_server_holds_up_nobody_else() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    on_one_worker(|| {
        *dead() = (0, false);
        let worker = os_thread() as usize;
        let stuck: Vec<_> = (0..4)
            .map(|n| {
                spawn(move || match n {
                    0 => TcpStream::connect("dead.test:80").map(drop),
                    1 => TcpListener::bind(("dead.test", 0)).map(drop),
                    2 => UdpSocket::bind("127.0.0.1:0")?
                        .send_to(b"a", "dead.test:9")
                        .map(drop),
                    _ => UdpSocket::bind("dead.test:0").map(drop),
                })
            })
            .collect();
        wait_until(|| dead().0 == 4);
        // Who has a time limit is not held up either.
        let late = timeout(Duration::from_millis(5), || {
            TcpStream::connect("dead.test:80")
        });
        assert!(late.is_err());
        let listener = TcpListener::bind("localhost:0").unwrap();
        assert_ne!(LOOKED_UP_AT.load(Relaxed), worker);
        let address = listener.local_addr().unwrap();
        let client = spawn(move || TcpStream::connect(("localhost", address.port())).map(drop));
        listener.accept().unwrap();
        client.join().unwrap().unwrap();
        assert!(stuck.iter().all(|thread| !thread.is_finished()));
        // A literal is not looked up.
        LOOKED_UP_AT.store(0, Relaxed);
        TcpStream::connect(address.to_string()).unwrap();
        TcpListener::bind(("127.0.0.1", 0)).unwrap();
        assert_eq!(LOOKED_UP_AT.load(Relaxed), 0);
        dead().1 = true;
        DEAD.1.notify_all();
        for thread in stuck {
            let error = thread.join().unwrap().unwrap_err();
            assert_ne!(error.kind(), ErrorKind::WouldBlock);
            assert!(error.to_string().contains("failed to lookup"), "{error}");
        }
        yield_now();
    });
}

#[test]
fn many_that_wait_for_a_dead_name_server_hold_up_nobody_else() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    on_one_worker(|| {
        *dead() = (0, false);
        // Far more than names are looked up at once where they are found.
        let stuck: Vec<_> = (0..100)
            .map(|_| spawn(|| "dead.test:80".to_socket_addrs().map(drop)))
            .collect();
        wait_until(|| dead().0 == 100);
        let client = spawn(|| "localhost:80".to_socket_addrs().map(drop));
        client.join().unwrap().unwrap();
        assert!(stuck.iter().all(|thread| !thread.is_finished()));
        dead().1 = true;
        DEAD.1.notify_all();
        for thread in stuck {
            assert!(thread.join().unwrap().is_err());
        }
    });
}
