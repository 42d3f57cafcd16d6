//! greenstd's sockets on OS threads.

use std::thread;

use greenstd::net;

use crate::support::limited as run;

#[path = "fd.rs"]
mod fd_tests;
#[path = "net.rs"]
mod net_tests;
#[path = "random.rs"]
pub(super) mod random;
