//! std's blocking modules on green threads.
