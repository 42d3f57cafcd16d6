//! The macros that print, to greenstd's standard streams.

/// Prints to standard output, as [`std::print!`], without keeping siblings from running while nobody
/// reads.
///
/// # Panics
///
/// If writing fails, as std's.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => {
        $crate::io::_print($crate::format_args!($($arg)*))
    };
}

/// As [`print!`](crate::print), with an end of line; as [`std::println!`].
///
/// # Panics
///
/// If writing fails, as std's.
#[macro_export]
macro_rules! println {
    () => {
        $crate::print!("\n")
    };
    ($($arg:tt)*) => {
        $crate::io::_print($crate::format_args!("{}\n", $crate::format_args!($($arg)*)))
    };
}

/// Prints to standard error, as [`std::eprint!`], without keeping siblings from running while nobody
/// reads.
///
/// # Panics
///
/// If writing fails, as std's.
#[macro_export]
macro_rules! eprint {
    ($($arg:tt)*) => {
        $crate::io::_eprint($crate::format_args!($($arg)*))
    };
}

/// As [`eprint!`](crate::eprint), with an end of line; as [`std::eprintln!`].
///
/// # Panics
///
/// If writing fails, as std's.
#[macro_export]
macro_rules! eprintln {
    () => {
        $crate::eprint!("\n")
    };
    ($($arg:tt)*) => {
        $crate::io::_eprint($crate::format_args!("{}\n", $crate::format_args!($($arg)*)))
    };
}

/// Prints an expression and its value to standard error, and is that value, as [`std::dbg!`].
///
/// # Panics
///
/// If writing fails, as std's.
#[macro_export]
macro_rules! dbg {
    () => {
        $crate::eprintln!("[{}:{}:{}]", $crate::file!(), $crate::line!(), $crate::column!())
    };
    ($value:expr $(,)?) => {
        match $value {
            value => {
                $crate::eprintln!(
                    "[{}:{}:{}] {} = {:#?}",
                    $crate::file!(),
                    $crate::line!(),
                    $crate::column!(),
                    $crate::stringify!($value),
                    &value
                );
                value
            }
        }
    };
    ($($value:expr),+ $(,)?) => {
        ($($crate::dbg!($value)),+,)
    };
}
