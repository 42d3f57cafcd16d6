//! The clients: one thread, one epoll, each connection waiting for its answer before it sends again.
//!
//! A child process that takes commands by lines and answers each with one:
//!
//! ```text
//! connect N        opens connections
//! echo MS          echoes for so long: requests, nanoseconds, and four latencies
//! churn MS N       connects, sends one request, closes, N at a time; as `echo`
//! request          one HTTP request on each connection
//! ```

use std::io::{self, BufRead, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use crate::child;
use crate::serve::epoll::Epoll;

/// What an echo sends.
const MESSAGE: [u8; 64] = [b'.'; 64];
/// How long a server may say nothing at all.
const SILENCE_MS: i32 = 5000;
const REQUEST: &[u8] =
    b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: peers\r\nAccept: */*\r\n\r\n";

pub(crate) fn child(server: &str) {
    child::pin_to(child::CLIENT_CPU);
    let mut client = Client::new(Server::from_announced(server));
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<u64>().expect("a number");
        let done = match words[..] {
            ["connect", n] => client.connect(number(n) as usize).map(|()| "done".into()),
            ["echo", ms] => client.echo(Duration::from_millis(number(ms))),
            ["churn", ms, n] => client.churn(Duration::from_millis(number(ms)), number(n) as usize),
            ["request"] => client.request().map(|()| "done".into()),
            _ => panic!("{line} is not known"),
        };
        println!("{}", done.unwrap_or_else(|error| format!("fails: {error}")));
    }
}

/// Where the server is, as it has told.
enum Server {
    Tcp(u16),
    Udp(u16),
    /// An abstract name.
    Unix(String),
}

impl Server {
    fn from_announced(text: &str) -> Server {
        let port = |text: &str| text.parse().expect("a port");
        match text.split_once(':') {
            None => Server::Tcp(port(text)),
            Some(("udp", text)) => Server::Udp(port(text)),
            Some((_, name)) => Server::Unix(name.into()),
        }
    }
}

struct Client {
    server: Server,
    epoll: Epoll,
    connections: Vec<Connection>,
    n_opened: u32,
    latencies: Histogram,
}

struct Connection {
    stream: TcpStream,
    sent: Instant,
    n_received: usize,
}

impl Client {
    fn new(server: Server) -> Client {
        Client {
            server,
            epoll: Epoll::new().expect("an epoll"),
            connections: Vec::new(),
            n_opened: 0,
            latencies: Histogram::new(),
        }
    }

    /// Opens a connection. They come from many addresses, for one has only 28,000 ports, and keeps
    /// each for a minute after its connection was closed.
    fn open(&mut self, slot: usize) -> io::Result<Connection> {
        self.n_opened += 1;
        let [_, b, c, d] = (self.n_opened / 1000).to_be_bytes();
        let from = SocketAddrV4::new(Ipv4Addr::new(127, b, c, d.max(1)), 0);
        // Reading and writing are the same calls for all.
        let stream = match &self.server {
            Server::Tcp(port) => connect(from, SocketAddrV4::new(Ipv4Addr::LOCALHOST, *port))?,
            Server::Udp(port) => {
                let socket = UdpSocket::bind("127.0.0.1:0")?;
                socket.connect((Ipv4Addr::LOCALHOST, *port))?;
                OwnedFd::from(socket).into()
            }
            Server::Unix(name) => {
                let address = SocketAddr::from_abstract_name(name)?;
                OwnedFd::from(UnixStream::connect_addr(&address)?).into()
            }
        };
        stream.set_nonblocking(true)?;
        self.epoll
            .add(stream.as_raw_fd(), slot as u64, libc::EPOLLIN)?;
        Ok(Connection {
            stream,
            sent: Instant::now(),
            n_received: 0,
        })
    }

    fn connect(&mut self, n: usize) -> io::Result<()> {
        while self.connections.len() < n {
            let connection = self.open(self.connections.len())?;
            self.connections.push(connection);
            if self.connections.len().is_multiple_of(500) {
                // Lets the server accept them.
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(())
    }

    fn echo(&mut self, duration: Duration) -> io::Result<String> {
        let start = Instant::now();
        self.latencies.clear();
        for connection in &mut self.connections {
            connection.send(&MESSAGE)?;
        }
        let (mut n_waiting, mut n_done) = (self.connections.len(), 0_u64);
        let mut buffer = [0; 4096];
        let mut running = true;
        while n_waiting > 0 {
            for event in self.epoll.wait(SILENCE_MS)? {
                let connection = &mut self.connections[event as usize];
                connection.n_received += connection.receive(&mut buffer)?;
                if connection.n_received < MESSAGE.len() {
                    continue;
                }
                n_done += 1;
                let now = Instant::now();
                self.latencies.add(now - connection.sent);
                running = running && now - start < duration;
                if running {
                    connection.send(&MESSAGE)?;
                } else {
                    n_waiting -= 1;
                }
            }
        }
        Ok(self.result(n_done, start))
    }

    fn churn(&mut self, duration: Duration, n: usize) -> io::Result<String> {
        let start = Instant::now();
        self.latencies.clear();
        self.connections.clear();
        for slot in 0..n {
            let mut connection = self.open(slot)?;
            connection.send(&MESSAGE)?;
            self.connections.push(connection);
        }
        let (mut n_waiting, mut n_done) = (n, 0);
        let (mut buffer, mut ready) = ([0; 4096], Vec::new());
        while n_waiting > 0 {
            ready.extend(self.epoll.wait(SILENCE_MS)?.map(|slot| slot as usize));
            for slot in ready.drain(..) {
                let connection = &mut self.connections[slot];
                connection.n_received += connection.receive(&mut buffer)?;
                if connection.n_received < MESSAGE.len() {
                    continue;
                }
                n_done += 1;
                self.latencies.add(connection.sent.elapsed());
                if start.elapsed() < duration {
                    // Closes the old one.
                    let sent = Instant::now();
                    self.connections[slot] = self.open(slot)?;
                    self.connections[slot].send(&MESSAGE)?;
                    self.connections[slot].sent = sent;
                } else {
                    n_waiting -= 1;
                }
            }
        }
        self.connections.clear();
        Ok(self.result(n_done, start))
    }

    fn request(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        for connection in &mut self.connections {
            connection.stream.set_nonblocking(false)?;
            connection.stream.write_all(REQUEST)?;
            if connection.stream.read(&mut buffer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            connection.stream.set_nonblocking(true)?;
        }
        Ok(())
    }

    /// Requests, nanoseconds, latency at half, 99 %, 99.9 % and at most, in nanoseconds.
    fn result(&self, n_done: u64, start: Instant) -> String {
        let took = start.elapsed().as_nanos();
        let [half, p99, p999, max] = [0.5, 0.99, 0.999, 1.0].map(|share| self.latencies.at(share));
        format!("{n_done} {took} {half} {p99} {p999} {max}")
    }
}

impl Connection {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.n_received = 0;
        self.sent = Instant::now();
        match self.stream.write(message)? {
            n if n == message.len() => Ok(()),
            _ => Err(io::ErrorKind::WriteZero.into()),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream.read(buffer) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            received => received,
        }
    }
}

/// Connects, blocking, from an address of which the system chooses the port.
fn connect(from: SocketAddrV4, to: SocketAddrV4) -> io::Result<TcpStream> {
    // SAFETY: no memory is passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: new, and ours.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let one: libc::c_int = 1;
    // The port is chosen by `connect`, which knows both ends. Should the option not be there,
    // ports run out sooner.
    // SAFETY: the option is an int.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const one).cast(),
            size_of::<libc::c_int>() as u32,
        );
    }
    let address = |address: SocketAddrV4| libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from(*address.ip()).to_be(),
        },
        sin_zero: [0; 8],
    };
    let bytes = size_of::<libc::sockaddr_in>() as u32;
    let from = address(from);
    // SAFETY: the address is as long as is said.
    if unsafe { libc::bind(fd.as_raw_fd(), (&raw const from).cast(), bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let to = address(to);
    // SAFETY: the address is as long as is said.
    if unsafe { libc::connect(fd.as_raw_fd(), (&raw const to).cast(), bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd.into())
}

/// Counts durations by size: 32 steps to each doubling.
struct Histogram {
    counts: Vec<u64>,
    max_ns: u64,
}

const STEPS: u64 = 32;

impl Histogram {
    fn new() -> Histogram {
        Histogram {
            counts: vec![0; 64 * STEPS as usize],
            max_ns: 0,
        }
    }

    fn clear(&mut self) {
        self.counts.fill(0);
        self.max_ns = 0;
    }

    fn add(&mut self, duration: Duration) {
        let ns = duration.as_nanos() as u64;
        self.max_ns = self.max_ns.max(ns);
        self.counts[Self::index(ns)] += 1;
    }

    fn index(ns: u64) -> usize {
        let ns = ns.max(STEPS);
        let doublings = ns.ilog2() - STEPS.ilog2();
        (u64::from(doublings) * STEPS + (ns >> doublings) - STEPS) as usize
    }

    /// The duration that a share of them did not exceed.
    fn at(&self, share: f64) -> u64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                let (doublings, step) = (index as u64 / STEPS, index as u64 % STEPS);
                return ((STEPS + step + 1) << doublings).min(self.max_ns);
            }
        }
        self.max_ns
    }
}
