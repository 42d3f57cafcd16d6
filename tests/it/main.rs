//! The public API, through greenrt and greenstd. One binary, so that it links once.

mod support;

mod fairness;
mod order;
mod placement;
mod smoke;
