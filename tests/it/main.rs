//! The public API, through greenrt and greenstd. One binary, so that it links once.

mod support;

mod fairness;
mod idle;
mod manual_clock;
mod order;
mod placement;
mod same;
mod smoke;
mod time;
