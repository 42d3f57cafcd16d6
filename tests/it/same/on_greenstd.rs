//! greenstd on green threads of every kind of runtime, and with its main thread off them.

use greenstd as root;
use greenstd::{net, process, sync, thread};

use crate::support::on_each_runtime_and_off as run;

#[path = "fd.rs"]
mod fd_tests;
#[path = "mpsc.rs"]
mod mpsc_tests;
#[path = "net.rs"]
mod net_tests;
#[path = "paths.rs"]
mod paths_tests;
#[path = "process.rs"]
mod process_tests;
#[path = "random.rs"]
pub(super) mod random;
#[path = "spinning.rs"]
mod spinning_tests;
#[path = "sync.rs"]
mod sync_tests;
#[path = "thread_local.rs"]
mod thread_local_tests;
#[path = "thread.rs"]
mod thread_tests;
#[path = "traits.rs"]
mod traits;
