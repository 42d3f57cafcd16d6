//! Std's sockets.

use std::ffi::{c_char, c_int};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{calls, n_os_threads, tests, wait_until};

tests! {
    a_read_waits_for_a_sibling
    an_echo_server_with_a_thread_for_each_connection
    accept_waits_for_a_sibling
    many_accept_on_one_listener
    os_threads_and_green_ones_accept_on_one_listener
    a_large_write_is_written_whole
    a_vectored_write_is_written_whole
    the_end_and_errors
    read_timeouts
    write_timeouts
    connect_is_refused
    connect_with_a_timeout
    nonblocking_streams_do_not_wait
    a_nonblocking_listener_does_not_wait
    peek_leaves_what_it_reads
    udp
    unix_streams
    unix_datagrams
    names_are_looked_up
    hosts_are_looked_up
    a_clone_is_read_while_the_other_writes
    two_readers_share_a_stream
    numbers_are_used_again
    closing_a_listener_that_is_waited_for
    waitall_reads_all
    cancellation_is_an_error
    a_limit_is_an_error
    hundreds_of_connections
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    let client = TcpStream::connect(address).unwrap();
    (client, listener.accept().unwrap().0)
}

fn a_read_waits_for_a_sibling() {
    let (mut client, mut server) = pair();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 5];
        server.read_exact(&mut buffer).unwrap();
        buffer
    });
    thread::sleep(Duration::from_millis(1));
    client.write_all(b"hel").unwrap();
    thread::sleep(Duration::from_millis(1));
    client.write_all(b"lo").unwrap();
    assert_eq!(&reader.join().unwrap(), b"hello");
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 64];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

fn serve(listener: TcpListener) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(|| echo(stream.unwrap()));
        }
    });
}

fn ask(stream: &mut TcpStream, question: &str) {
    stream.write_all(question.as_bytes()).unwrap();
    let mut answer = vec![0; question.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, question.as_bytes());
}

fn an_echo_server_with_a_thread_for_each_connection() {
    let (listener, address) = listener();
    serve(listener);
    let clients: Vec<_> = (0..100)
        .map(|n| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for m in 0..20 {
                    ask(&mut stream, &format!("question {m} of client {n}"));
                }
            })
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().unwrap());
}

fn accept_waits_for_a_sibling() {
    let (listener, address) = listener();
    let client = thread::spawn(move || TcpStream::connect(address).unwrap().local_addr().unwrap());
    let (_, peer) = listener.accept().unwrap();
    assert_eq!(client.join().unwrap(), peer);
}

fn many_accept_on_one_listener() {
    let (listener, address) = listener();
    let listener = Arc::new(listener);
    let acceptors: Vec<_> = (0..8)
        .map(|_| {
            let listener = Arc::clone(&listener);
            thread::spawn(move || drop(listener.accept().unwrap()))
        })
        .collect();
    for _ in 0..8 {
        TcpStream::connect(address).unwrap();
    }
    acceptors
        .into_iter()
        .for_each(|acceptor| acceptor.join().unwrap());
}

fn os_threads_and_green_ones_accept_on_one_listener() {
    let (listener, address) = listener();
    let listener = Arc::new(listener);
    let accept = |listener: &Arc<TcpListener>| {
        let listener = Arc::clone(listener);
        move || (0..10).for_each(|_| drop(listener.accept().unwrap()))
    };
    // First a green one, for whom the socket changes its mode.
    let green = thread::spawn(accept(&listener));
    thread::sleep(Duration::from_millis(2));
    let os = greenlibc::os_threads(|| thread::spawn(accept(&listener)));
    for _ in 0..20 {
        TcpStream::connect(address).unwrap();
    }
    green.join().unwrap();
    wait_until(|| os.is_finished());
    os.join().unwrap();
}

fn a_large_write_is_written_whole() {
    let (mut client, mut server) = pair();
    let writer = thread::spawn(move || {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        // One call: in blocking mode it does not come back before all is written.
        assert_eq!(client.write(&bytes).unwrap(), bytes.len());
    });
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).unwrap();
    assert!(bytes.into_iter().eq((0..3_000_000_u32).map(|n| n as u8)));
    writer.join().unwrap();
}

fn a_vectored_write_is_written_whole() {
    let (mut client, mut server) = pair();
    let writer = thread::spawn(move || {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let slices: Vec<_> = bytes.chunks(100_000).map(IoSlice::new).collect();
        assert_eq!(client.write_vectored(&slices).unwrap(), bytes.len());
    });
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).unwrap();
    assert!(bytes.into_iter().eq((0..3_000_000_u32).map(|n| n as u8)));
    writer.join().unwrap();
}

fn the_end_and_errors() {
    let (mut client, server) = pair();
    let reader = thread::spawn(move || client.read(&mut [0; 8]).unwrap());
    thread::sleep(Duration::from_millis(1));
    drop(server);
    assert_eq!(reader.join().unwrap(), 0);
    // No signal, as std's.
    let (mut client, server) = pair();
    drop(server);
    let error = loop {
        if let Err(error) = client.write(b"x") {
            break error;
        }
    };
    assert!(matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
    ));
    let (mut client, server) = pair();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(
        client.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    drop(server);
}

fn read_timeouts() {
    let (mut client, mut server) = pair();
    let timeout = Duration::from_millis(10);
    client.set_read_timeout(Some(timeout)).unwrap();
    let began = Instant::now();
    assert_eq!(
        client.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    assert!(began.elapsed() >= timeout);
    server.write_all(b"x").unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 1);
    // Changed, and taken away.
    client
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    assert_eq!(
        client.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    client.set_read_timeout(None).unwrap();
    let reader = thread::spawn(move || client.read(&mut [0; 1]).unwrap());
    thread::sleep(Duration::from_millis(20));
    server.write_all(b"x").unwrap();
    assert_eq!(reader.join().unwrap(), 1);
}

fn write_timeouts() {
    let (mut client, _server) = pair();
    client
        .set_write_timeout(Some(Duration::from_millis(5)))
        .unwrap();
    let error = loop {
        if let Err(error) = client.write(&[0; 65536]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

fn connect_is_refused() {
    let (listener, address) = listener();
    drop(listener);
    assert_eq!(
        TcpStream::connect(address).unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    let error = TcpStream::connect_timeout(&address, Duration::from_secs(60)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

fn connect_with_a_timeout() {
    let (listener, address) = listener();
    let connected = thread::spawn(move || {
        TcpStream::connect_timeout(&address, Duration::from_secs(60)).unwrap()
    });
    listener.accept().unwrap();
    connected.join().unwrap();
}

fn nonblocking_streams_do_not_wait() {
    let (mut client, mut server) = pair();
    client.set_nonblocking(true).unwrap();
    assert_eq!(
        client.read(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    let error = loop {
        if let Err(error) = client.write(&[0; 65536]) {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    // Whoever asks again and again lets others run.
    let sibling = thread::spawn(move || {
        server.write_all(b"x").unwrap();
        server
    });
    while client.read(&mut [0; 1]).is_err() {}
    let _server = sibling.join().unwrap();
    client.set_nonblocking(false).unwrap();
    let (mut other, mut peer) = (client.try_clone().unwrap(), client);
    let reader = thread::spawn(move || peer.read(&mut [0; 1]).unwrap());
    thread::sleep(Duration::from_millis(1));
    other.shutdown(Shutdown::Both).unwrap();
    assert_eq!(reader.join().unwrap(), 0);
    assert_eq!(other.read(&mut [0; 1]).unwrap(), 0);
}

fn a_nonblocking_listener_does_not_wait() {
    let (listener, address) = listener();
    let client = thread::spawn(move || TcpStream::connect(address).unwrap());
    listener.accept().unwrap();
    client.join().unwrap();
    // It is so for our sake by now; the user's wish comes on top.
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    listener.set_nonblocking(false).unwrap();
    let client = thread::spawn(move || TcpStream::connect(address).unwrap());
    listener.accept().unwrap();
    client.join().unwrap();
}

fn peek_leaves_what_it_reads() {
    let (mut client, mut server) = pair();
    let peeker = thread::spawn(move || {
        let mut buffer = [0; 8];
        assert_eq!(server.peek(&mut buffer).unwrap(), 3);
        assert_eq!(server.read(&mut buffer).unwrap(), 3);
        buffer
    });
    thread::sleep(Duration::from_millis(1));
    client.write_all(b"abc").unwrap();
    assert_eq!(&peeker.join().unwrap()[..3], b"abc");
}

fn udp() {
    let (a, b) = (
        UdpSocket::bind("127.0.0.1:0").unwrap(),
        UdpSocket::bind("127.0.0.1:0").unwrap(),
    );
    let (to_a, to_b) = (a.local_addr().unwrap(), b.local_addr().unwrap());
    let echo = thread::spawn(move || {
        let mut buffer = [0; 100];
        for _ in 0..10 {
            let (n, from) = b.recv_from(&mut buffer).unwrap();
            b.send_to(&buffer[..n], from).unwrap();
        }
        b.connect(to_a).unwrap();
        b.recv(&mut buffer).unwrap()
    });
    for n in 1..=10 {
        a.send_to(&[n; 50], to_b).unwrap();
        let mut buffer = [0; 100];
        assert_eq!(a.recv_from(&mut buffer).unwrap(), (50, to_b));
        assert_eq!(buffer[..50], [n; 50]);
    }
    a.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    assert_eq!(
        a.recv_from(&mut [0; 1]).unwrap_err().kind(),
        ErrorKind::WouldBlock
    );
    a.send_to(&[], to_b).unwrap();
    assert_eq!(echo.join().unwrap(), 0);
}

fn unix_streams() {
    let path = std::env::temp_dir().join(format!("greenlibc-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    let client = {
        let path = path.clone();
        thread::spawn(move || {
            let mut stream = UnixStream::connect(path).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text
        })
    };
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"hello").unwrap();
    drop(stream);
    assert_eq!(client.join().unwrap(), "hello");
    std::fs::remove_file(path).unwrap();
}

fn unix_datagrams() {
    let (a, b) = UnixDatagram::pair().unwrap();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 8];
        let n = b.recv(&mut buffer).unwrap();
        buffer[..n].to_vec()
    });
    thread::sleep(Duration::from_millis(1));
    a.send(b"abc").unwrap();
    assert_eq!(reader.join().unwrap(), b"abc");
}

fn names_are_looked_up() {
    let (before, _) = calls("getaddrinfo");
    let found: Vec<_> = ("localhost", 80).to_socket_addrs().unwrap().collect();
    assert!(
        found.iter().any(|address| address.ip().is_loopback()),
        "{found:?}"
    );
    assert_eq!(calls("getaddrinfo").0, before + 1);
    assert!(("no-such-name.invalid", 80).to_socket_addrs().is_err());
}

fn hosts_are_looked_up() {
    #![expect(unsafe_code, reason = "asks libc")]
    // What the crate libc does not have.
    unsafe extern "C" {
        fn gethostbyname(name: *const c_char) -> *mut libc::hostent;
        fn gethostbyname_r(
            name: *const c_char,
            host: *mut libc::hostent,
            buffer: *mut c_char,
            bytes: usize,
            result: *mut *mut libc::hostent,
            error: *mut c_int,
        ) -> c_int;
        safe fn __h_errno_location() -> *mut c_int;
    }
    const HOST_NOT_FOUND: c_int = 1;
    // SAFETY: a name.
    let host = unsafe { gethostbyname(c"localhost".as_ptr()) };
    // SAFETY: null, or what was found.
    let host = unsafe { host.as_ref() }.expect("an address");
    assert_eq!((host.h_addrtype, host.h_length), (libc::AF_INET, 4));
    assert_eq!(calls("gethostbyname"), (1, 0));
    // SAFETY: a name, and the thread's own error.
    let none = unsafe { gethostbyname(c"no-such-name.invalid".as_ptr()) };
    assert!(none.is_null());
    // SAFETY: the thread's own.
    let error = unsafe { *__h_errno_location() };
    // Without a name server it is another one.
    assert!((HOST_NOT_FOUND..=4).contains(&error), "{error}");
    // SAFETY: all zeros are a host without anything.
    let mut host: libc::hostent = unsafe { std::mem::zeroed() };
    let (mut room, mut found, mut error) = ([0_u8; 1024], std::ptr::null_mut(), 0);
    let name = c"localhost".as_ptr();
    let (host, place) = (&raw mut host, room.as_mut_ptr().cast());
    // SAFETY: a name, and room for the answers.
    let failed = unsafe {
        gethostbyname_r(
            name,
            host,
            place,
            room.len(),
            &raw mut found,
            &raw mut error,
        )
    };
    assert_eq!((failed, found), (0, host));
}

fn a_clone_is_read_while_the_other_writes() {
    let (client, mut server) = pair();
    let (mut reader, mut writer) = (client.try_clone().unwrap(), client);
    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    writer.write_all(b"question").unwrap();
    let mut question = [0; 8];
    server.read_exact(&mut question).unwrap();
    server.write_all(b"answer").unwrap();
    drop(server);
    assert_eq!(reading.join().unwrap(), "answer");
}

fn two_readers_share_a_stream() {
    let (client, mut server) = pair();
    let client = Arc::new(client);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let client = Arc::clone(&client);
            thread::spawn(move || (&*client).read(&mut [0; 1]).unwrap())
        })
        .collect();
    thread::sleep(Duration::from_millis(1));
    server.write_all(b"ab").unwrap();
    assert!(
        readers
            .into_iter()
            .all(|reader| reader.join().unwrap() == 1)
    );
}

fn numbers_are_used_again() {
    for n in 0..200 {
        let (mut client, mut server) = pair();
        let reader = thread::spawn(move || {
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
            byte[0]
        });
        thread::yield_now();
        client.write_all(&[n]).unwrap();
        assert_eq!(reader.join().unwrap(), n);
    }
}

fn closing_a_listener_that_is_waited_for() {
    #![expect(unsafe_code, reason = "closes what std would not")]
    use std::os::fd::{AsRawFd, IntoRawFd};
    let (listener, _) = listener();
    let listener = Arc::new(listener);
    let acceptor = {
        let listener = Arc::clone(&listener);
        thread::spawn(move || {
            let error = listener.accept().unwrap_err();
            // Closed already.
            std::mem::forget(listener);
            error.raw_os_error()
        })
    };
    thread::sleep(Duration::from_millis(2));
    // SAFETY: whoever has it forgets it.
    assert_eq!(unsafe { libc::close(listener.as_raw_fd()) }, 0);
    assert_eq!(acceptor.join().unwrap(), Some(libc::EBADF));
    if let Some(listener) = Arc::into_inner(listener) {
        let _closed = listener.into_raw_fd();
    }
}

fn waitall_reads_all() {
    #![expect(unsafe_code, reason = "asks libc")]
    use std::os::fd::AsRawFd;
    let (mut client, server) = pair();
    let reader = thread::spawn(move || {
        let mut buffer = [0_u8; 6];
        // SAFETY: as much room as is said.
        let n = unsafe {
            libc::recv(
                server.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                6,
                libc::MSG_WAITALL,
            )
        };
        (n, buffer)
    });
    for part in [b"ab", b"cd", b"ef"] {
        thread::sleep(Duration::from_millis(1));
        client.write_all(part).unwrap();
    }
    assert_eq!(reader.join().unwrap(), (6, *b"abcdef"));
}

fn cancellation_is_an_error() {
    let (client, _server) = pair();
    let reader = greenrt::spawn(move || (&client).read(&mut [0; 1]).unwrap_err().raw_os_error());
    thread::sleep(Duration::from_millis(1));
    greenrt::lowlevel::cancel(reader.thread());
    assert_eq!(reader.join().unwrap(), Some(libc::ECANCELED));
}

fn a_limit_is_an_error() {
    let (client, _server) = pair();
    let read = greenrt::timeout(Duration::from_millis(2), || (&client).read(&mut [0; 1]));
    assert_eq!(read.unwrap().unwrap_err().kind(), ErrorKind::TimedOut);
}

fn hundreds_of_connections() {
    let (listener, address) = listener();
    serve(listener);
    let n_before = n_os_threads();
    // Both ends are in this process.
    let n = 400;
    let mut streams: Vec<_> = (0..n)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for (n, stream) in streams.iter_mut().enumerate() {
        ask(stream, &format!("question of {n}"));
    }
    assert!(n_os_threads() <= n_before);
}
