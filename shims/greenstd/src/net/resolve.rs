//! Addresses from whatever has some: numbers, literals, names.

use std::io;
use std::iter::Cloned;
use std::net::{self, IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::{option, slice, vec};

use greenrt::lowlevel::{self, Lane};

/// What has addresses.
///
/// As [`std::net::ToSocketAddrs`], and a trait of its own, for the same types: to look up a name, the
/// calling green thread parks, while the system's `getaddrinfo` is called on an OS thread of a pool for
/// that alone ([`Lane::Dns`]). Those that wait for a dead name server hold nobody up, until there are
/// 256 of them at once: further ones wait for one to end. Literals are not looked up.
///
/// A lookup is a point of cancellation: a cancelled green thread unwinds at once, and the system's call
/// goes on to its end, for nobody.
///
/// # Examples
///
/// ```
/// use greenstd::net::ToSocketAddrs;
///
/// # fn main() -> std::io::Result<()> {
/// let mut addresses = "localhost:80".to_socket_addrs()?;
/// assert!(addresses.any(|address| address.ip().is_loopback() && address.port() == 80));
/// # Ok(())
/// # }
/// ```
pub trait ToSocketAddrs {
    /// Gives the addresses, one after the other.
    type Iter: Iterator<Item = SocketAddr>;

    /// The addresses; looks them up if need be.
    ///
    /// # Errors
    ///
    /// As std's: of kind `InvalidInput` if a text is none of an address; those of the lookup.
    fn to_socket_addrs(&self) -> io::Result<Self::Iter>;
}

/// What std has answers for without looking anything up.
macro_rules! numbers {
    ($($Address:ty),*) => {$(
        impl ToSocketAddrs for $Address {
            type Iter = option::IntoIter<SocketAddr>;

            fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
                net::ToSocketAddrs::to_socket_addrs(self)
            }
        }
    )*};
}

numbers!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl ToSocketAddrs for (&str, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let (host, port) = *self;
        if !lowlevel::on_green_thread() || host.parse::<IpAddr>().is_ok() {
            return net::ToSocketAddrs::to_socket_addrs(self);
        }
        let host = host.to_owned();
        lowlevel::offload_to(Lane::Dns, move || {
            net::ToSocketAddrs::to_socket_addrs(&(&*host, port))
        })
    }
}

impl ToSocketAddrs for (String, u16) {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (&*self.0, self.1).to_socket_addrs()
    }
}

impl ToSocketAddrs for str {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        let is_address = self.parse::<SocketAddr>().is_ok();
        let name = self
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        match name {
            Some(name) if !is_address => name.to_socket_addrs(),
            // A literal, or nothing that could be looked up, which std says in its own words.
            _ => net::ToSocketAddrs::to_socket_addrs(self),
        }
    }
}

impl ToSocketAddrs for String {
    type Iter = vec::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

impl<'a> ToSocketAddrs for &'a [SocketAddr] {
    type Iter = Cloned<slice::Iter<'a, SocketAddr>>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        Ok(self.iter().cloned())
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {
    type Iter = T::Iter;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (**self).to_socket_addrs()
    }
}

/// All of them, for those of std's functions that try one after the other.
pub(super) fn all(addresses: impl ToSocketAddrs) -> io::Result<Vec<SocketAddr>> {
    Ok(addresses.to_socket_addrs()?.collect())
}
