//! A green thread that accepts, and one for each connection.
//!
//! # What goes wrong
//!
//! | `accept` fails with                              | the server                                    |
//! |--------------------------------------------------|-----------------------------------------------|
//! | what a client did (`ConnectionAborted`, `ConnectionReset`) or the network | accepts the next   |
//! | a descriptor that is none, or does not listen (`EBADF`, `InvalidInput`)   | ends with the error |
//! | anything else, such as `EMFILE`                  | waits, 1 ms at first and 1 s in the end, and tries again |
//!
//! While it waits, clients wait in the system's backlog and are not refused.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::panic;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenrt_arch::errno;

use crate::cancel;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use crate::thread::{self, Builder, JoinHandle, Thread};

/// Pauses after an `accept` that failed for want of something.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long those who were cancelled have to end, when a server is stopped.
const GRACE: Duration = Duration::from_secs(1);

/// Something that a [`Server`] can accept connections from.
///
/// greenstd's listeners are such, and so is any closure that returns a connection.
pub trait Accept: Send + 'static {
    /// A connection, with whatever is told of it.
    type Connection: Send + 'static;

    /// Waits for a connection: a point of cancellation.
    ///
    /// # Errors
    ///
    /// Those of `accept(2)`.
    fn accept(&self) -> io::Result<Self::Connection>;
}

impl<C, F> Accept for F
where
    C: Send + 'static,
    F: Fn() -> io::Result<C> + Send + 'static,
{
    type Connection = C;

    fn accept(&self) -> io::Result<C> {
        self()
    }
}

/// Accepts connections, and runs a function for each in a green thread of its own.
///
/// What gevent calls a `StreamServer`: with a limit for connections, with patience when descriptors run
/// out, and with an end that lets those who are being served finish. A server that is dropped goes on.
///
/// A panic in the function ends that connection and no other.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
/// use std::time::Duration;
/// use greenrt::Server;
/// use greenstd::net::{TcpListener, TcpStream};
///
/// # fn main() -> std::io::Result<()> {
/// greenrt::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let server = Server::builder()
///         .connections_max(1000)
///         .start(listener, |(mut stream, _): (TcpStream, _)| {
///             let _ = stream.write_all(b"welcome");
///         })?;
///     let mut text = String::new();
///     TcpStream::connect(address)?.read_to_string(&mut text)?;
///     assert_eq!(text, "welcome");
///     assert!(server.stop(Duration::from_secs(10)).is_clean());
///     Ok(())
/// })
/// # }
/// ```
pub struct Server {
    acceptor: JoinHandle<io::Error>,
    shared: Arc<Shared>,
}

/// Sets what a [`Server`] may do; made by [`Server::builder`].
#[derive(Debug, Default)]
#[must_use = "does nothing until it is started"]
pub struct ServerBuilder {
    connections_max: Option<usize>,
    stack_bytes: Option<usize>,
    name: Option<String>,
}

/// How a server has ended; see [`Server::stop`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Stopped {
    /// Connections that had not ended in time, and were cancelled.
    pub cancelled: usize,
    /// Those of them that have not ended even so: they compute, or wait where nothing is cancelled.
    pub left: usize,
}

impl Stopped {
    /// Whether all connections have ended by themselves.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.cancelled == 0
    }
}

struct Shared {
    state: Mutex<State>,
    /// A connection has ended.
    fewer: Condvar,
}

#[derive(Default)]
struct State {
    /// Those who serve a connection; `None` until the acceptor knows whom it has spawned.
    threads: HashMap<u64, Option<Thread>>,
    next: u64,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there are fewer than `n` connections; `false` at `deadline`.
    fn wait_for_fewer_than(&self, n: usize, deadline: Option<Instant>) -> bool {
        let mut state = self.state();
        while state.threads.len() >= n {
            let Some(deadline) = deadline else {
                state = self
                    .fewer
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = crate::lowlevel::deadline_after(Duration::ZERO).unwrap_or(deadline);
            let left = deadline.saturating_duration_since(now);
            if left.is_zero() {
                return false;
            }
            let waited = self.fewer.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Is counted as a connection until it is dropped, also by a thread that never starts.
struct Entry {
    shared: Arc<Shared>,
    key: u64,
}

impl Entry {
    fn new(shared: &Arc<Shared>) -> Entry {
        let mut state = shared.state();
        let key = state.next;
        state.next += 1;
        state.threads.insert(key, None);
        drop(state);
        Entry {
            shared: Arc::clone(shared),
            key,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let gone = self.shared.state().threads.remove(&self.key);
        drop(gone);
        self.shared.fewer.notify_all();
    }
}

impl Server {
    /// A server without a limit for connections, whose threads have stacks of the usual size.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// Starts one, without further ado; as [`ServerBuilder::start`].
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::start`].
    pub fn start<A, F>(listener: A, serve: F) -> io::Result<Server>
    where
        A: Accept,
        F: Fn(A::Connection) + Send + Sync + 'static,
    {
        Server::builder().start(listener, serve)
    }

    /// How many connections there are.
    #[must_use]
    pub fn n_connections(&self) -> usize {
        self.shared.state().threads.len()
    }

    /// Waits until accepting fails for good, and says why; a point of cancellation, upon which the
    /// server goes on.
    #[must_use]
    pub fn wait(self) -> io::Error {
        self.acceptor
            .join()
            .unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// Ends it: closes the listener, lets connections end by themselves for `timeout`, then cancels
    /// those that have not, and gives them one second to unwind.
    ///
    /// The calling green thread parks; a point of cancellation, upon which the listener is closed and
    /// the connections go on.
    pub fn stop(self, timeout: Duration) -> Stopped {
        cancel::cancel(self.acceptor.thread());
        // It was cancelled, or had ended; or a connection that it could not start panicked in a
        // destructor, which its output has told.
        let _ = self.acceptor.join();
        let deadline = crate::lowlevel::deadline_after(timeout);
        if self.shared.wait_for_fewer_than(1, deadline) {
            return Stopped {
                cancelled: 0,
                left: 0,
            };
        }
        let late: Vec<Thread> = {
            let state = self.shared.state();
            state.threads.values().flatten().cloned().collect()
        };
        late.iter().for_each(cancel::cancel);
        let deadline = crate::lowlevel::deadline_after(GRACE);
        self.shared.wait_for_fewer_than(1, deadline);
        Stopped {
            cancelled: late.len(),
            left: self.shared.state().threads.len(),
        }
    }
}

impl ServerBuilder {
    /// Accepts no more than this many connections at a time; others wait in the system's backlog.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    #[track_caller]
    pub fn connections_max(mut self, n: usize) -> Self {
        assert!(n > 0, "a server for no connections");
        self.connections_max = Some(n);
        self
    }

    /// The stack of a connection's thread, as [`Builder::stack_size`].
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// The name of the thread that accepts, and of those that serve.
    pub fn name(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Starts to accept, and returns.
    ///
    /// # Errors
    ///
    /// If no thread can be started.
    pub fn start<A, F>(self, listener: A, serve: F) -> io::Result<Server>
    where
        A: Accept,
        F: Fn(A::Connection) + Send + Sync + 'static,
    {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            fewer: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let mut builder = Builder::new();
        if let Some(name) = &self.name {
            builder = builder.name(name.clone());
        }
        let acceptor =
            builder.spawn(move || self.accept(&accepting, &listener, &Arc::new(serve)))?;
        Ok(Server { acceptor, shared })
    }

    /// Accepts until it fails for good.
    fn accept<A, F>(&self, shared: &Arc<Shared>, listener: &A, serve: &Arc<F>) -> io::Error
    where
        A: Accept,
        F: Fn(A::Connection) + Send + Sync + 'static,
    {
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(n) = self.connections_max {
                shared.wait_for_fewer_than(n, None);
            }
            let served = match listener.accept() {
                Ok(connection) => self.spawn(shared, connection, serve),
                Err(error) if is_of_one_client(&error) => Ok(()),
                Err(error) if is_for_good(&error) => return error,
                Err(error) => Err(error),
            };
            match served {
                Ok(()) => pause = PAUSE_MIN,
                Err(_) => {
                    thread::sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// # Errors
    ///
    /// If no thread can be started; then the connection is closed.
    fn spawn<C, F>(&self, shared: &Arc<Shared>, connection: C, serve: &Arc<F>) -> io::Result<()>
    where
        C: Send + 'static,
        F: Fn(C) + Send + Sync + 'static,
    {
        let entry = Entry::new(shared);
        let key = entry.key;
        let serve = Arc::clone(serve);
        let mut builder = Builder::new();
        if let Some(name) = &self.name {
            builder = builder.name(name.clone());
        }
        if let Some(bytes) = self.stack_bytes {
            builder = builder.stack_size(bytes);
        }
        let spawned = builder.spawn(move || {
            let _entry = entry;
            serve(connection);
        })?;
        if let Some(thread) = shared.state().threads.get_mut(&key) {
            *thread = Some(spawned.thread().clone());
        }
        Ok(())
    }
}

/// Whether an error of `accept` concerns a connection that has gone again.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::Interrupted
            | Kind::NetworkDown
            | Kind::NetworkUnreachable
            | Kind::HostUnreachable
            | Kind::TimedOut
    )
}

/// Whether an error of `accept` will come again whatever happens.
fn is_for_good(error: &io::Error) -> bool {
    errno::is_bad_descriptor(error) || error.kind() == io::ErrorKind::InvalidInput
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("n_connections", &self.n_connections())
            .finish_non_exhaustive()
    }
}
