//! A library in C that is opened while green threads live: its calls are green too, and its thread-locals
//! are each green thread's own.

#![expect(unsafe_code, reason = "calls C")]

use std::ffi::{CStr, CString, c_char, c_int, c_long, c_ulong, c_void};
use std::io::{self, ErrorKind, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Barrier, OnceLock};
use std::thread;
use std::time::Duration;

use crate::support::{calls, n_os_threads, tests};

tests! {
    thread_locals_of_a_library_that_is_opened
    its_reads_and_polls_wait_for_siblings
    its_threads_are_green
}

/// The library; `None`: it cannot be compiled here.
#[derive(Clone, Copy)]
struct Library(*mut c_void);

// SAFETY: a handle, which any thread may use.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

impl Library {
    fn get() -> Option<Library> {
        static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
        *LIBRARY.get_or_init(Library::open)
    }

    fn open() -> Option<Library> {
        let name = format!("greenlibc-opened-{}.so", std::process::id());
        let path = std::env::temp_dir().join(name);
        let source = Path::new(file!()).with_file_name("c/opened.c");
        let source = workspace().join(source);
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-pthread", "-o"]);
        match cc.arg(&path).arg(&source).output() {
            Ok(output) => assert!(output.status.success(), "{output:?}"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                println!("there is no C compiler on this machine, and nothing tested with it");
                return None;
            }
            Err(error) => panic!("{error}"),
        }
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: our own library, which has no constructors.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        std::fs::remove_file(path).unwrap();
        assert!(!handle.is_null());
        Some(Library(handle))
    }

    fn find(self, name: &CStr) -> *mut c_void {
        // SAFETY: an open library.
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!function.is_null(), "{name:?}");
        function
    }

    fn is_fresh(self) -> bool {
        // SAFETY: its signature.
        let function: extern "C" fn() -> c_int = unsafe { mem::transmute(self.find(c"is_fresh")) };
        function() == 1
    }

    fn keep(self, value: c_int) -> c_int {
        let function = self.find(c"keep");
        // SAFETY: its signature.
        let function: extern "C" fn(c_int) -> c_int = unsafe { mem::transmute(function) };
        function(value)
    }

    fn read(self, fd: &impl AsRawFd, to: &mut [u8]) -> c_long {
        let function = self.find(c"read_some");
        // SAFETY: its signature.
        let function: extern "C" fn(c_int, *mut c_char, c_ulong) -> c_long =
            unsafe { mem::transmute(function) };
        function(fd.as_raw_fd(), to.as_mut_ptr().cast(), to.len() as c_ulong)
    }

    fn wait_readable(self, fd: &impl AsRawFd) -> c_int {
        let function = self.find(c"wait_readable");
        // SAFETY: its signature.
        let function: extern "C" fn(c_int) -> c_int = unsafe { mem::transmute(function) };
        function(fd.as_raw_fd())
    }

    fn count_with_threads(self, n: c_int) -> c_long {
        let function = self.find(c"count_with_threads");
        // SAFETY: its signature.
        let function: extern "C" fn(c_int) -> c_long = unsafe { mem::transmute(function) };
        function(n)
    }

    fn threads_know_themselves(self) -> bool {
        let function = self.find(c"threads_know_themselves");
        // SAFETY: its signature.
        let function: extern "C" fn() -> c_int = unsafe { mem::transmute(function) };
        function() == 1
    }
}

/// Where paths of sources begin.
fn workspace() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if package.join("tests/libc").exists() {
        package
    } else {
        package.parent().unwrap().parent().unwrap()
    }
}

fn thread_locals_of_a_library_that_is_opened() {
    // They live before it is opened, and call it afterwards.
    let opened = Arc::new(Barrier::new(21));
    let threads: Vec<_> = (1..=20)
        .map(|n| {
            let opened = Arc::clone(&opened);
            thread::spawn(move || {
                opened.wait();
                opened.wait();
                let Some(library) = Library::get() else {
                    return;
                };
                assert!(library.is_fresh());
                assert!(!library.is_fresh());
                assert_eq!(library.keep(n), n);
                thread::yield_now();
                assert_eq!(library.keep(n + 1), n + 1);
            })
        })
        .collect();
    opened.wait();
    let library = Library::get();
    opened.wait();
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    let Some(library) = library else { return };
    // Here, on main, and on those that come later, on stacks that others had.
    assert!(library.is_fresh());
    for _ in 0..20 {
        assert!(thread::spawn(move || library.is_fresh()).join().unwrap());
    }
    let os = greenlibc::os_threads(|| thread::spawn(move || library.is_fresh()));
    assert!(os.join().unwrap());
}

fn its_reads_and_polls_wait_for_siblings() {
    let Some(library) = Library::get() else {
        return;
    };
    let (n_reads, n_polls) = (calls("read").0, calls("poll").0);
    let (reader, mut writer) = io::pipe().unwrap();
    let sibling = thread::spawn(move || {
        for n in 0..10 {
            thread::sleep(Duration::from_micros(500));
            writer.write_all(&[n; 7]).unwrap();
        }
    });
    for n in 0..10 {
        if n % 2 == 0 {
            assert_eq!(library.wait_readable(&reader), 1);
        }
        let mut bytes = [0; 7];
        assert_eq!(library.read(&reader, &mut bytes), 7);
        assert_eq!(bytes, [n; 7]);
    }
    assert_eq!(library.read(&reader, &mut [0]), 0);
    sibling.join().unwrap();
    assert!(calls("read").0 >= n_reads + 11);
    assert!(calls("poll").0 >= n_polls + 5);
}

fn its_threads_are_green() {
    let Some(library) = Library::get() else {
        return;
    };
    let n_locks = calls("pthread_mutex_lock").0;
    let n_created = calls("pthread_create").0;
    let n_before = n_os_threads();
    assert_eq!(library.count_with_threads(30), 300);
    assert!(library.threads_know_themselves());
    assert!(n_os_threads() <= n_before);
    assert_eq!(calls("pthread_create").0, n_created + 31);
    assert!(calls("pthread_mutex_lock").0 >= n_locks + 300);
}
