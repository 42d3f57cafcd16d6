//! Spare stacks of one worker.
//!
//! A stack keeps the thread-local block that was built on it, which the next thread uses again; the
//! block goes when the stack leaves the worker.
//!
//! The last stack used is the next one taken: its top is in the cache. A worker keeps some of each
//! class; the surplus, the oldest first, goes back to the depot (`greenrt_arch::stack`), which
//! returns its memory to the system and keeps the addresses for the next taker.

#![expect(unsafe_code, reason = "destroys the blocks of stacks that nobody uses")]

use std::io;
use std::mem::ManuallyDrop;

use greenrt_arch::stack::{self, Class, Slot};
use greenrt_arch::thread_block::{Block, Support};

/// What a worker keeps of one class, in bytes of address space; at most `KEEP_MAX` stacks.
const KEEP_BYTES: usize = 64 << 20;
const KEEP_MAX: usize = 512;
/// How many stacks come from the depot at a time.
const BATCH_MAX: usize = 32;

/// A stack slot, and the thread-local block at its top, if there is one. Nobody runs on it.
#[derive(Debug)]
pub(crate) struct Stack {
    slot: ManuallyDrop<Slot>,
    /// And where it begins.
    block: Option<(Block, usize)>,
}

impl Stack {
    /// The slot, which is not to be given away.
    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Highest address for frames, exclusive.
    #[inline]
    pub(crate) fn top(&self) -> usize {
        match self.block {
            Some((_, at)) => at,
            None => self.slot.top(),
        }
    }

    /// The block that its next user is to have: built now, or that of its last user, renewed.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    ///
    /// # Safety
    ///
    /// `home` is the block of the calling OS thread, whichever is installed, and stays as long as the
    /// user runs.
    #[inline]
    pub(crate) unsafe fn dress(&mut self, support: &Support, home: Block) -> io::Result<Block> {
        if let Some((block, _)) = self.block {
            // SAFETY: nobody runs on this stack, so it is not installed, and its last user has
            // ended.
            unsafe { block.renew(home) };
            return Ok(block);
        }
        let at = (self.slot.top() - support.bytes()) & !(support.align() - 1);
        let bottom = self.slot.limit() + self.slot.class().guard_bytes();
        let guard_bytes = self.slot.class().guard_bytes();
        // SAFETY: the top of the slot is ours, and nobody puts a frame above `top`.
        let block = unsafe { support.build(at, bottom..at, guard_bytes, home)? };
        self.block = Some((block, at));
        Ok(block)
    }

    /// Destroys the block.
    fn strip(self) -> Slot {
        let mut this = ManuallyDrop::new(self);
        if let Some((block, _)) = this.block {
            // SAFETY: nobody runs on this stack, so it is not installed.
            unsafe { block.destroy() };
        }
        // SAFETY: `this` is not dropped, so it is taken once.
        unsafe { ManuallyDrop::take(&mut this.slot) }
    }
}

impl From<Slot> for Stack {
    fn from(slot: Slot) -> Self {
        Stack {
            slot: ManuallyDrop::new(slot),
            block: None,
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let this = Stack {
            // SAFETY: not used again.
            slot: ManuallyDrop::new(unsafe { ManuallyDrop::take(&mut self.slot) }),
            block: self.block.take(),
        };
        drop(this.strip());
    }
}

/// See the module's documentation.
pub(crate) struct StackPool {
    spare: [Vec<Stack>; Class::COUNT],
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

    /// Takes a stack.
    ///
    /// # Errors
    ///
    /// The system's, if there is no spare one and no more memory can be mapped.
    #[inline]
    pub(crate) fn take(&mut self, class: Class) -> io::Result<Stack> {
        let spare = &mut self.spare[class.index()];
        match spare.pop() {
            Some(stack) => Ok(stack),
            None => self.refill(class),
        }
    }

    #[cold]
    fn refill(&mut self, class: Class) -> io::Result<Stack> {
        let spare = &mut self.spare[class.index()];
        let n = (Self::keep(class) / 4).clamp(1, BATCH_MAX);
        let mut slots = Vec::with_capacity(n);
        stack::take(class, n, &mut slots)?;
        self.n_refills += 1;
        if self.n_refills > 1 {
            stack::touch(&slots);
        }
        spare.extend(slots.into_iter().map(Stack::from));
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
            let stack = self.refill(class)?;
            self.spare[class.index()].push(stack);
        }
        Ok(())
    }

    /// Gives a stack back.
    #[inline]
    pub(crate) fn put(&mut self, stack: Stack) {
        let class = stack.slot().class();
        let spare = &mut self.spare[class.index()];
        spare.push(stack);
        self.n_refills = 0;
        if spare.len() > Self::keep(class) {
            Self::spill(spare);
        }
    }

    #[cold]
    fn spill(spare: &mut Vec<Stack>) {
        let n = spare.len() / 2;
        give_back(spare.drain(..n));
    }
}

impl Drop for StackPool {
    fn drop(&mut self) {
        for spare in &mut self.spare {
            give_back(spare.drain(..));
        }
    }
}

/// Returns many stacks at once to the depot.
fn give_back(stacks: impl Iterator<Item = Stack>) {
    let mut slots: Vec<Slot> = stacks.map(Stack::strip).collect();
    stack::give_back(&mut slots);
}
