//! TCP: streams and those who listen for them.

mod fd;
mod listener;
mod stream;

pub use self::listener::{Incoming, TcpListener};
pub use self::stream::TcpStream;
