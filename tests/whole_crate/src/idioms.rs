//! What people write with std, a little of everything.

use std::{
    self, error,
    io::{self, prelude::*},
};

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt::{self, Display};
use std::io::{BufReader, BufWriter, IsTerminal, LineWriter};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{sync_channel, TrySendError};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, LocalKey, ScopedJoinHandle, Thread};
use std::time::{Duration, Instant};

std::thread_local! {
    static COUNT: Cell<u32> = Cell::new(0);
}

static GREETING: LazyLock<Mutex<String>> = LazyLock::new(|| Mutex::new(String::from("hello")));
static N_COUNTED: AtomicUsize = AtomicUsize::new(0);

/// Counts in whichever thread-local it is given.
fn count(key: &'static LocalKey<Cell<u32>>) -> u32 {
    N_COUNTED.fetch_add(1, Ordering::Relaxed);
    key.with(|count| {
        count.set(count.get() + 1);
        count.get()
    })
}

fn greeting() -> MutexGuard<'static, String> {
    GREETING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What goes wrong.
#[derive(Debug)]
enum Error {
    /// With somebody at the other end.
    Io(io::Error),
    /// With a number.
    Number(std::num::ParseIntError),
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Error::Io(ref error) => std::write!(f, "io: {}", error),
            Error::Number(ref error) => write!(f, "number: {}", error),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(match *self {
            Error::Io(ref error) => error,
            Error::Number(ref error) => error,
        })
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}

impl From<std::num::ParseIntError> for Error {
    fn from(error: std::num::ParseIntError) -> Self {
        Error::Number(error)
    }
}

/// A port of this machine, which is an address, and can be read from a text.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Port(u16);

impl ToSocketAddrs for Port {
    type Iter = std::option::IntoIter<SocketAddr>;

    fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
        (Ipv4Addr::LOCALHOST, self.0).to_socket_addrs()
    }
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Ok(Port(text.parse()?))
    }
}

/// Reads the same bytes again and again, and forgets what is written.
struct Pattern(VecDeque<u8>);

impl std::io::Read for Pattern {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        for byte in buf.iter_mut() {
            *byte = self.0[0];
            self.0.rotate_left(1);
        }
        Ok(buf.len())
    }
}

impl std::io::Write for Pattern {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends lines to somebody who sends them back.
fn lines_through(text: &str) -> Result<Vec<String>, Error> {
    let listener = TcpListener::bind(Port(0))?;
    let port: Port = listener.local_addr()?.port().to_string().parse()?;
    let server =
        thread::Builder::new()
            .name("server".into())
            .spawn(move || -> io::Result<u64> {
                let (stream, _) = listener.accept()?;
                let mut writer = BufWriter::new(stream.try_clone()?);
                let n = io::copy(&mut BufReader::new(stream), &mut writer)?;
                writer.flush()?;
                Ok(n)
            })?;
    let stream = TcpStream::connect(port)?;
    stream.set_nodelay(true)?;
    let mut writer = LineWriter::new(stream);
    writer.write_all(text.as_bytes())?;
    let stream = writer.into_inner().map_err(|error| error.into_error())?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let lines = BufReader::new(stream).lines().collect::<Result<_, _>>()?;
    assert_eq!(server.join().unwrap()?, text.len() as u64);
    Ok(lines)
}

/// Whatever can be read, behind a pointer.
fn first_bytes(mut reader: Box<dyn Read + Send>, n: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; n];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(unix)]
fn number_of<T: std::os::fd::AsFd>(file: &T) -> std::os::fd::RawFd {
    use std::os::fd::AsRawFd;
    file.as_fd().as_raw_fd()
}

fn boxed(text: &str) -> Result<u8, Box<dyn error::Error + Send + Sync>> {
    if text.is_empty() {
        return Err("nothing".into());
    }
    Ok(u8::from_str(text)?)
}

#[test]
fn the_rest_of_std_is_there() {
    let names: HashSet<_> = std::env::args().collect();
    assert!(!names.is_empty() && std::env::var_os("NO SUCH THING").is_none());
    let mut tree = BTreeMap::new();
    tree.insert(std::cmp::Reverse(1), std::vec!["a"; 2]);
    let text: Cow<str> = std::format!("{:?}", tree).into();
    assert_eq!(text, "{Reverse(1): [\"a\", \"a\"]}");
    std::assert!(std::matches!(text, Cow::Owned(_)));
    assert_eq!(std::mem::size_of::<std::num::NonZeroU8>(), 1);
    assert_eq!(std::f64::consts::PI.floor(), 3.0);
    let shared = std::rc::Rc::new(std::cell::RefCell::new(1));
    *shared.borrow_mut() += 1;
    assert_eq!(std::iter::once(*shared.borrow()).sum::<i32>(), 2);
    let path = std::env::temp_dir().join(format!("idioms {}", std::process::id()));
    std::fs::write(&path, "kept").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
    std::fs::remove_file(path).unwrap();
    let caught = std::panic::catch_unwind(|| std::panic!("{} args", names.len()));
    let text = caught.unwrap_err().downcast::<String>().unwrap();
    assert!(text.ends_with(" args"), "{}", text);
    assert!(boxed("300").is_err() && boxed("").is_err());
    assert_eq!(boxed("7").unwrap(), std::convert::identity(7));
    let c = std::ffi::CString::new("c").unwrap();
    assert_eq!(c.to_bytes_with_nul(), b"c\0");
    assert!(std::any::Any::type_id(&c) == std::any::TypeId::of::<std::ffi::CString>());
    assert!(std::module_path!().ends_with("idioms"));
}

#[test]
fn errors_say_where_they_come_from() {
    let error = "no number".parse::<Port>().unwrap_err();
    assert!(error::Error::source(&error).is_some());
    let text = error.to_string();
    assert!(text.starts_with("number: invalid"), "{}", text);
    let error = Error::from(io::Error::from(io::ErrorKind::NotFound));
    assert!(matches!(error, Error::Io(ref e) if e.kind() == io::ErrorKind::NotFound));
}

#[test]
fn streams_and_adapters() {
    let text = "one\ntwo\nthree";
    assert_eq!(lines_through(text).unwrap(), ["one", "two", "three"]);
    let pattern = Pattern(b"abc".to_vec().into());
    let mut sink = Pattern(VecDeque::new());
    assert_eq!(io::copy(&mut pattern.take(10), &mut sink).unwrap(), 10);
    let pattern = Pattern(b"abc".to_vec().into());
    assert_eq!(first_bytes(Box::new(pattern), 4).unwrap(), b"abca");
    let (reader, mut writer) = io::pipe().unwrap();
    write!(writer, "through {}", 1).unwrap();
    drop(writer);
    assert_eq!(first_bytes(Box::new(reader), 9).unwrap(), b"through 1");
    let _: [bool; 2] = [io::stdout().is_terminal(), io::stdin().is_terminal()];
    let mut cursor = io::Cursor::new(vec![1, 2, 3]);
    cursor.seek(io::SeekFrom::End(-1)).unwrap();
    assert_eq!(cursor.bytes().map(Result::unwrap).collect::<Vec<u8>>(), [3]);
}

#[test]
#[cfg(unix)]
fn whatever_has_a_descriptor() {
    let socket = std::net::UdpSocket::bind(Port(0)).unwrap();
    assert!(number_of(&socket) > 2);
    assert_eq!(number_of(&io::stdin()), 0);
    assert_eq!(number_of(&io::stderr().lock()), 2);
}

#[test]
fn threads_and_what_they_share() {
    let mut numbers = vec![1, 2, 3];
    let (sum, first) = thread::scope(|scope| {
        let sum: ScopedJoinHandle<i32> = scope.spawn(|| numbers.iter().sum());
        let first = scope.spawn(|| count(&COUNT));
        (sum.join().unwrap(), first.join().unwrap())
    });
    numbers.push(sum);
    assert_eq!((numbers.len(), first), (4, 1));
    let (sender, receiver) = sync_channel(1);
    sender.send(count(&COUNT)).unwrap();
    assert!(matches!(sender.try_send(0), Err(TrySendError::Full(0))));
    let waiting: thread::JoinHandle<Vec<u32>> =
        thread::spawn(move || receiver.into_iter().collect());
    sender.send(2).unwrap();
    drop(sender);
    assert_eq!(waiting.join().unwrap(), [1, 2]);
    assert!(N_COUNTED.load(Ordering::Relaxed) >= 2);
    greeting().push_str(", world");
    assert_eq!(*greeting(), "hello, world");
    let strong = Arc::new(());
    let weak: Weak<()> = Arc::downgrade(&strong);
    drop(strong);
    assert!(weak.upgrade().is_none());
}

#[test]
fn one_wakes_another() {
    let start = Instant::now();
    let main: Thread = thread::current();
    let waker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(2));
        main.unpark();
    });
    while !waker.is_finished() {
        thread::park_timeout(Duration::from_millis(1));
    }
    waker.join().unwrap();
    assert!(start.elapsed() >= Duration::from_millis(2));
}
