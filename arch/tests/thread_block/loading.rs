//! Libraries that are opened while blocks live. They are compiled here, with the compiler that Rust
//! links with.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::{mem, process, thread};

use crate::green::{Green, this_thread};
use crate::testing::{assert_done, in_child, time_limit};

/// A library with thread-locals: initialised, and zero, one of which its constructor sets.
const SOURCE: &str = r"
    __thread int initialised[50] = { 42, 43 };
    __thread int zero[50];
    __thread int by_constructor;
    __attribute__((constructor)) static void construct(void) { by_constructor = 1; }
    int *get_initialised(void) { return initialised; }
    int *get_zero(void) { return zero; }
    int *get_by_constructor(void) { return &by_constructor; }
";

/// A directory that goes away.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        let name = format!("greenrt-arch-{}-{}", process::id(), this_thread());
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn compile(&self, name: &str, source: &str, model: &str) -> PathBuf {
        let from = self.0.join(format!("{name}.c"));
        let to = self.0.join(format!("lib{name}.so"));
        fs::write(&from, source).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", model, "-o"]);
        let output = compiler.arg(&to).arg(&from).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        to
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An open library of [`SOURCE`].
struct Library(*mut c_void);

impl Library {
    fn open(path: &Path) -> Library {
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a name, and a library that does nothing bad.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
        if handle.is_null() {
            // SAFETY: asks only.
            let message = unsafe { libc::dlerror() };
            // SAFETY: there is a message, which lives until the next call.
            panic!("{:?}", unsafe { CStr::from_ptr(message) });
        }
        Library(handle)
    }

    fn get(&self, function: &CStr) -> *mut c_int {
        // SAFETY: an open library.
        let function = unsafe { libc::dlsym(self.0, function.as_ptr()) };
        assert!(!function.is_null());
        // SAFETY: all its functions are of this type.
        let function: extern "C" fn() -> *mut c_int = unsafe { mem::transmute(function) };
        function()
    }

    fn values(&self, function: &CStr) -> [c_int; 50] {
        // SAFETY: the calling thread's array.
        unsafe { self.get(function).cast::<[c_int; 50]>().read() }
    }

    /// What the calling thread finds the first time.
    fn assert_fresh(&self) {
        let mut expected = [0; 50];
        assert_eq!(self.values(c"get_zero"), expected);
        (expected[0], expected[1]) = (42, 43);
        assert_eq!(self.values(c"get_initialised"), expected);
        // SAFETY: the calling thread's.
        assert_eq!(unsafe { self.get(c"get_by_constructor").read() }, 0);
    }

    fn write(&self, value: c_int) {
        for function in [c"get_initialised", c"get_zero"] {
            // SAFETY: the calling thread's array.
            unsafe { self.get(function).cast::<[c_int; 50]>().write([value; 50]) };
        }
        // SAFETY: the calling thread's.
        unsafe { self.get(c"get_by_constructor").write(value) };
    }

    fn assert_written(&self, value: c_int) {
        for function in [c"get_initialised", c"get_zero"] {
            assert_eq!(self.values(function), [value; 50]);
        }
    }

    fn close(self) {
        // SAFETY: open, and nobody uses it any more.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}

/// Opens a library from a green thread, and uses it in others that lived before, that begin later,
/// and that are the next in a block.
fn open_and_use(path: &Path) {
    let greens = [Green::new(), Green::new(), Green::new()];
    greens[1].run(|| ());
    let library = greens[0].run(|| {
        let library = Library::open(path);
        // The constructor has run in this thread, and in no other.
        // SAFETY: the calling thread's.
        assert_eq!(unsafe { library.get(c"get_by_constructor").replace(0) }, 1);
        library.assert_fresh();
        library.write(1);
        library
    });
    greens[1].run(|| {
        library.assert_fresh();
        library.write(2);
    });
    library.assert_fresh();
    library.write(3);
    greens[0].run(|| library.assert_written(1));
    greens[1].run(|| library.assert_written(2));
    library.assert_written(3);
    let later = Green::new();
    for green in greens.iter().chain([&later]) {
        for _ in 0..3 {
            green.renew();
            green.run(|| {
                library.assert_fresh();
                library.write(4);
            });
        }
    }
    // Opened again, it is not initialised again.
    greens[0].run(|| Library::open(path).close());
    greens[0].run(|| library.assert_written(4));
    library.assert_written(3);
    library.close();
}

#[test]
fn a_library_with_static_thread_locals() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        let directory = Directory::new();
        let path = directory.compile("first", SOURCE, "-ftls-model=initial-exec");
        let other = directory.compile("other", SOURCE, "-ftls-model=initial-exec");
        open_and_use(&path);
        // It was closed. Its place goes to another, for those who lived with the first one too.
        let old = Green::new();
        for path in [&other, &path, &other] {
            old.run(|| {
                let library = Library::open(path);
                // SAFETY: the calling thread's.
                assert_eq!(unsafe { library.get(c"get_by_constructor").replace(0) }, 1);
                library.assert_fresh();
                library.write(9);
                library.close();
            });
            open_and_use(path);
        }
        // Both at once, opened at home.
        let (first, second) = (Library::open(&path), Library::open(&other));
        for library in [&first, &second] {
            old.run(|| {
                library.assert_fresh();
                library.write(5);
            });
        }
        old.run(|| first.assert_written(5));
        old.renew();
        for library in [&first, &second] {
            old.run(|| library.assert_fresh());
        }
    });
    assert_done(&child);
}

/// As libc itself does it: without the `dlopen` that the program has.
#[test]
fn a_library_that_came_by_another_way() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        let directory = Directory::new();
        let path = directory.compile("hidden", SOURCE, "-ftls-model=initial-exec");
        let other = directory.compile("other", SOURCE, "-ftls-model=initial-exec");
        drop(Green::new());
        // SAFETY: the name ends with a zero.
        let dlopen = unsafe { libc::dlsym(libc::RTLD_NEXT, c"dlopen".as_ptr()) };
        type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
        // SAFETY: of this type.
        let dlopen: Dlopen = unsafe { mem::transmute(dlopen) };
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a name, and a library that does nothing bad.
        let library = Library(unsafe { dlopen(name.as_ptr(), libc::RTLD_NOW) });
        assert!(!library.0.is_null());
        let green = Green::new();
        green.run(|| {
            library.assert_fresh();
            library.write(1);
            // Does not disturb those who use the first.
            Library::open(&other);
            library.assert_written(1);
        });
        green.renew();
        green.run(|| library.assert_fresh());
    });
    assert_done(&child);
}

/// The constructor of one opens another.
#[test]
fn a_library_that_opens_a_library() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        let directory = Directory::new();
        let inner = directory.compile("inner", SOURCE, "-ftls-model=initial-exec");
        let source = format!(
            "{SOURCE}
             void *dlopen(const char *, int);
             void *inner;
             __attribute__((constructor)) static void open(void) {{ inner = dlopen({inner:?}, 2); }}
            "
        );
        let outer = directory.compile("outer", &source, "-ftls-model=initial-exec");
        let greens = [Green::new(), Green::new()];
        greens[1].run(|| ());
        let libraries = greens[0].run(|| {
            let outer = Library::open(&outer);
            [outer, Library::open(&inner)]
        });
        for library in &libraries {
            greens[1].run(|| {
                library.assert_fresh();
                library.write(1);
            });
            // SAFETY: the calling thread's.
            greens[0].run(|| unsafe { library.get(c"get_by_constructor").write(0) });
            greens[0].run(|| library.assert_fresh());
        }
        greens[1].run(|| libraries[0].assert_written(1));
        greens[1].renew();
        greens[1].run(|| libraries.iter().for_each(Library::assert_fresh));
    });
    assert_done(&child);
}

#[test]
fn a_library_with_dynamic_thread_locals() {
    let child = in_child(&[], || {
        let _limit = time_limit(60);
        let directory = Directory::new();
        let path = directory.compile("dynamic", SOURCE, "-ftls-model=global-dynamic");
        for _ in 0..3 {
            open_and_use(&path);
        }
        let green = Green::new();
        let library = Library::open(&path);
        // SAFETY: asks only.
        let in_use = || unsafe { libc::mallinfo2() }.uordblks;
        let touch = || {
            green.run(|| library.write(1));
            green.renew();
            Green::new().run(|| library.write(2));
        };
        (0..100).for_each(|_| touch());
        let before = in_use();
        (0..10_000).for_each(|_| touch());
        let more = in_use().saturating_sub(before);
        assert!(more < 20_000, "{more} bytes of memory more");
    });
    assert_done(&child);
}

#[test]
fn libraries_are_opened_while_other_threads_build_and_renew() {
    static DONE: AtomicBool = AtomicBool::new(false);
    static N_BUILT: AtomicUsize = AtomicUsize::new(0);

    let child = in_child(&[], || {
        let _limit = time_limit(100);
        let directory = Directory::new();
        let path = directory.compile("racing", SOURCE, "-ftls-model=initial-exec");
        let builder = thread::spawn(|| {
            let kept = Green::new();
            while !DONE.load(Relaxed) {
                kept.run(|| drop(vec![1; 10]));
                kept.renew();
                Green::new().run(|| N_BUILT.fetch_add(1, Relaxed));
            }
        });
        let green = Green::new();
        let mut round = 0;
        while round < 300 || N_BUILT.load(Relaxed) < 300 {
            round += 1;
            let library = if round % 2 == 0 {
                green.run(|| Library::open(&path))
            } else {
                Library::open(&path)
            };
            Green::new().run(|| {
                library.assert_fresh();
                library.write(1);
            });
            library.close();
        }
        DONE.store(true, Relaxed);
        builder.join().unwrap();
    });
    assert_done(&child);
}
