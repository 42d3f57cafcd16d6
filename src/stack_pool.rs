//! Spare stacks of one worker.
//!
//! The last stack used is the next one taken: its top is in the cache. A worker keeps some of each
//! class; the surplus, the oldest first, goes back to the depot (`greenrt_arch::stack`), which
//! returns its memory to the system and keeps the addresses for the next taker.

use std::io;

use greenrt_arch::stack::{self, Class, Slot};

/// What a worker keeps of one class, in bytes of address space; at most `KEEP_MAX` stacks.
const KEEP_BYTES: usize = 64 << 20;
const KEEP_MAX: usize = 512;
/// How many stacks come from the depot at a time.
const BATCH_MAX: usize = 32;

/// See the module's documentation.
pub(crate) struct StackPool {
    spare: [Vec<Slot>; Class::COUNT],
    /// Refills since a stack last came back: many mean a burst, whose stacks are all used at once.
    n_refills: u32,
}

impl StackPool {
    pub(crate) fn new() -> Self {
        StackPool {
            spare: [const { Vec::new() }; Class::COUNT],
            n_refills: 0,
        }
    }

    fn keep(class: Class) -> usize {
        (KEEP_BYTES / class.slot_bytes()).clamp(2, KEEP_MAX)
    }

    /// Takes a stack, of a larger class if there is no other.
    ///
    /// # Errors
    ///
    /// The system's, if there is no spare one and no more memory can be mapped.
    #[inline]
    pub(crate) fn take(&mut self, class: Class) -> io::Result<Slot> {
        let spare = &mut self.spare[class.index()];
        match spare.pop() {
            Some(slot) => Ok(slot),
            None => self.refill(class),
        }
    }

    #[cold]
    fn refill(&mut self, class: Class) -> io::Result<Slot> {
        let n = (Self::keep(class) / 4).clamp(1, BATCH_MAX);
        let (spare, larger) = self.spare[class.index()..]
            .split_first_mut()
            .expect("every class has its spare ones");
        if let Err(error) = stack::take(class, n, spare) {
            return larger.iter_mut().find_map(Vec::pop).ok_or(error);
        }
        self.n_refills += 1;
        if self.n_refills > 1 {
            stack::touch(spare);
        }
        spare
            .pop()
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
    }

    /// Makes sure that the next `take` succeeds.
    ///
    /// # Errors
    ///
    /// As `take`.
    #[inline]
    pub(crate) fn reserve(&mut self, class: Class) -> io::Result<()> {
        let spare = &mut self.spare[class.index()];
        if spare.is_empty() {
            let slot = self.refill(class)?;
            self.spare[class.index()].push(slot);
        }
        Ok(())
    }

    /// Gives a stack back.
    #[inline]
    pub(crate) fn put(&mut self, slot: Slot) {
        let class = slot.class();
        let spare = &mut self.spare[class.index()];
        spare.push(slot);
        self.n_refills = 0;
        if spare.len() > Self::keep(class) {
            Self::spill(spare);
        }
    }

    #[cold]
    fn spill(spare: &mut Vec<Slot>) {
        let n = spare.len() / 2;
        let mut oldest: Vec<Slot> = spare.drain(..n).collect();
        stack::give_back(&mut oldest);
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        for spare in &mut self.spare {
            stack::give_back(spare);
        }
    }
}
