//! A crate as people write them for std. `../green-*` build it with greenstd in place of std, for
//! each edition; `../plain` as it is. The source is one, and knows nothing of that.
//!
//! ```
//! let mut list = std::vec::Vec::new();
//! whole_crate::push_all!(list, 1, 2, 3);
//! assert_eq!(list, [1, 2, 3]);
//! println!("{list:?}");
//! ```

#![allow(
    clippy::disallowed_methods,
    clippy::missing_const_for_thread_local,
    reason = "written for std"
)]

pub mod chat;
#[cfg(test)]
mod idioms;
#[macro_use]
mod macros;
pub mod notes;

pub use chat::{serve, Room};

/// What this crate's `std` is called.
pub fn name_of_std() -> &'static str {
    let name = std::any::type_name::<std::net::TcpStream>();
    name.split("::").next().unwrap()
}
