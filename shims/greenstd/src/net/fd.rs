//! Sockets as descriptors, with the conversions that std has.

#![expect(unsafe_code, reason = "a number becomes a descriptor")]

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::panic::{RefUnwindSafe, UnwindSafe};

use super::socket::Socket;
use super::{TcpListener, TcpStream, UdpSocket};
use crate::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

macro_rules! as_descriptor {
    ($Socket:ident, $std:path) => {
        impl AsFd for $Socket {
            /// The descriptor. For its mode see [`net`](crate::net#differences-from-std).
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.expose().as_fd()
            }
        }

        impl AsRawFd for $Socket {
            /// The descriptor's number. For its mode see [`net`](crate::net#differences-from-std).
            fn as_raw_fd(&self) -> RawFd {
                self.socket.expose().as_raw_fd()
            }
        }

        impl From<OwnedFd> for $Socket {
            /// Takes over a descriptor, with its mode and timeouts, and leaves these as they are.
            fn from(fd: OwnedFd) -> Self {
                $Socket {
                    socket: Socket::adopt(fd),
                }
            }
        }

        impl From<$Socket> for OwnedFd {
            /// Hands the descriptor over, in the mode that the socket's user asked for.
            fn from(socket: $Socket) -> Self {
                socket.socket.into_inner().into()
            }
        }

        impl From<$std> for $Socket {
            /// Takes over a socket of std, with its mode and timeouts, and leaves these as they are.
            fn from(socket: $std) -> Self {
                OwnedFd::from(socket).into()
            }
        }

        impl From<$Socket> for $std {
            /// Hands the socket over to std, with its timeouts and in the mode that its user asked
            /// for.
            fn from(socket: $Socket) -> Self {
                socket.socket.into_inner()
            }
        }

        // As std's: an operation that unwinds leaves the socket as it was.
        impl UnwindSafe for $Socket {}
        impl RefUnwindSafe for $Socket {}

        impl fmt::Debug for $Socket {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.socket.get().fmt(f)
            }
        }

        impl FromRawFd for $Socket {
            /// Takes over a descriptor, with its mode and timeouts, and leaves these as they are.
            unsafe fn from_raw_fd(fd: RawFd) -> Self {
                // SAFETY: the caller owns the descriptor, and gives it to us.
                let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                fd.into()
            }
        }

        impl IntoRawFd for $Socket {
            /// Hands the descriptor over, in the mode that the socket's user asked for.
            fn into_raw_fd(self) -> RawFd {
                OwnedFd::from(self).into_raw_fd()
            }
        }
    };
}

as_descriptor!(TcpListener, std::net::TcpListener);
as_descriptor!(TcpStream, std::net::TcpStream);
as_descriptor!(UdpSocket, std::net::UdpSocket);
as_descriptor!(UnixListener, std::os::unix::net::UnixListener);
as_descriptor!(UnixStream, std::os::unix::net::UnixStream);
as_descriptor!(UnixDatagram, std::os::unix::net::UnixDatagram);
