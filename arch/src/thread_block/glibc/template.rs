//! The area of a fresh thread, from which blocks are copied.
//!
//! [`Template::take`] starts one OS thread and learns in it:
//!
//! - *the area*, copied before that thread does anything;
//! - *which words travel*: those that change at the first call of malloc and of `getrandom`. They
//!   belong to the OS thread, see `Block::install`;
//! - *which words own memory*: those that `strerror`, `strsignal` and a failed `dlsym` set, to be
//!   freed at the end of a green thread as glibc does at the end of its own;
//! - *where the stack's bounds are*: the four words that agree with `pthread_getattr_np`;
//! - *whether the descriptions for debuggers are right*, where that can be seen.
//!
//! Signals are blocked in that thread, so nothing else changes its area between two looks.

#![expect(unsafe_code, reason = "reads the area of a thread")]

use std::ffi::{c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::ops::Range;
use std::ptr;

use super::super::Unavailable;
use super::symbols::{self, Symbols};
use super::{Modules, TRAVELLERS_MAX, fs};

/// Changed words that a look can report; more are only counted.
const CHANGES_MAX: usize = 8;

/// Offset of the vector of dynamic thread-locals in `struct pthread`; part of the ABI.
pub(super) const DTV: usize = 8;

/// Offsets from the thread pointer.
#[derive(Clone, Copy, Default, Debug)]
struct Changes {
    n: usize,
    at: [isize; CHANGES_MAX],
}

impl Changes {
    fn all(&self) -> Option<&[isize]> {
        self.at.get(..self.n)
    }

    /// The word that changed, if it was one.
    fn single(&self) -> Option<isize> {
        (self.n == 1).then_some(self.at[0])
    }
}

/// What the template's thread reads and writes.
struct Capture<'a> {
    symbols: &'a Symbols,
    area: Vec<usize>,
    last: Vec<usize>,
    key: libc::pthread_key_t,

    /// Address of this record, which the thread's own record has too.
    arg: usize,
    tp: usize,
    tid: c_int,
    stack: Result<Stack, c_int>,
    malloc: Changes,
    getrandom: Changes,
    specific: Changes,
    strerror: Changes,
    strsignal: Changes,
    dlerror: Changes,
    dlerror_again: Changes,
}

/// As `pthread_getattr_np` says.
#[derive(Clone, Copy, Default, Debug)]
struct Stack {
    low: usize,
    bytes: usize,
    guard_bytes: usize,
}

/// The copy, and what was learned.
#[derive(Debug)]
pub(super) struct Template {
    /// From the lowest static thread-local to the end of `struct pthread`.
    area: Vec<usize>,
    /// Bytes of `area` below the thread pointer, and of those what modules use.
    below: usize,
    used: usize,
    /// Words that are an address in the area: offset in `area`, and distance of the address from
    /// the thread pointer.
    relative: Vec<(usize, isize)>,
    /// Parts of `area` that a block gets anew for each green thread, as offsets in it.
    renewed: Vec<Range<usize>>,
    /// Those of `relative` that lie in them.
    renewed_relative: Vec<(usize, isize)>,
    /// Offset in `struct pthread` of: lowest address, bytes in all, guard bytes, guard bytes asked.
    stack_fields: usize,
    /// The words that belong to the OS thread.
    pub(super) travellers: Vec<isize>,
    /// A byte that is not 0 when there may be thread-specific data, if this libc has one.
    pub(super) specific_used: Option<usize>,
    /// Words that are null or own memory from malloc.
    pub(super) owners: Vec<isize>,
    /// The word that is not null while `dlerror` has something to say.
    pub(super) dlerror: Option<isize>,
}

impl Template {
    /// Takes the copy. `own` is the offset from the thread pointer of the thread-local that says
    /// whose block it is; `modules` are those that have static thread-locals.
    pub(super) fn take(
        symbols: &Symbols,
        modules: &Modules,
        own: isize,
    ) -> Result<Template, Unavailable> {
        let n_words = (symbols.below() + symbols.pthread_bytes) / size_of::<usize>();
        let mut capture = Capture {
            symbols,
            area: vec![0; n_words],
            last: vec![0; n_words],
            key: new_key()?,
            arg: 0,
            tp: 0,
            tid: 0,
            stack: Err(0),
            malloc: Changes::default(),
            getrandom: Changes::default(),
            specific: Changes::default(),
            strerror: Changes::default(),
            strsignal: Changes::default(),
            dlerror: Changes::default(),
            dlerror_again: Changes::default(),
        };
        let result = run_thread(symbols, &mut capture);
        // SAFETY: our key, with no destructor.
        unsafe { libc::pthread_key_delete(capture.key) };
        result?;
        capture.into_template(modules, own)
    }

    /// Fills a block, with all but the vector of dynamic thread-locals, and the id.
    ///
    /// # Safety
    ///
    /// The area around `tp` is a block's, and not in use.
    pub(super) unsafe fn fill(&self, tp: usize, stack: &Range<usize>, guard_bytes: usize) {
        let area = tp - self.below;
        let skipped = self.below + DTV;
        let after = skipped + size_of::<usize>();
        // SAFETY: the caller's area is as large as ours.
        unsafe { self.copy(area, &(0..skipped)) };
        // SAFETY: as above.
        unsafe { self.copy(area, &(after..mem::size_of_val(&self.area[..]))) };
        for &(at, distance) in &self.relative {
            // SAFETY: a word of the area.
            unsafe { put(area + at, tp.wrapping_add_signed(distance)) };
        }
        let low = stack.start - guard_bytes;
        let words = [low, stack.end - low, guard_bytes, guard_bytes];
        for (idx, word) in words.into_iter().enumerate() {
            // SAFETY: a word of the area.
            unsafe { put(tp + self.stack_fields + idx * size_of::<usize>(), word) };
        }
    }

    /// Gives a block that was filled what a fresh thread has, except what does not change from one
    /// green thread to the next, and thread-specific data.
    ///
    /// # Safety
    ///
    /// As [`fill`](Template::fill), which was called for this block.
    #[inline]
    pub(super) unsafe fn refill(&self, tp: usize) {
        let area = tp - self.below;
        for range in &self.renewed {
            // SAFETY: the caller's area is as large as ours.
            unsafe { self.copy(area, range) };
        }
        for &(at, distance) in &self.renewed_relative {
            // SAFETY: a word of the area.
            unsafe { put(area + at, tp.wrapping_add_signed(distance)) };
        }
    }

    /// Bytes below the thread pointer that modules used when the template was taken.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// # Safety
    ///
    /// `area` is one as large as ours, and not in use; `range` lies in it.
    #[inline(always)]
    unsafe fn copy(&self, area: usize, range: &Range<usize>) {
        let from = self.area.as_ptr().cast::<u8>().wrapping_add(range.start);
        let to = ptr::with_exposed_provenance_mut::<u8>(area + range.start);
        // SAFETY: the caller promises that both have the range.
        unsafe { ptr::copy_nonoverlapping(from, to, range.len()) };
    }
}

/// # Safety
///
/// `at` is a word of a block that is not in use.
#[inline(always)]
unsafe fn put(at: usize, word: usize) {
    // SAFETY: the caller promises a word.
    unsafe { ptr::with_exposed_provenance_mut::<usize>(at).write(word) };
}

fn new_key() -> Result<libc::pthread_key_t, Unavailable> {
    let mut key = 0;
    // SAFETY: a place for a key.
    match unsafe { libc::pthread_key_create(&mut key, None) } {
        0 => Ok(key),
        error => Err(Unavailable::new(format!(
            "no key for thread-specific data: {}",
            std::io::Error::from_raw_os_error(error)
        ))),
    }
}

/// Runs `capture` in a thread of its own, to its end, with signals blocked.
fn run_thread(symbols: &Symbols, capture: &mut Capture<'_>) -> Result<(), Unavailable> {
    let failed = |error: c_int| {
        let error = std::io::Error::from_raw_os_error(error);
        Unavailable::new(format!("no thread to copy: {error}"))
    };
    let mut attr = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: a place for attributes.
    unsafe { libc::pthread_attr_init(attr.as_mut_ptr()) };
    // The default stack size may be too small, if the limit on stacks is.
    let bytes = (symbols.static_bytes + 512 * 1024).next_multiple_of(crate::page::size());
    // SAFETY: initialised above.
    unsafe { libc::pthread_attr_setstacksize(attr.as_mut_ptr(), bytes) };
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: a place for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: a set, and a place for one.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    let mut thread = 0;
    let arg = ptr::from_mut(capture).cast::<c_void>();
    // SAFETY: the thread is joined before `capture` ends.
    let error = unsafe { symbols.pthread_create()(&mut thread, attr.as_ptr(), body, arg) };
    // SAFETY: initialised above, not used any more.
    unsafe { libc::pthread_attr_destroy(attr.as_mut_ptr()) };
    let joined = match error {
        // SAFETY: created above, joined once.
        0 => unsafe { symbols.pthread_join()(thread, ptr::null_mut()) },
        _ => 0,
    };
    // SAFETY: filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut()) };
    match (error, joined) {
        (0, 0) => Ok(()),
        (0, error) | (error, _) => Err(failed(error)),
    }
}

/// The template's thread.
extern "C" fn body(capture: *mut c_void) -> *mut c_void {
    // SAFETY: `run_thread` passes one, and waits.
    let capture = unsafe { &mut *capture.cast::<Capture<'_>>() };
    capture.run();
    ptr::null_mut()
}

impl Capture<'_> {
    fn run(&mut self) {
        self.arg = ptr::from_ref(self).addr();
        self.tp = fs::base();
        // SAFETY: this thread's own area is as large as the static thread-locals of a thread.
        unsafe { ptr::copy_nonoverlapping(self.live(), self.area.as_mut_ptr(), self.area.len()) };
        self.last.copy_from_slice(&self.area);

        self.symbols.malloc_and_free();
        self.malloc = self.changes();

        let mut byte = 0_u8;
        // SAFETY: a place for one byte.
        unsafe { libc::getrandom((&raw mut byte).cast(), 1, libc::GRND_NONBLOCK) };
        self.getrandom = self.changes();

        // SAFETY: the key is ours.
        unsafe { libc::pthread_setspecific(self.key, self.key_data()) };
        self.specific = self.changes();

        // SAFETY: answers for any number.
        unsafe { libc::strerror(4_000_000) };
        self.strerror = self.changes();
        // SAFETY: answers for any number.
        unsafe { libc::strsignal(4_000_000) };
        self.strsignal = self.changes();

        symbols::global(c"greenrt: there is no such symbol");
        self.dlerror = self.changes();
        forget_dlerror();
        self.dlerror_again = self.changes();

        self.stack = self.own_stack();
        // SAFETY: asks only.
        self.tid = unsafe { libc::gettid() };
    }

    fn live(&self) -> *const usize {
        ptr::with_exposed_provenance(self.tp - self.symbols.below())
    }

    /// A datum that no other word has.
    fn key_data(&self) -> *const c_void {
        self.last.as_ptr().cast()
    }

    /// Which words have changed since the last look. `errno` does not count.
    fn changes(&mut self) -> Changes {
        let mut changes = Changes::default();
        // SAFETY: asks only.
        let errno = unsafe { libc::__errno_location() }.addr() & !7;
        for idx in 0..self.last.len() {
            // SAFETY: a word of this thread's area.
            let word = unsafe { self.live().wrapping_add(idx).read_volatile() };
            let before = mem::replace(&mut self.last[idx], word);
            let at = idx * size_of::<usize>();
            if word != before && self.live().addr() + at != errno {
                if let Some(place) = changes.at.get_mut(changes.n) {
                    *place = at as isize - self.symbols.below() as isize;
                }
                changes.n += 1;
            }
        }
        changes
    }

    fn own_stack(&self) -> Result<Stack, c_int> {
        let mut attr = MaybeUninit::<libc::pthread_attr_t>::zeroed();
        // SAFETY: asks only.
        let this = unsafe { libc::pthread_self() };
        // SAFETY: a place for attributes.
        let error = unsafe { self.symbols.pthread_getattr_np()(this, attr.as_mut_ptr()) };
        if error != 0 {
            return Err(error);
        }
        let mut low = ptr::null_mut();
        let mut stack = Stack::default();
        // SAFETY: attributes, and places for the answers.
        unsafe { libc::pthread_attr_getstack(attr.as_ptr(), &mut low, &mut stack.bytes) };
        // SAFETY: as above.
        unsafe { libc::pthread_attr_getguardsize(attr.as_ptr(), &mut stack.guard_bytes) };
        // SAFETY: initialised above, not used any more.
        unsafe { libc::pthread_attr_destroy(attr.as_mut_ptr()) };
        stack.low = low.addr();
        Ok(stack)
    }

    /// Judges what was seen, and makes the copy good for any place.
    fn into_template(mut self, modules: &Modules, own: isize) -> Result<Template, Unavailable> {
        let symbols = self.symbols;
        let below = symbols.below();
        self.check_descriptions()?;
        let stack_fields = self.stack_fields()?;
        let travellers = self.travellers()?;
        let used = modules
            .used()
            .max(
                symbols
                    .rseq
                    .as_ref()
                    .map_or(0, |rseq| (-rseq.start).max(0) as usize),
            )
            .next_multiple_of(8);
        let area = self.tp - below..self.tp + symbols.pthread_bytes;
        if used > below || own < -(used as isize) || own >= 0 {
            return Err(Unavailable::new(format!(
                "our own thread-locals are at {own}, modules use {used} of {below} bytes; \
                 was this loaded by dlopen?"
            )));
        }

        // What no module uses may be left over from a thread whose stack glibc has kept.
        self.area[..(below - used) / size_of::<usize>()].fill(0);
        let stack = self.stack.map_err(|error| {
            let error = std::io::Error::from_raw_os_error(error);
            Unavailable::new(format!("pthread_getattr_np on a new thread: {error}"))
        })?;
        let thread = stack.low - stack.guard_bytes..stack.low + stack.bytes;
        let start = (body as *const ()).addr();
        let mut relative = Vec::new();
        for (idx, word) in self.area.iter_mut().enumerate() {
            if area.contains(word) {
                let distance = word.wrapping_sub(self.tp) as isize;
                relative.push((idx * size_of::<usize>(), distance));
            } else if thread.contains(word) || *word == start || *word == self.arg {
                *word = 0;
            }
        }
        let at = |offset: isize| below.wrapping_add_signed(offset);
        let mut self_link = |offset: isize, distance: isize| {
            relative.retain(|&(other, _)| other != at(offset));
            relative.push((at(offset), distance));
        };
        // In no list: a node that is linked to itself can be taken out of it without harm.
        let list = symbols.list as isize;
        self_link(list, list);
        self_link(list + 8, list);
        self_link(own, 0);
        if let Some(rseq) = &symbols.rseq {
            if rseq.start % 8 != 0 || rseq.end > symbols.pthread_bytes as isize {
                return Err(Unavailable::new(format!(
                    "the area for restartable sequences is at {rseq:?}"
                )));
            }
            let words = at(rseq.start) / 8..at(rseq.end) / 8;
            self.area[words.clone()].fill(0);
            // `cpu_id_start` is 0 and `cpu_id` -2: registration failed. The kernel fills the
            // worker's area, not this one.
            self.area[words.start] = (-2_i32 as u32 as usize) << 32;
        }

        let renewed = renewed(symbols, below, used, stack_fields);
        let renewed_relative = relative
            .iter()
            .filter(|(at, _)| renewed.iter().any(|range| range.contains(at)))
            .copied()
            .collect();
        let dlerror = self.dlerror.single().filter(|_| {
            // It is understood if asking for the message has freed it.
            self.dlerror_again.single() == self.dlerror.single()
        });
        Ok(Template {
            below,
            used,
            relative,
            renewed,
            renewed_relative,
            stack_fields,
            travellers,
            specific_used: self.specific_used(),
            owners: [self.strerror.single(), self.strsignal.single()]
                .into_iter()
                .flatten()
                .filter(|&at| self.area[below.wrapping_add_signed(at) / 8] == 0)
                .collect(),
            dlerror,
            area: self.area,
        })
    }

    /// The word of the copy at this offset from the thread pointer.
    fn word(&self, offset: usize) -> usize {
        self.area[(self.symbols.below() + offset) / size_of::<usize>()]
    }

    fn check_descriptions(&self) -> Result<(), Unavailable> {
        let symbols = self.symbols;
        let wrong = |what: &str| Err(Unavailable::new(format!("this libc is unknown: {what}")));
        if !self
            .tp
            .is_multiple_of(symbols.align.max(size_of::<usize>()))
        {
            return wrong("a thread pointer that is not aligned");
        }
        if self.word(0) != self.tp || self.word(0x10) != self.tp {
            return wrong("a thread that does not begin with its own address");
        }
        let tid = self.word(symbols.tid & !7) >> (symbols.tid % 8 * 8);
        if tid as u32 != self.tid as u32 {
            return wrong("the thread's id is not where it should be");
        }
        if self.word(symbols.specific.start) < self.tp {
            return wrong("the table of thread-specific data");
        }
        // If it was the first block of the table that changed, it is understood.
        if (self.key as usize) < symbols.level2_keys {
            let block = self.word(symbols.specific.start) - self.tp;
            let at = block + self.key as usize * symbols.datum_bytes + symbols.datum_data;
            let datum = self.last.get((symbols.below() + at) / 8);
            if datum != Some(&self.key_data().addr()) {
                return wrong("thread-specific data is not where it should be");
            }
        }
        Ok(())
    }

    /// Offset of the four words that give the stack's bounds.
    fn stack_fields(&self) -> Result<usize, Unavailable> {
        let stack = self.stack.unwrap_or_default();
        let first = self.symbols.below() / size_of::<usize>();
        let mut found = self.area[first..]
            .windows(4)
            .enumerate()
            .filter(|(_, words)| {
                let &[low, bytes, guard_bytes, guard_asked] = *words else {
                    return false;
                };
                low.checked_add(guard_bytes) == Some(stack.low)
                    && low.checked_add(bytes) == Some(stack.low + stack.bytes)
                    && guard_asked == stack.guard_bytes
            });
        match (found.next(), found.next()) {
            (Some((idx, _)), None) => Ok(idx * size_of::<usize>()),
            _ => Err(Unavailable::new(format!(
                "this libc is unknown: {stack:x?} is not in the thread's record"
            ))),
        }
    }

    /// The words of malloc and `getrandom`.
    fn travellers(&self) -> Result<Vec<isize>, Unavailable> {
        let mut all = Vec::new();
        for changes in [self.malloc, self.getrandom] {
            let words = changes.all().unwrap_or_default();
            if changes.n > words.len() || all.len() + words.len() > TRAVELLERS_MAX {
                return Err(Unavailable::new(format!(
                    "this libc is unknown: {} words of a thread change at its first allocation",
                    changes.n
                )));
            }
            all.extend_from_slice(words);
        }
        let all_null = all.iter().all(|&at| {
            let at = self.symbols.below().wrapping_add_signed(at);
            self.area[at / size_of::<usize>()] == 0
        });
        if !all_null {
            return Err(Unavailable::new(
                "this libc is unknown: the first allocation of a thread changes a word that is set",
            ));
        }
        Ok(all)
    }

    /// The byte behind the table of thread-specific data, if that is what has become 1.
    fn specific_used(&self) -> Option<usize> {
        let at = self.symbols.specific.end;
        let after = self.last.get((self.symbols.below() + at) / 8)?;
        let changed = self.specific.all()?.contains(&(at as isize));
        (changed && self.word(at) & 0xff == 0 && after & 0xff == 1).then_some(at)
    }
}

/// Frees what `dlerror` has to say, by asking for it and asking again.
pub(super) fn forget_dlerror() {
    for _ in 0..2 {
        // SAFETY: the answer is not used.
        unsafe { libc::dlerror() };
    }
}

/// What changes from one green thread to the next: all but the vector of dynamic thread-locals, the
/// stack's bounds, and thread-specific data with its table, which `run_destructors` clears.
fn renewed(symbols: &Symbols, below: usize, used: usize, stack_fields: usize) -> Vec<Range<usize>> {
    let mut kept = [
        below + DTV..below + DTV + 8,
        below + stack_fields..below + stack_fields + 32,
        below + symbols.specific.start..below + symbols.specific.end,
    ];
    kept.sort_by_key(|range| range.start);
    let mut renewed = Vec::new();
    let mut start = below - used;
    for range in kept {
        renewed.push(start..range.start);
        start = range.end;
    }
    renewed.push(start..below + symbols.pthread_bytes);
    renewed.retain(|range| !range.is_empty());
    renewed
}
