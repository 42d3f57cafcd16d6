//! Thread-locals: each green thread's own, also where std's are those of its worker.
//!
//! A key is std's own and, beside it, a number in a table that is kept for each green thread that
//! shares its worker's thread-locals ([`greenrt::lowlevel::thread_data`]). Everywhere else the table
//! is not used.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use greenrt::lowlevel::{ThreadData, shares_thread_locals, thread_data};

/// Declares thread-locals, as [`std::thread_local!`].
///
/// Each green thread has its own. One that was spawned with [`greenrt::spawn_local`], and so need not
/// be `Send`, has those of its spawner; the closure of [`greenrt::run`] has those of the OS thread that
/// called it.
///
/// # Examples
///
/// ```
/// use std::cell::{Cell, RefCell};
/// use greenstd::{thread, thread_local};
///
/// thread_local! {
///     /// How often.
///     pub static COUNT: Cell<u32> = const { Cell::new(0) };
///     static WORDS: RefCell<Vec<String>> = RefCell::new(vec!["sow".into()]);
/// }
///
/// COUNT.set(COUNT.get() + 1);
/// WORDS.with_borrow_mut(|words| words.push("reap".into()));
/// thread::spawn(|| {
///     assert_eq!(COUNT.get(), 0);
///     WORDS.with_borrow(|words| assert_eq!(words.len(), 1));
/// }).join().unwrap();
/// assert_eq!(COUNT.get(), 1);
/// ```
#[macro_export]
macro_rules! thread_local {
    () => {};
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = const $init:block $(; $($rest:tt)*)?) => {
        $(#[$attr])* $vis const $name: $crate::thread::LocalKey<$t> = {
            const __GREENSTD_INIT: $t = $init;
            #[inline]
            fn __greenstd_init() -> $t {
                __GREENSTD_INIT
            }
            $crate::thread::local_impl::thread_local! {
                static __GREENSTD_KEY: $t = const { __GREENSTD_INIT }
            }
            $crate::__greenstd_key!()
        };
        $($crate::thread_local! { $($rest)* })?
    };
    ($(#[$attr:meta])* $vis:vis static $name:ident: $t:ty = $init:expr $(; $($rest:tt)*)?) => {
        $(#[$attr])* $vis const $name: $crate::thread::LocalKey<$t> = {
            #[inline]
            fn __greenstd_init() -> $t {
                $init
            }
            $crate::thread::local_impl::thread_local! {
                static __GREENSTD_KEY: $t = __greenstd_init()
            }
            $crate::__greenstd_key!()
        };
        $($crate::thread_local! { $($rest)* })?
    };
}

/// The key, where its parts have been declared.
#[doc(hidden)]
#[macro_export]
macro_rules! __greenstd_key {
    () => {{
        fn __greenstd_number() -> usize {
            static NUMBER: $crate::thread::local_impl::Number =
                $crate::thread::local_impl::Number::new();
            NUMBER.get()
        }
        $crate::thread::LocalKey::__new(&__GREENSTD_KEY, __greenstd_init, __greenstd_number)
    }};
}

/// What `thread_local!` expands to.
#[doc(hidden)]
pub mod local_impl {
    pub use super::Number;
    pub use std::thread_local;
}

/// The number of a key, given when it is first used.
#[doc(hidden)]
#[derive(Debug)]
pub struct Number(AtomicUsize);

impl Number {
    #[expect(clippy::new_without_default, reason = "for the macro only")]
    pub const fn new() -> Self {
        Number(AtomicUsize::new(0))
    }

    /// Its place in the table.
    #[inline]
    pub fn get(&self) -> usize {
        match self.0.load(Relaxed) {
            0 => self.choose(),
            number => number - 1,
        }
    }

    #[cold]
    fn choose(&self) -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let next = NEXT.fetch_add(1, Relaxed);
        match self.0.compare_exchange(0, next, Relaxed, Relaxed) {
            Ok(_) => next - 1,
            // Another thread was faster; this number is used by nobody.
            Err(chosen) => chosen - 1,
        }
    }
}

/// A thread-local; see [`thread_local!`](crate::thread_local).
///
/// As [`std::thread::LocalKey`].
pub struct LocalKey<T: 'static> {
    std: &'static std::thread::LocalKey<T>,
    init: fn() -> T,
    number: fn() -> usize,
}

/// A thread-local was destroyed already, because its thread ends.
///
/// As [`std::thread::AccessError`], which only std can make.
#[non_exhaustive]
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct AccessError;

impl fmt::Debug for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessError").finish()
    }
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("already destroyed")
    }
}

impl Error for AccessError {}

/// One thread-local of one thread.
#[derive(Clone, Default)]
enum Place {
    #[default]
    Empty,
    /// A reference to what is there ends before the thread does, and is counted beside this.
    Alive(Rc<dyn Any>),
    Destroyed,
}

/// The thread-locals of one thread, or of those who share them.
#[derive(Default)]
struct Table {
    /// By the number of their key.
    places: RefCell<Vec<Place>>,
    /// What must be destroyed, in the order in which it was made.
    made: RefCell<Vec<usize>>,
}

impl Table {
    fn place(&self, number: usize) -> Place {
        let places = self.places.borrow();
        places.get(number).cloned().unwrap_or_default()
    }

    fn set(&self, number: usize, place: Place) -> Place {
        let mut places = self.places.borrow_mut();
        if places.len() <= number {
            places.resize(number + 1, Place::Empty);
        }
        std::mem::replace(&mut places[number], place)
    }

    /// The value with this number; `make` makes it if there is none.
    fn get<T: 'static>(
        &self,
        number: usize,
        make: impl FnOnce() -> T,
    ) -> Result<Rc<T>, AccessError> {
        let value = match self.place(number) {
            Place::Alive(value) => value,
            Place::Destroyed => return Err(AccessError),
            Place::Empty => {
                let value: Rc<dyn Any> = Rc::new(make());
                // It may have been made meanwhile, by `make`: then the outer one stays, as in std.
                let before = self.set(number, Place::Alive(Rc::clone(&value)));
                if matches!(before, Place::Empty) && std::mem::needs_drop::<T>() {
                    self.made.borrow_mut().push(number);
                }
                drop(before);
                value
            }
        };
        Ok(value.downcast().expect("greenstd: a key has one type"))
    }
}

impl ThreadData for Table {
    /// Destroys them, those first that were made last, as std.
    fn end(&self) {
        while let Some(number) = { self.made.borrow_mut().pop() } {
            let value = self.set(number, Place::Destroyed);
            if panic::catch_unwind(AssertUnwindSafe(|| drop(value))).is_err() {
                eprintln!("fatal runtime error: thread local panicked on drop, aborting");
                std::process::abort();
            }
        }
    }
}

/// The table of the calling thread, if thread-locals are not its own.
#[inline]
fn table() -> Option<Rc<Table>> {
    if shares_thread_locals() {
        thread_data()
    } else {
        None
    }
}

impl<T: 'static> LocalKey<T> {
    /// For `thread_local!`.
    #[doc(hidden)]
    pub const fn __new(
        std: &'static std::thread::LocalKey<T>,
        init: fn() -> T,
        number: fn() -> usize,
    ) -> Self {
        LocalKey { std, init, number }
    }

    /// Runs `f` with the value of the calling thread, as [`std::thread::LocalKey::with`].
    ///
    /// # Panics
    ///
    /// If it was destroyed already.
    pub fn with<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        match self.try_with(f) {
            Ok(result) => result,
            Err(error) => panic_access_error(error),
        }
    }

    /// Runs `f` with the value of the calling thread, as [`std::thread::LocalKey::try_with`].
    ///
    /// # Errors
    ///
    /// If it was destroyed already.
    #[inline]
    pub fn try_with<F, R>(&'static self, f: F) -> Result<R, AccessError>
    where
        F: FnOnce(&T) -> R,
    {
        match table() {
            None => self.std.try_with(f).map_err(|_| AccessError),
            Some(table) => {
                let value = table.get((self.number)(), self.init)?;
                Ok(f(&value))
            }
        }
    }

    /// The value of the calling thread in its table, with `value` as the first one; or `value`
    /// back if there was one.
    #[track_caller]
    fn begin_with(&'static self, table: &Table, value: T) -> (Rc<T>, Option<T>) {
        let mut value = Some(value);
        let make = || value.take().expect("made once");
        match table.get((self.number)(), make) {
            Ok(there) => (there, value),
            Err(error) => panic_access_error(error),
        }
    }
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value, as [`std::thread::LocalKey::set`]; does not make the first one.
    ///
    /// # Panics
    ///
    /// If it was destroyed already.
    pub fn set(&'static self, value: T) {
        let Some(table) = table() else {
            return self.std.set(value);
        };
        let (cell, left) = self.begin_with(&table, Cell::new(value));
        if let Some(value) = left {
            cell.set(value.into_inner());
        }
    }

    /// The value, as `std::thread::LocalKey::get`.
    ///
    /// # Panics
    ///
    /// If it was destroyed already.
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value and leaves a default, as `std::thread::LocalKey::take`.
    ///
    /// # Panics
    ///
    /// If it was destroyed already.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value and returns the one before, as `std::thread::LocalKey::replace`.
    ///
    /// # Panics
    ///
    /// If it was destroyed already.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Runs `f` with the value, as [`std::thread::LocalKey::with_borrow`].
    ///
    /// # Panics
    ///
    /// If it is borrowed mutably, or was destroyed already.
    pub fn with_borrow<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&T) -> R,
    {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Runs `f` with the value to change, as [`std::thread::LocalKey::with_borrow_mut`].
    ///
    /// # Panics
    ///
    /// If it is borrowed, or was destroyed already.
    pub fn with_borrow_mut<F, R>(&'static self, f: F) -> R
    where
        F: FnOnce(&mut T) -> R,
    {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value, as `std::thread::LocalKey::set`; does not make the first one.
    ///
    /// # Panics
    ///
    /// If it is borrowed, or was destroyed already.
    pub fn set(&'static self, value: T) {
        let Some(table) = table() else {
            return self.std.set(value);
        };
        let (cell, left) = self.begin_with(&table, RefCell::new(value));
        if let Some(value) = left {
            *cell.borrow_mut() = value.into_inner();
        }
    }

    /// Takes the value and leaves a default, as `std::thread::LocalKey::take`.
    ///
    /// # Panics
    ///
    /// If it is borrowed, or was destroyed already.
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value and returns the one before, as `std::thread::LocalKey::replace`.
    ///
    /// # Panics
    ///
    /// If it is borrowed, or was destroyed already.
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}

#[cold]
#[inline(never)]
#[track_caller]
fn panic_access_error(error: AccessError) -> ! {
    panic!("cannot access a Thread Local Storage value during or after destruction: {error:?}")
}
