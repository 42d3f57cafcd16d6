//! Pipes.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::process::Stdio;

use socket2::SockRef;

use super::root::io::{PipeReader, PipeWriter, pipe};
use super::{run, thread};

#[test]
fn what_is_written_is_read() {
    run(|| {
        let (reader, mut writer) = pipe().unwrap();
        let reading = thread::spawn(move || {
            let mut bytes = Vec::new();
            (&reader).read_to_end(&mut bytes).unwrap();
            bytes
        });
        let mut sent = Vec::new();
        for n in [1, 2, 100, 4096, 5000, 65_536, 300_000] {
            let part: Vec<u8> = (0..n).map(|i| (i * 31 % 251) as u8).collect();
            writer.write_all(&part).unwrap();
            sent.extend(part);
        }
        writer.flush().unwrap();
        drop(writer);
        assert!(reading.join().unwrap() == sent);
    });
}

#[test]
fn back_and_forth() {
    run(|| {
        let ((mut near_in, mut far_out), (mut far_in, mut near_out)) =
            (pipe().unwrap(), pipe().unwrap());
        let echo = thread::spawn(move || io::copy(&mut far_in, &mut far_out).unwrap());
        let mut room = [0; 64];
        for n in 0..300_u32 {
            near_out.write_all(&[n as u8; 64]).unwrap();
            near_in.read_exact(&mut room).unwrap();
            assert_eq!(room, [n as u8; 64]);
        }
        drop(near_out);
        assert_eq!(echo.join().unwrap(), 300 * 64);
    });
}

#[test]
fn a_full_pipe_waits_for_its_reader() {
    run(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let n = 1 << 20;
        let writing = thread::spawn(move || writer.write_all(&vec![7; n]).unwrap());
        thread::yield_now();
        let mut n_read = 0;
        let mut room = [0; 3000];
        loop {
            match reader.read(&mut room).unwrap() {
                0 => break,
                n => n_read += n,
            }
        }
        assert_eq!(n_read, n);
        writing.join().unwrap();
    });
}

#[test]
fn the_end_comes_when_the_last_writer_goes() {
    run(|| {
        let (mut reader, writer) = pipe().unwrap();
        let clone = writer.try_clone().unwrap();
        drop(writer);
        let reading = thread::spawn(move || {
            let n = reader.read(&mut [0; 8]).unwrap();
            (n, reader.read(&mut [0; 8]).unwrap())
        });
        thread::yield_now();
        (&clone).write_all(b"abc").unwrap();
        thread::yield_now();
        drop(clone);
        assert_eq!(reading.join().unwrap(), (3, 0));
    });
}

#[test]
fn nobody_reads_any_more() {
    run(|| {
        let (reader, mut writer) = pipe().unwrap();
        drop(reader);
        for _ in 0..2 {
            assert_eq!(
                writer.write(b"a").unwrap_err().kind(),
                ErrorKind::BrokenPipe
            );
        }
        // While somebody waits for room.
        let (reader, mut writer) = pipe().unwrap();
        let writing = thread::spawn(move || writer.write_all(&vec![0; 1 << 20]));
        thread::yield_now();
        drop(reader);
        assert_eq!(
            writing.join().unwrap().unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
    });
}

#[test]
fn slices() {
    run(|| {
        let (mut reader, mut writer) = pipe().unwrap();
        let sent = [&b"ab"[..], b"", b"cde", b""].map(IoSlice::new);
        assert_eq!(writer.write_vectored(&sent).unwrap(), 5);
        let (mut first, mut second) = ([0; 1], [0; 10]);
        let mut room = [&mut [][..], &mut first, &mut [], &mut second].map(IoSliceMut::new);
        assert_eq!(reader.read_vectored(&mut room).unwrap(), 5);
        assert_eq!((&first, &second[..4]), (b"a", &b"bcde"[..]));
        assert_eq!(writer.write_vectored(&[]).unwrap(), 0);
        assert_eq!(writer.write_vectored(&[IoSlice::new(b"")]).unwrap(), 0);
        assert_eq!(reader.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(reader.read(&mut []).unwrap(), 0);
        let late: Vec<_> = (0..3000).map(|n| IoSlice::new(&b"x"[..n / 2999])).collect();
        assert_eq!(writer.write_vectored(&late).unwrap(), 0);
        // More than the system takes at once.
        let many = vec![IoSlice::new(b"x"); 3000];
        assert_eq!(writer.write_vectored(&many).unwrap(), 1024);
        assert_eq!(reader.read(&mut [0; 5000]).unwrap(), 1024);
    });
}

#[test]
fn many_writers_keep_their_lines_together() {
    run(|| {
        let (reader, writer) = pipe().unwrap();
        let writers: Vec<_> = (0..4)
            .map(|who| {
                let mut writer = writer.try_clone().unwrap();
                thread::spawn(move || {
                    let line = format!("{}\n", who.to_string().repeat(999));
                    (0..100).for_each(|_| writer.write_all(line.as_bytes()).unwrap());
                })
            })
            .collect();
        drop(writer);
        let text = io::read_to_string(reader).unwrap();
        assert_eq!(text.lines().count(), 400);
        for line in text.lines() {
            assert!(line.len() == 999 && line.bytes().all(|b| b == line.as_bytes()[0]));
        }
        writers.into_iter().for_each(|w| w.join().unwrap());
    });
}

#[test]
#[expect(unsafe_code, reason = "numbers become descriptors")]
fn descriptors_come_and_go() {
    run(|| {
        let (reader, writer) = pipe().unwrap();
        for end in [reader.as_fd(), writer.as_fd()] {
            assert!(!SockRef::from(&end).nonblocking().unwrap());
        }
        let number = reader.into_raw_fd();
        // SAFETY: it is ours since `into_raw_fd`.
        let mut reader = unsafe { PipeReader::from_raw_fd(number) };
        assert_eq!(reader.as_raw_fd(), number);
        let writer = PipeWriter::from(OwnedFd::from(writer));
        (&writer).write_all(b"abc").unwrap();
        reader.read_exact(&mut [0; 3]).unwrap();
        assert!(format!("{reader:?}").starts_with("PipeReader("));
        // As its user has set it.
        let (reader, _writer) = std::io::pipe().unwrap();
        SockRef::from(&reader).set_nonblocking(true).unwrap();
        let mut reader = PipeReader::from(OwnedFd::from(reader));
        assert_eq!(
            reader.read(&mut [0]).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

#[test]
fn a_child_at_the_other_end() {
    run(|| {
        let (their_input, mut input) = pipe().unwrap();
        let (mut output, their_output) = pipe().unwrap();
        let mut child = std::process::Command::new("cat")
            .stdin(Stdio::from(their_input))
            .stdout(their_output)
            .spawn()
            .unwrap();
        let writing = thread::spawn(move || input.write_all(&vec![1; 300_000]).unwrap());
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 300_000);
        writing.join().unwrap();
        let status = child.wait().unwrap();
        assert!(status.success());
    });
}
