//! Both pipes of a child, read at once until each has met its end.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};

use greenrt::lowlevel::{self, Io, process as low};
use greenrt::sync::select::{ReadyArm, Select};

use super::pipe::{ChildStderr, ChildStdout};

/// What one read has room for, at first and at the most, which is what a pipe holds.
const ROOM: usize = 4 * 1024;
const ROOM_MAX: usize = 64 * 1024;
/// What one of them gets before it is the other's turn.
const TURN: usize = 256 * 1024;

/// All that comes from both.
pub(super) fn read_both(
    out: Option<ChildStdout>,
    err: Option<ChildStderr>,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut from_out, mut from_err) = (Vec::new(), Vec::new());
    match (out, err) {
        (None, None) => {}
        (Some(mut out), None) => _ = out.read_to_end(&mut from_out)?,
        (None, Some(mut err)) => _ = err.read_to_end(&mut from_err)?,
        (Some(mut out), Some(mut err)) => loop {
            if drain(out.as_fd(), &mut from_out)? {
                err.read_to_end(&mut from_err)?;
                break;
            }
            if drain(err.as_fd(), &mut from_err)? {
                out.read_to_end(&mut from_out)?;
                break;
            }
            wait_for_either(out.0.io(), err.0.io())?;
        },
    }
    Ok((from_out, from_err))
}

/// Reads what is there; `true`: all of it, for it has met the end.
fn drain(fd: BorrowedFd<'_>, to: &mut Vec<u8>) -> io::Result<bool> {
    let start = to.len();
    while to.len() < start + TURN {
        let len = to.len();
        to.resize(len + len.clamp(ROOM, ROOM_MAX), 0);
        let read = low::read(fd, &mut to[len..]);
        to.truncate(len + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => return Ok(true),
            Ok(_) => lowlevel::spend_credit(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn wait_for_either<A: AsFd, B: AsFd>(one: &Io<A>, other: &Io<B>) -> io::Result<()> {
    if !lowlevel::on_green_thread() {
        return low::wait_readable(one.as_fd(), other.as_fd());
    }
    let mut one = ReadyArm::readable(one);
    let mut other = ReadyArm::readable(other);
    let mut select = Select::new();
    select.add(&mut one);
    select.add(&mut other);
    select.wait();
    Ok(())
}
