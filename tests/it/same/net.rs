//! TCP.

#![expect(
    clippy::unused_io_amount,
    reason = "short operations are what is tested"
)]

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use socket2::{SockRef, Socket, Type};

use super::net::{Shutdown, TcpListener, TcpStream};
use super::{run, thread};

/// Long enough that a thread which should not wait is caught, if it does, by the limit of the test.
const LONG: Duration = Duration::from_secs(1000);
const SHORT: Duration = Duration::from_millis(5);

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a connection.
fn pair() -> (TcpStream, TcpStream) {
    let (listener, address) = listen();
    let client = TcpStream::connect(address).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    (client, server)
}

/// As many bytes as are asked for, or as there are.
fn read_up_to(mut stream: &TcpStream, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; n];
    let n = stream.read(&mut bytes)?;
    bytes.truncate(n);
    Ok(bytes)
}

fn read_exactly(mut stream: &TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> ErrorKind {
    result.expect_err("should have failed").kind()
}

/// Makes dropping the stream reset the connection.
fn reset_on_drop(stream: &TcpStream) {
    SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
}

/// Writes until there is no more room.
fn fill(mut stream: &TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut n_written = 0;
    let error = loop {
        match stream.write(&[7; 64 * 1024]) {
            Ok(n) => n_written += n,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    n_written
}

/// Writes for ever, until it fails.
fn write_until_error(mut stream: &TcpStream) -> ErrorKind {
    loop {
        if let Err(error) = stream.write_all(&[1; 64 * 1024]) {
            return error.kind();
        }
    }
}

// Data.

#[test]
fn what_is_sent_comes_back() {
    run(|| {
        let (listener, address) = listen();
        let echo = thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            io::copy(&mut &stream, &mut &stream).unwrap()
        });
        let mut stream = TcpStream::connect(address).unwrap();
        let mut n_bytes = 0;
        for n in [1, 2, 100, 4096, 65_536, 100_000] {
            let sent: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
            stream.write_all(&sent).unwrap();
            assert!(read_exactly(&stream, n) == sent);
            n_bytes += n as u64;
        }
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(echo.join().unwrap(), n_bytes);
    });
}

#[test]
fn a_buffer_of_the_size_of_the_message() {
    run(|| {
        let (mut client, mut server) = pair();
        let echo = thread::spawn(move || {
            let mut buffer = [0; 64];
            for _ in 0..300 {
                assert_eq!(server.read(&mut buffer).unwrap(), 64);
                server.write_all(&buffer).unwrap();
            }
        });
        let mut buffer = [0; 64];
        for n in 0..300 {
            client.write_all(&[n as u8; 64]).unwrap();
            assert_eq!(client.read(&mut buffer).unwrap(), 64);
            assert_eq!(buffer, [n as u8; 64]);
        }
        echo.join().unwrap();
    });
}

#[test]
fn one_byte_at_a_time() {
    run(|| {
        let (mut client, server) = pair();
        let writer = thread::spawn(move || {
            for n in 0..5000 {
                client.write_all(&[n as u8]).unwrap();
            }
        });
        for n in 0..5000 {
            assert_eq!(read_exactly(&server, 1), [n as u8]);
        }
        writer.join().unwrap();
        assert_eq!(read_up_to(&server, 1).unwrap(), []);
    });
}

#[test]
fn a_great_deal_of_data() {
    const CHUNK: usize = 64 * 1024;
    let n_chunks: usize = if cfg!(debug_assertions) {
        1 << 10
    } else {
        1 << 14
    };
    run(move || {
        let (mut client, mut server) = pair();
        let writer = thread::spawn(move || {
            let mut chunk = vec![0; CHUNK];
            for n in 0..n_chunks {
                chunk[0] = n as u8;
                chunk[CHUNK - 1] = !(n as u8);
                client.write_all(&chunk).unwrap();
            }
        });
        let mut chunk = vec![0; CHUNK];
        for n in 0..n_chunks {
            server.read_exact(&mut chunk).unwrap();
            assert_eq!((chunk[0], chunk[CHUNK - 1]), (n as u8, !(n as u8)));
        }
        assert_eq!(server.read(&mut chunk).unwrap(), 0);
        writer.join().unwrap();
    });
}

#[test]
fn both_directions_at_once_from_different_threads() {
    const N_BYTES: usize = 4 << 20;
    run(|| {
        let (client, server) = pair();
        let threads: Vec<_> = [client, server]
            .into_iter()
            .flat_map(|stream| {
                let reader = Arc::new(stream);
                let writer = Arc::clone(&reader);
                let writer = thread::spawn(move || {
                    (&*writer).write_all(&vec![5; N_BYTES]).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                    0
                });
                let reader = thread::spawn(move || {
                    io::copy(&mut &*reader, &mut io::sink()).unwrap() as usize
                });
                [writer, reader]
            })
            .collect();
        let counts: Vec<usize> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(counts, [0, N_BYTES, 0, N_BYTES]);
    });
}

#[test]
fn two_readers_of_one_socket_get_all_and_both_see_the_end() {
    run(|| {
        let (mut client, server) = pair();
        let server = Arc::new(server);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let server = Arc::clone(&server);
                thread::spawn(move || {
                    let mut n_bytes = 0;
                    loop {
                        match read_up_to(&server, 10).unwrap().len() {
                            0 => return n_bytes,
                            n => n_bytes += n,
                        }
                    }
                })
            })
            .collect();
        for _ in 0..500 {
            client.write_all(&[1; 33]).unwrap();
            thread::yield_now();
        }
        drop(client);
        let n_bytes: usize = readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .sum();
        assert_eq!(n_bytes, 500 * 33);
    });
}

#[test]
fn two_writers_of_one_socket_both_go_on() {
    run(|| {
        let (client, server) = pair();
        let client = Arc::new(client);
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let client = Arc::clone(&client);
                thread::spawn(move || (&*client).write_all(&vec![1; 6 << 20]).unwrap())
            })
            .collect();
        drop(client);
        let n_bytes = io::copy(&mut &server, &mut io::sink()).unwrap();
        assert_eq!(n_bytes, 12 << 20);
        writers
            .into_iter()
            .for_each(|writer| writer.join().unwrap());
    });
}

#[test]
fn slices() {
    run(|| {
        let (mut client, mut server) = pair();
        let slices = [&b"ab"[..], b"", b"cde"].map(IoSlice::new);
        assert_eq!(client.write_vectored(&slices).unwrap(), 5);
        assert_eq!(server.peek(&mut [0; 8]).unwrap(), 5);
        let (mut first, mut second) = ([0; 3], [0; 7]);
        let mut room = [IoSliceMut::new(&mut first), IoSliceMut::new(&mut second)];
        assert_eq!(server.read_vectored(&mut room).unwrap(), 5);
        assert_eq!((&first, &second[..2]), (b"abc", &b"de"[..]));
        assert_eq!(client.write_vectored(&[]).unwrap(), 0);
    });
}

#[test]
fn more_slices_than_the_system_takes_at_once() {
    run(|| {
        let (mut client, mut server) = pair();
        let writer = thread::spawn(move || {
            for _ in 0..50 {
                let n = client.write_vectored(&[IoSlice::new(b"x"); 2000]).unwrap();
                assert!(0 < n && n <= 2000);
                client.write_all(&vec![b'x'; 2000 - n]).unwrap();
            }
        });
        let mut n_bytes = 0;
        while n_bytes < 50 * 2000 {
            let mut bytes = vec![0; 2000];
            let mut room: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
            n_bytes += server.read_vectored(&mut room).unwrap();
        }
        writer.join().unwrap();
    });
}

#[test]
fn slices_without_room_are_no_operation() {
    run(|| {
        let (mut near, mut far) = pair();
        let nothing = || (0..3000).map(|_| &b""[..]);
        let no_room = || (0..3000).map(|_| &mut [][..]);
        let slices: Vec<_> = nothing().map(IoSlice::new).collect();
        let mut room: Vec<_> = no_room().map(IoSliceMut::new).collect();
        // Nothing is there to be read, and nobody waits for it.
        for n in [0, 1, 3, 1024, 3000] {
            assert_eq!(near.read_vectored(&mut room[..n]).unwrap(), 0);
            assert_eq!(near.write_vectored(&slices[..n]).unwrap(), 0);
        }
        // Those that the system takes at once have none; the one with room comes later.
        let mut late: Vec<_> = nothing().chain([&b"late"[..]]).map(IoSlice::new).collect();
        assert_eq!(near.write_vectored(&late).unwrap(), 0);
        let mut bytes = [0; 4];
        let mut late_room: Vec<_> = no_room()
            .chain([&mut bytes[..]])
            .map(IoSliceMut::new)
            .collect();
        assert_eq!(near.read_vectored(&mut late_room).unwrap(), 0);
        // With room it is one.
        late.rotate_right(1);
        assert_eq!(near.write_vectored(&late).unwrap(), 4);
        late_room.rotate_right(1);
        assert_eq!(far.read_vectored(&mut late_room).unwrap(), 4);
        // After the end, too.
        near.shutdown(Shutdown::Write).unwrap();
        assert_eq!(near.write_vectored(&slices).unwrap(), 0);
        assert_eq!(far.read_vectored(&mut room).unwrap(), 0);
        near.write_vectored(&late).unwrap_err();
    });
}

#[test]
fn an_empty_buffer_takes_nothing() {
    run(|| {
        let (mut client, mut server) = pair();
        assert_eq!(client.write(&[]).unwrap(), 0);
        client.write_all(b"a").unwrap();
        assert_eq!(server.peek(&mut [0; 1]).unwrap(), 1);
        assert_eq!(server.read(&mut []).unwrap(), 0);
        assert_eq!(read_exactly(&server, 1), b"a");
    });
}

#[test]
fn peeking_takes_nothing() {
    run(|| {
        let (mut client, server) = pair();
        let reader = thread::spawn(move || {
            let mut bytes = [0; 10];
            for _ in 0..3 {
                assert_eq!(server.peek(&mut bytes).unwrap(), 3);
                assert_eq!(&bytes[..3], b"abc");
            }
            assert_eq!(read_up_to(&server, 2).unwrap(), b"ab");
            assert_eq!(server.peek(&mut bytes).unwrap(), 1);
            assert_eq!(read_up_to(&server, 2).unwrap(), b"c");
            // Nothing there: waits for more, or for the end.
            assert_eq!(server.peek(&mut bytes).unwrap(), 0);
            assert_eq!(server.peek(&mut bytes).unwrap(), 0);
            assert_eq!(read_up_to(&server, 2).unwrap(), b"");
        });
        thread::yield_now();
        client.write_all(b"abc").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn urgent_data_does_not_hold_up_the_rest() {
    run(|| {
        for _ in 0..50 {
            let (mut client, server) = pair();
            let reader = thread::spawn(move || {
                let mut bytes = Vec::new();
                (&server).read_to_end(&mut bytes).unwrap();
                bytes
            });
            client.write_all(b"ab").unwrap();
            thread::yield_now();
            SockRef::from(&client).send_out_of_band(b"!").unwrap();
            thread::yield_now();
            client.write_all(b"cd").unwrap();
            drop(client);
            assert_eq!(reader.join().unwrap(), b"abcd");
        }
    });
}

#[test]
fn urgent_data_in_line() {
    run(|| {
        for _ in 0..50 {
            let (mut client, server) = pair();
            SockRef::from(&server).set_out_of_band_inline(true).unwrap();
            client.write_all(b"ab").unwrap();
            SockRef::from(&client).send_out_of_band(b"!").unwrap();
            let reader = thread::spawn(move || {
                // A read stops before urgent data, whatever room there is.
                assert_eq!(read_up_to(&server, 10).unwrap(), b"ab");
                let mut bytes = Vec::new();
                (&server).read_to_end(&mut bytes).unwrap();
                bytes
            });
            thread::yield_now();
            client.write_all(b"cd").unwrap();
            drop(client);
            assert_eq!(reader.join().unwrap(), b"!cd");
        }
    });
}

// The end.

#[test]
fn each_half_closes_on_its_own() {
    run(|| {
        let (mut client, mut server) = pair();
        client.write_all(b"last").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_exactly(&server, 4), b"last");
        assert_eq!(read_up_to(&server, 4).unwrap(), b"");
        assert_eq!(kind(client.write(b"more")), ErrorKind::BrokenPipe);
        let reader = thread::spawn(move || {
            assert_eq!(read_exactly(&client, 6), b"answer");
            assert_eq!(read_up_to(&client, 4).unwrap(), b"");
        });
        thread::yield_now();
        server.write_all(b"answer").unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn data_and_the_end_come_together() {
    run(|| {
        for n in 0..200 {
            let (mut client, server) = pair();
            let reader = thread::spawn(move || {
                assert_eq!(read_up_to(&server, 100).unwrap(), b"bye");
                assert_eq!(read_up_to(&server, 100).unwrap(), b"");
                assert_eq!(read_up_to(&server, 100).unwrap(), b"");
            });
            if n % 2 == 0 {
                thread::yield_now();
            }
            client.write_all(b"bye").unwrap();
            drop(client);
            reader.join().unwrap();
        }
    });
}

#[test]
fn shutdown_wakes_a_reader_in_another_thread() {
    run(|| {
        for n in 0..100 {
            let (client, server) = pair();
            let server = Arc::new(server);
            let reader = Arc::clone(&server);
            let reader = thread::spawn(move || read_up_to(&reader, 1).unwrap());
            for _ in 0..n % 3 {
                thread::yield_now();
            }
            let how = if n % 2 == 0 {
                Shutdown::Read
            } else {
                Shutdown::Both
            };
            server.shutdown(how).unwrap();
            assert_eq!(reader.join().unwrap(), b"");
            drop(client);
        }
    });
}

#[test]
fn shutdown_wakes_a_writer_in_another_thread() {
    run(|| {
        for _ in 0..20 {
            let (client, server) = pair();
            let client = Arc::new(client);
            let writer = Arc::clone(&client);
            let writer = thread::spawn(move || write_until_error(&writer));
            thread::yield_now();
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);
            drop(server);
        }
    });
}

#[test]
fn writing_after_the_own_end_is_a_broken_pipe() {
    run(|| {
        let (mut client, server) = pair();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(kind(client.write(b"a")), ErrorKind::BrokenPipe);
        assert_eq!(kind(client.write_all(b"a")), ErrorKind::BrokenPipe);
        assert_eq!(
            kind(client.write_vectored(&[IoSlice::new(b"a")])),
            ErrorKind::BrokenPipe
        );
        drop(server);
    });
}

#[test]
fn writing_to_a_closed_peer_is_an_error_and_no_signal() {
    run(|| {
        let (mut client, server) = pair();
        drop(server);
        // The first may still succeed; what comes back makes the next ones fail.
        let kinds: Vec<_> = (0..1000)
            .map_while(|_| {
                client
                    .write(&[1; 1000])
                    .err()
                    .map_or(Some(None), |e| Some(Some(e.kind())))
            })
            .flatten()
            .take(3)
            .collect();
        assert!(
            matches!(kinds[0], ErrorKind::BrokenPipe | ErrorKind::ConnectionReset),
            "{kinds:?}"
        );
        assert_eq!(kinds[1..], [ErrorKind::BrokenPipe; 2]);
    });
}

#[test]
fn reset_while_reading() {
    run(|| {
        for n in 0..50 {
            let (client, server) = pair();
            let reader = thread::spawn(move || {
                assert_eq!(kind(read_up_to(&server, 1)), ErrorKind::ConnectionReset);
                assert_eq!(read_up_to(&server, 1).unwrap(), b"");
            });
            for _ in 0..n % 3 {
                thread::yield_now();
            }
            reset_on_drop(&client);
            drop(client);
            reader.join().unwrap();
        }
    });
}

#[test]
fn a_reset_ends_everybody_who_waits() {
    run(|| {
        for n in 0..20 {
            let (client, server) = pair();
            fill(&server);
            let server = Arc::new(server);
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    let server = Arc::clone(&server);
                    thread::spawn(move || read_up_to(&server, 1).map_err(|error| error.kind()))
                })
                .collect();
            let writer = Arc::clone(&server);
            let writer = thread::spawn(move || write_until_error(&writer));
            for _ in 0..n % 4 {
                thread::yield_now();
            }
            reset_on_drop(&client);
            drop(client);
            let mut resets = usize::from(writer.join().unwrap() == ErrorKind::ConnectionReset);
            for reader in readers {
                match reader.join().unwrap() {
                    Ok(bytes) => assert_eq!(bytes, b""),
                    Err(error) => {
                        assert_eq!(error, ErrorKind::ConnectionReset);
                        resets += 1;
                    }
                }
            }
            // One of them is told, the others find the end.
            assert_eq!(resets, 1);
        }
    });
}

#[test]
fn reset_while_writing() {
    run(|| {
        for _ in 0..20 {
            let (client, server) = pair();
            let writer = thread::spawn(move || {
                let first = write_until_error(&client);
                (first, kind((&client).write(b"a")))
            });
            thread::yield_now();
            reset_on_drop(&server);
            drop(server);
            let kinds = writer.join().unwrap();
            assert_eq!(kinds, (ErrorKind::ConnectionReset, ErrorKind::BrokenPipe));
        }
    });
}

#[test]
fn closing_with_unread_data_resets() {
    run(|| {
        let (mut client, server) = pair();
        client.write_all(b"never read").unwrap();
        assert_eq!(server.peek(&mut [0; 1]).unwrap(), 1);
        drop(server);
        assert_eq!(kind(read_up_to(&client, 1)), ErrorKind::ConnectionReset);
    });
}

// Timeouts.

#[test]
fn a_read_timeout_is_would_block_and_never_early() {
    run(|| {
        let (mut client, server) = pair();
        server.set_read_timeout(Some(SHORT)).unwrap();
        for _ in 0..3 {
            let start = Instant::now();
            assert_eq!(kind(read_up_to(&server, 1)), ErrorKind::WouldBlock);
            assert!(start.elapsed() >= SHORT);
            let start = Instant::now();
            assert_eq!(kind(server.peek(&mut [0; 1])), ErrorKind::WouldBlock);
            assert!(start.elapsed() >= SHORT);
        }
        client.write_all(b"a").unwrap();
        server.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(read_exactly(&server, 1), b"a");
    });
}

#[test]
fn a_read_timeout_begins_anew_with_each_read() {
    run(|| {
        let (mut client, server) = pair();
        server.set_read_timeout(Some(LONG)).unwrap();
        let reader = thread::spawn(move || {
            for _ in 0..200 {
                read_exactly(&server, 1);
            }
        });
        for _ in 0..200 {
            client.write_all(b"a").unwrap();
            thread::yield_now();
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_write_timeout_is_would_block_and_never_early() {
    run(|| {
        let (mut client, server) = pair();
        fill(&client);
        client.set_write_timeout(Some(SHORT)).unwrap();
        let start = Instant::now();
        // The system may have found a little more room meanwhile.
        let error = loop {
            match client.write(&[1; 64 * 1024]) {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(start.elapsed() >= SHORT);
        drop(server);
    });
}

#[test]
fn a_timeout_of_zero_is_refused() {
    run(|| {
        let (client, _server) = pair();
        let zero = Some(Duration::ZERO);
        assert_eq!(kind(client.set_read_timeout(zero)), ErrorKind::InvalidInput);
        assert_eq!(
            kind(client.set_write_timeout(zero)),
            ErrorKind::InvalidInput
        );
        assert_eq!(client.read_timeout().unwrap(), None);
        assert_eq!(client.write_timeout().unwrap(), None);
    });
}

#[test]
fn timeouts_are_kept_and_shared_with_clones() {
    run(|| {
        let (client, _server) = pair();
        let clone = client.try_clone().unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(7)))
            .unwrap();
        clone
            .set_write_timeout(Some(Duration::from_secs(8)))
            .unwrap();
        let later = clone.try_clone().unwrap();
        for stream in [&client, &clone, &later] {
            assert_eq!(stream.read_timeout().unwrap(), Some(Duration::from_secs(7)));
            assert_eq!(
                stream.write_timeout().unwrap(),
                Some(Duration::from_secs(8))
            );
        }
        later.set_read_timeout(Some(SHORT)).unwrap();
        assert_eq!(kind(read_up_to(&client, 1)), ErrorKind::WouldBlock);
        client.set_read_timeout(None).unwrap();
        assert_eq!(clone.read_timeout().unwrap(), None);
    });
}

// Non-blocking mode.

#[test]
fn non_blocking_operations_would_block() {
    run(|| {
        let (listener, address) = listen();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
        assert_eq!(
            kind(listener.incoming().next().unwrap()),
            ErrorKind::WouldBlock
        );
        let mut client = TcpStream::connect(address).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (mut server, _) = listener.accept().unwrap();

        // An accepted stream does not inherit the mode.
        server.set_nonblocking(true).unwrap();
        assert_eq!(kind(server.read(&mut [0; 1])), ErrorKind::WouldBlock);
        assert_eq!(kind(server.peek(&mut [0; 1])), ErrorKind::WouldBlock);
        let mut byte = [0];
        let mut slice = [IoSliceMut::new(&mut byte)];
        assert_eq!(
            kind(server.read_vectored(&mut slice)),
            ErrorKind::WouldBlock
        );
        assert!(fill(&server) > 0);

        // Blocking again: waits for what comes.
        server.set_nonblocking(false).unwrap();
        let reader = thread::spawn(move || read_exactly(&server, 1));
        thread::yield_now();
        client.write_all(b"a").unwrap();
        assert_eq!(reader.join().unwrap(), b"a");
    });
}

#[test]
fn clones_share_the_mode() {
    run(|| {
        let (client, _server) = pair();
        let clone = client.try_clone().unwrap();
        client.set_nonblocking(true).unwrap();
        assert_eq!(kind(read_up_to(&clone, 1)), ErrorKind::WouldBlock);
        let (listener, _) = listen();
        let twin = listener.try_clone().unwrap();
        twin.set_nonblocking(true).unwrap();
        assert_eq!(kind(listener.accept()), ErrorKind::WouldBlock);
    });
}

#[test]
fn trying_again_and_again_comes_to_an_end() {
    run(|| {
        let (client, server) = pair();
        server.set_nonblocking(true).unwrap();
        let writer = thread::spawn(move || (&client).write_all(b"a").unwrap());
        let byte = loop {
            match read_up_to(&server, 1) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => break other.unwrap(),
            }
        };
        assert_eq!(byte, b"a");
        writer.join().unwrap();
    });
}

// Connecting and listening.

#[test]
fn nobody_listens() {
    run(|| {
        let (listener, address) = listen();
        drop(listener);
        assert_eq!(
            kind(TcpStream::connect(address)),
            ErrorKind::ConnectionRefused
        );
        let refused = TcpStream::connect_timeout(&address, LONG);
        assert_eq!(kind(refused), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn several_addresses_are_tried_in_turn() {
    run(|| {
        let (gone, nowhere) = listen();
        drop(gone);
        let (listener, address) = listen();
        let stream = TcpStream::connect(&[nowhere, address][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        let refused = TcpStream::connect(&[nowhere, nowhere][..]);
        assert_eq!(kind(refused), ErrorKind::ConnectionRefused);

        let none = TcpStream::connect::<&[SocketAddr]>(&[]).unwrap_err();
        assert_eq!(none.kind(), ErrorKind::InvalidInput);
        assert_eq!(none.to_string(), "could not resolve to any addresses");
        let none = TcpListener::bind::<&[SocketAddr]>(&[]).unwrap_err();
        assert_eq!(none.to_string(), "could not resolve to any addresses");
        drop(listener);
    });
}

#[test]
fn addresses_that_cannot_be_connected_to() {
    run(|| {
        for address in [
            "0.0.0.0:1",
            "255.255.255.255:1",
            "224.0.0.1:1",
            "[ff02::1]:1",
            "[::]:1",
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let ours = TcpStream::connect_timeout(&address, SHORT).map(drop);
            let stds = std::net::TcpStream::connect_timeout(&address, SHORT).map(drop);
            assert_eq!(
                ours.map_err(|e| e.kind()),
                stds.map_err(|e| e.kind()),
                "{address}"
            );
        }
        // An address for documentation, which nobody has.
        assert_eq!(
            kind(TcpListener::bind("203.0.113.1:0")),
            ErrorKind::AddrNotAvailable
        );
        let (_listener, taken) = listen();
        assert_eq!(kind(TcpListener::bind(taken)), ErrorKind::AddrInUse);
    });
}

/// A listener that is full, so that connecting to it takes for ever.
fn full_listener() -> (Socket, SocketAddr, Vec<std::net::TcpStream>) {
    let socket = Socket::new(socket2::Domain::IPV4, Type::STREAM, None).unwrap();
    socket
        .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
        .unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut clients = Vec::new();
    while let Ok(client) = std::net::TcpStream::connect_timeout(&address, SHORT) {
        clients.push(client);
    }
    (socket, address, clients)
}

#[test]
fn connecting_may_time_out_and_never_early() {
    run(|| {
        let (listener, address, _clients) = full_listener();
        let start = Instant::now();
        let timed_out = TcpStream::connect_timeout(&address, SHORT).unwrap_err();
        assert_eq!(timed_out.kind(), ErrorKind::TimedOut);
        assert!(start.elapsed() >= SHORT);
        let zero = TcpStream::connect_timeout(&address, Duration::ZERO).unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
        assert_eq!(zero.to_string(), "cannot set a 0 duration timeout");
        drop(listener);
    });
}

#[test]
fn connecting_waits_for_a_full_listener() {
    run(|| {
        let (listener, address, _clients) = full_listener();
        let connecting = thread::spawn(move || TcpStream::connect_timeout(&address, LONG));
        thread::yield_now();
        // Room is made, and the client tries again when its system next does: after a second.
        drop(listener.accept().unwrap());
        let stream = connecting.join().unwrap().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
    });
}

#[test]
fn reset_while_connecting() {
    run(|| {
        let (listener, address) = listen();
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        let resetter = thread::spawn(move || {
            while !flag.load(Relaxed) {
                let (stream, _) = listener.accept().unwrap();
                reset_on_drop(&stream);
            }
            // Those that are connected and not accepted are reset too.
            drop(listener);
        });
        for _ in 0..200 {
            match TcpStream::connect(address) {
                Ok(stream) => match read_up_to(&stream, 1) {
                    Ok(bytes) => assert_eq!(bytes, b""),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                },
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
            }
        }
        done.store(true, Relaxed);
        let _ = TcpStream::connect(address);
        resetter.join().unwrap();
        assert_eq!(
            kind(TcpStream::connect(address)),
            ErrorKind::ConnectionRefused
        );
    });
}

#[test]
fn a_listener_that_goes_resets_who_was_not_accepted() {
    run(|| {
        let (listener, address) = listen();
        let client = TcpStream::connect(address).unwrap();
        let reader = thread::spawn(move || kind(read_up_to(&client, 1)));
        thread::yield_now();
        drop(listener);
        assert_eq!(reader.join().unwrap(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn several_threads_accept_from_one_listener() {
    run(|| {
        let (listener, address) = listen();
        let listener = Arc::new(listener);
        let acceptors: Vec<_> = (0..3)
            .map(|_| {
                let listener = Arc::clone(&listener);
                thread::spawn(move || {
                    (0..20)
                        .map(|_| listener.accept().unwrap().1.port())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let clients: Vec<_> = (0..60)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let mut accepted: Vec<_> = acceptors
            .into_iter()
            .flat_map(|a| a.join().unwrap())
            .collect();
        let mut connected: Vec<_> = clients
            .iter()
            .map(|client| client.local_addr().unwrap().port())
            .collect();
        accepted.sort();
        connected.sort();
        assert_eq!(accepted, connected);
    });
}

#[test]
fn a_clone_of_a_listener_accepts_too() {
    run(|| {
        let (listener, address) = listen();
        let clone = listener.try_clone().unwrap();
        let acceptor = thread::spawn(move || clone.accept().unwrap().1);
        thread::yield_now();
        let first = TcpStream::connect(address).unwrap();
        assert_eq!(acceptor.join().unwrap(), first.local_addr().unwrap());
        let second = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().unwrap().1, second.local_addr().unwrap());
    });
}

#[test]
fn incoming_goes_on_and_on() {
    run(|| {
        let (listener, address) = listen();
        let client = thread::spawn(move || {
            for n in 0..50 {
                TcpStream::connect(address)
                    .unwrap()
                    .write_all(&[n])
                    .unwrap();
            }
        });
        for (n, stream) in listener.incoming().take(50).enumerate() {
            assert_eq!(read_exactly(&stream.unwrap(), 1), [n as u8]);
        }
        client.join().unwrap();
    });
}

#[test]
fn names_are_looked_up() {
    run(|| {
        let listener = TcpListener::bind("localhost:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = TcpStream::connect(("localhost", port)).unwrap();
        assert_eq!(stream.peer_addr().unwrap().port(), port);
        assert!(TcpStream::connect("no colon").is_err());
    });
}

// What the rest of the system can see.

#[test]
fn addresses_and_debug() {
    run(|| {
        use std::os::fd::AsRawFd;
        let (listener, address) = listen();
        let client = TcpStream::connect(address).unwrap();
        let (server, _) = listener.accept().unwrap();
        let (a, b) = (client.local_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(
            (client.peer_addr().unwrap(), server.peer_addr().unwrap()),
            (b, a)
        );
        let fd = client.as_raw_fd();
        assert_eq!(
            format!("{client:?}"),
            format!("TcpStream {{ addr: {a}, peer: {b}, fd: {fd} }}")
        );
        let fd = listener.as_raw_fd();
        assert_eq!(
            format!("{listener:?}"),
            format!("TcpListener {{ addr: {b}, fd: {fd} }}")
        );
        assert_eq!(
            format!("{:?}", listener.incoming()),
            format!("Incoming {{ listener: TcpListener {{ addr: {b}, fd: {fd} }} }}")
        );
    });
}

#[test]
fn options() {
    run(|| {
        let (listener, address) = listen();
        listener.set_ttl(33).unwrap();
        assert_eq!(listener.ttl().unwrap(), 33);
        #[expect(deprecated, reason = "there all the same")]
        for address in ["127.0.0.1:0", "[::]:0", "[::1]:0"] {
            let (ours, stds) = (
                TcpListener::bind(address),
                std::net::TcpListener::bind(address),
            );
            if let (Ok(ours), Ok(stds)) = (ours, stds) {
                let (ours_is, stds_is) = (ours.only_v6(), stds.only_v6());
                assert_eq!(ours_is.map_err(|e| e.kind()), stds_is.map_err(|e| e.kind()));
                let (ours_set, stds_set) = (ours.set_only_v6(true), stds.set_only_v6(true));
                assert_eq!(
                    ours_set.map_err(|e| e.kind()),
                    stds_set.map_err(|e| e.kind())
                );
            }
        }
        assert!(listener.take_error().unwrap().is_none());
        let stream = TcpStream::connect(address).unwrap();
        stream.set_ttl(44).unwrap();
        assert_eq!(stream.ttl().unwrap(), 44);
        assert!(!stream.nodelay().unwrap());
        stream.set_nodelay(true).unwrap();
        assert!(stream.nodelay().unwrap());
        assert!(stream.try_clone().unwrap().nodelay().unwrap());
        assert!(stream.take_error().unwrap().is_none());
        let (server, _) = listener.accept().unwrap();
        reset_on_drop(&server);
        drop(server);
        // The reset waits at the socket until somebody asks.
        let error = loop {
            match stream.take_error().unwrap() {
                Some(error) => break error,
                None => thread::yield_now(),
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(stream.take_error().unwrap().is_none());
        assert_eq!(
            kind(stream.shutdown(Shutdown::Both)),
            ErrorKind::NotConnected
        );
        assert_eq!(kind(stream.peer_addr()), ErrorKind::NotConnected);
    });
}

#[test]
fn traits() {
    fn all<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    fn streams<T: Read + Write>()
    where
        for<'a> &'a TcpStream: Read + Write,
    {
    }
    all::<TcpStream>();
    all::<TcpListener>();
    streams::<TcpStream>();
}
