//! The public API, through greenrt and greenstd. One binary, so that it links once.

#![allow(
    dropping_copy_types,
    reason = "drop says that a value is of no interest"
)]
#![allow(clippy::type_complexity, reason = "tables of closures")]
#![allow(
    clippy::infinite_iter,
    reason = "generators that are not run to their end"
)]

mod support;

mod c_code;
mod cancel;
mod channel;
mod debug;
mod exploits;
mod fairness;
mod fallback;
mod futex;
mod generator;
mod greenstd_sync;
mod greenstd_threads;
mod idle;
mod like_a_thread;
mod manual_clock;
mod net;
mod net_examples;
mod net_limits;
mod offload;
mod order;
mod panics;
mod park;
mod placement;
mod resources;
mod runtime;
mod same;
mod scope;
mod select;
mod smoke;
mod spawn;
mod stand_in;
mod sync;
mod thread_locals;
mod time;
mod timeout;
