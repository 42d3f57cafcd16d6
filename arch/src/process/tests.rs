//! What the rest cannot see: the way without `RWF_NOWAIT`, and the encoding of each state.

use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Command, Stdio};

use super::*;

#[test]
fn nobody_waits_for_a_pipe() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    for way in [read_vectored, read_if_ready] {
        let mut buffer = [0; 4];
        let read = |buffer: &mut [u8]| {
            let (head, tail) = buffer.split_at_mut(1);
            way(
                reader.as_fd(),
                &mut [IoSliceMut::new(head), IoSliceMut::new(tail)],
            )
        };
        assert_eq!(read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        writer.write_all(b"abc").unwrap();
        assert_eq!(read(&mut buffer).unwrap(), 3);
        assert_eq!(&buffer, b"abc\0");
    }
    for way in [write_vectored, write_if_ready] {
        let mut n = 0;
        let full = loop {
            match way(
                writer.as_fd(),
                &[IoSlice::new(&[]), IoSlice::new(&[7; 10_000])],
            ) {
                Ok(written) => n += written,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        // The fallback stops a page early.
        assert!(n >= 60_000, "{n}");
        reader.read_exact(&mut vec![0; n]).unwrap();
    }
    assert!(!fd::is_nonblocking(reader.as_fd()).unwrap());
    assert!(!fd::is_nonblocking(writer.as_fd()).unwrap());
    drop(writer);
    assert_eq!(read(reader.as_fd(), &mut [0]).unwrap(), 0);
    assert_eq!(
        read_if_ready(reader.as_fd(), &mut [IoSliceMut::new(&mut [0])]).unwrap(),
        0
    );
}

#[test]
fn nothing_to_read_or_write_is_done_at_once() {
    let (reader, writer) = io::pipe().unwrap();
    assert_eq!(read_vectored(reader.as_fd(), &mut []).unwrap(), 0);
    assert_eq!(write(writer.as_fd(), &[]).unwrap(), 0);
    assert_eq!(write_if_ready(writer.as_fd(), &[]).unwrap(), 0);
}

/// Looks until something has become of the child.
fn seen(which: Which, states: States) -> i32 {
    loop {
        if let Some(change) = look(which, states, true).unwrap() {
            assert_eq!(look(which, states, false).unwrap(), Some(change));
            return change.status;
        }
    }
}

#[test]
#[expect(clippy::zombie_processes, reason = "their ends are taken by number")]
fn a_child_is_seen_by_each_name_and_in_each_state() {
    let mut cat = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = cat.id();
    let Ok(descriptor) = open(pid) else {
        return cat.kill().unwrap();
    };
    let names = [
        Which::Process(pid),
        Which::Descriptor(descriptor.as_raw_fd()),
    ];
    let all = States {
        ended: true,
        stopped: true,
        continued: true,
    };
    for name in names {
        assert_eq!(look(name, all, false).unwrap(), None);
        signal_pid(pid, signal::STOP).unwrap();
        assert_eq!(seen(name, all), libc::SIGSTOP << 8 | 0x7f);
        assert_eq!(look(name, States::ENDED, false).unwrap(), None);
        signal(descriptor.as_fd(), signal::CONTINUE).unwrap();
        assert_eq!(seen(name, all), 0xffff);
    }
    signal(descriptor.as_fd(), signal::KILL).unwrap();
    assert_eq!(seen(names[1], States::ENDED), libc::SIGKILL);
    for name in names {
        let error = look(name, all, false).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECHILD));
    }

    let exits = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    assert_eq!(seen(Which::Process(exits.id()), States::ENDED), 7 << 8);
    assert_eq!(
        signal_group(1, 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        signal_pid(0, 0).unwrap_err().kind(),
        ErrorKind::InvalidInput
    );
}
