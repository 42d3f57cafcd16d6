//! Sockets as descriptors, with the conversions that std has.

#![expect(unsafe_code, reason = "a number becomes a descriptor")]

use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use super::{TcpListener, TcpStream};
use crate::net::socket::Socket;

macro_rules! as_descriptor {
    ($Socket:ident, $mode:literal) => {
        impl AsFd for $Socket {
            #[doc = concat!("The descriptor. It is in ", $mode, ".")]
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.expose().as_fd()
            }
        }

        impl AsRawFd for $Socket {
            #[doc = concat!("The descriptor's number. It is in ", $mode, ".")]
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
                net::$Socket::from(socket).into()
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

as_descriptor!(
    TcpListener,
    "non-blocking mode if it was opened here, otherwise in the mode that the socket's user asked for"
);
as_descriptor!(TcpStream, "the mode that the socket's user asked for");
