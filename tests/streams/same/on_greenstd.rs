//! greenstd on green threads of every kind of runtime, and with its main thread off them.

use greenstd as root;
use greenstd::thread;

use crate::support::on_each_runtime_and_off as run;

#[path = "paths.rs"]
mod paths_tests;
#[path = "pipe.rs"]
mod pipe_tests;
#[path = "random_datagrams.rs"]
pub(super) mod random_datagrams;
#[path = "random_pipes.rs"]
pub(super) mod random_pipes;
#[path = "random_streams.rs"]
pub(super) mod random_streams;
#[path = "udp.rs"]
mod udp_tests;
#[path = "unix_datagram.rs"]
mod unix_datagram_tests;
#[path = "unix_stream.rs"]
mod unix_stream_tests;
