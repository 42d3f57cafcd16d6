//! std on green threads.

use std as root;
use std::{net, process, sync, thread};

use crate::run;

#[path = "../it/same/fd.rs"]
mod fd_tests;
#[path = "../it/same/mpsc.rs"]
mod mpsc_tests;
#[path = "../it/same/net.rs"]
mod net_tests;
#[path = "../it/same/paths.rs"]
mod paths_tests;
#[path = "../streams/same/pipe.rs"]
mod pipe_tests;
#[path = "../it/same/process.rs"]
mod process_tests;
#[path = "../it/same/random.rs"]
pub(super) mod random;
#[path = "../streams/same/random_datagrams.rs"]
pub(super) mod random_datagrams;
#[path = "../streams/same/random_pipes.rs"]
pub(super) mod random_pipes;
#[path = "../streams/same/random_streams.rs"]
pub(super) mod random_streams;
#[path = "../it/same/sync.rs"]
mod sync_tests;
#[path = "../it/same/thread_local.rs"]
mod thread_local_tests;
#[path = "../it/same/thread.rs"]
mod thread_tests;
#[path = "../streams/same/udp.rs"]
mod udp_tests;
#[path = "../streams/same/unix_datagram.rs"]
mod unix_datagram_tests;
#[path = "../streams/same/unix_stream.rs"]
mod unix_stream_tests;
