//! What each thread keeps for itself, and everybody together.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Duration;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static NOTES: RefCell<Vec<Note>> = RefCell::new(Vec::new());
}

static TITLES: OnceLock<Mutex<HashMap<String, u32>>> = OnceLock::new();

/// A note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Note {
    title: String,
    depth: u32,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", "  ".repeat(self.depth as usize), self.title)
    }
}

/// Notes something down, deeper each time.
pub fn note(title: &str) -> Note {
    let depth = DEPTH.with(|depth| depth.replace(depth.get() + 1));
    let note = Note {
        title: title.to_string(),
        depth,
    };
    NOTES.with(|notes| notes.borrow_mut().push(note.clone()));
    let titles = TITLES.get_or_init(Mutex::default);
    *titles
        .lock()
        .unwrap()
        .entry(note.title.clone())
        .or_default() += 1;
    note
}

/// The calling thread's notes.
pub fn own() -> Vec<Note> {
    NOTES.with(|notes| notes.borrow().clone())
}

/// How often anybody has noted this.
pub fn count(title: &str) -> u32 {
    let titles = TITLES.get_or_init(Mutex::default);
    titles.lock().unwrap().get(title).copied().unwrap_or(0)
}

/// A bell that is rung once.
#[derive(Clone, Debug, Default)]
pub struct Bell(Arc<(Mutex<bool>, Condvar)>);

impl Bell {
    /// Rings.
    pub fn ring(&self) {
        *(self.0).0.lock().unwrap() = true;
        (self.0).1.notify_all();
    }

    /// Waits until it has rung; `false` after `timeout`.
    pub fn wait(&self, timeout: Duration) -> bool {
        let rung = (self.0).0.lock().unwrap();
        let waited = (self.0).1.wait_timeout_while(rung, timeout, |rung| !*rung);
        *waited.unwrap().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_belong_to_their_thread() {
        let counts = all_at_once![
            (0..3).map(|_| note("shared").depth).sum::<u32>(),
            (0..3).map(|_| note("shared").depth).sum::<u32>(),
        ];
        assert_eq!(counts, [3, 3]);
        assert!(own().is_empty());
        assert_eq!(count("shared"), 6);
        assert_eq!(note("mine").to_string(), "mine");
        assert_eq!(note("deeper").to_string(), "  deeper");
        println!("{:?}", own());
        eprintln!("and {}", dbg!(own().len()));
    }

    #[test]
    fn a_bell_wakes_who_waits() {
        let bell = Bell::default();
        assert!(!bell.wait(Duration::from_millis(1)));
        let waiter = {
            let bell = bell.clone();
            std::thread::spawn(move || bell.wait(Duration::from_secs(1000)))
        };
        bell.ring();
        assert!(waiter.join().unwrap());
    }

    #[test]
    #[should_panic(expected = "as it should")]
    fn a_panic_is_one() {
        let failing = std::thread::spawn(|| panic!("as it should"));
        std::panic::resume_unwind(failing.join().unwrap_err());
    }
}
