//! TCP: streams and those who listen for them.

pub(crate) mod ext;
mod listener;
mod stream;

pub use self::listener::{Incoming, IntoIncoming, TcpListener};
pub use self::stream::TcpStream;
