//! The public API, through greenrt and greenstd. One binary, so that it links once.

mod support;

mod cancel;
mod fairness;
mod runtime;
mod exploits;
mod greenstd_threads;
mod generator;
mod idle;
mod manual_clock;
mod net;
mod net_examples;
mod net_limits;
mod order;
mod panics;
mod park;
mod placement;
mod debug;
mod resources;
mod same;
mod scope;
mod smoke;
mod spawn;
mod time;
mod timeout;
