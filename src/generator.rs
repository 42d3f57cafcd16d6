//! Suspend and resume by hand: a function that hands out values on the way.
//!
//! The plain primitive under green threads, as a type of its own: it has a stack, so it can hand
//! out a value from any depth of calls, and no scheduler, so it runs only while it is resumed.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::panic::{self, AssertUnwindSafe};

use greenrt_arch::stack::{self, Slot};

use crate::cancel::{self, Suspended};
use crate::runtime;
use crate::scheduler::switch::{Plain, PlainYielder};
use crate::scheduler::with_local;

/// What a resumed [`Generator`] came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GeneratorState<Out, Ret> {
    /// It handed out a value, and can be resumed.
    Yielded(Out),
    /// It returned.
    Complete(Ret),
}

/// The payload that unwinds a generator which is dropped half-way.
struct Dropped;

/// What a generator is resumed with: a value, or the request to unwind.
type Input<In> = Result<In, Dropped>;

/// A function with its own stack that hands out values on the way and takes values in return.
///
/// It runs on the thread that resumes it, between `resume` and the next value. Inside it
/// everything is allowed that is allowed where it is resumed: on a green thread it may sleep, read
/// and lock. A panic inside comes out of `resume`.
///
/// Dropped half-way, it unwinds from the call that handed out the last value, and its destructors
/// run. None of them may hand out a value then: nobody takes it, and the process aborts. With
/// `panic = "abort"` a generator that is dropped half-way is leaked.
///
/// # Examples
///
/// Values both ways:
///
/// ```
/// use greenrt::{Generator, GeneratorState::*};
///
/// let mut sums = Generator::new(|out, first: i32| {
///     let second = out.yield_(first * 10);
///     format!("{first} + {second} = {}", first + second)
/// });
/// assert_eq!(sums.resume(1), Yielded(10));
/// assert_eq!(sums.resume(2), Complete("1 + 2 = 3".to_string()));
/// ```
///
/// From any depth, as an iterator:
///
/// ```
/// use greenrt::{Generator, Yielder};
///
/// fn walk(depth: u32, out: &Yielder<(), u32>) {
///     if depth > 0 {
///         walk(depth - 1, out);
///         out.yield_(depth);
///         walk(depth - 1, out);
///     }
/// }
/// let visited: Vec<u32> = Generator::new(|out, ()| walk(3, out)).collect();
/// assert_eq!(visited, [1, 2, 1, 3, 1, 2, 1]);
/// ```
pub struct Generator<In: 'static, Out: 'static, Ret: 'static> {
    plain: Option<Plain<Input<In>, Out, Ret>>,
    /// Time limits and shields that were set inside it.
    limits: Suspended,
    _not_send: PhantomData<*mut ()>,
}

impl<In: 'static, Out: 'static, Ret: 'static> Generator<In, Out, Ret> {
    /// Makes a generator with a stack of 256 KiB. It does not run before it is resumed.
    ///
    /// # Panics
    ///
    /// If no stack can be had; [`with_stack_size`](Generator::with_stack_size) returns the error.
    pub fn new<F>(body: F) -> Self
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    {
        Self::with_stack_size(runtime::STACK_SIZE, body).expect("failed to map a generator's stack")
    }

    /// Makes a generator with a stack of the size that
    /// [`Builder::stack_size`](crate::Builder::stack_size) would give.
    ///
    /// # Errors
    ///
    /// If no stack can be had, or the size is above 8 MiB.
    pub fn with_stack_size<F>(bytes: usize, body: F) -> io::Result<Self>
    where
        F: FnOnce(&Yielder<In, Out>, In) -> Ret + 'static,
    {
        let class = runtime::stack_class(bytes)?;
        let slot = match with_local(|local| local.take_stack(class)) {
            Some(slot) => slot?,
            None => {
                greenrt_arch::overflow::install(crate::debug::describe_overflow)?;
                let mut slots = Vec::with_capacity(1);
                stack::take(class, 1, &mut slots)?;
                slots.pop().ok_or(io::ErrorKind::OutOfMemory)?
            }
        };
        let bounds = Plain::<Input<In>, Out, Ret>::bounds(&slot);
        let plain = Plain::new(slot, move |inner: &PlainYielder<Input<In>, Out>, first| {
            let yielder = Yielder {
                inner,
                bounds,
                dropped: Cell::new(false),
            };
            let first = yielder.received(first);
            body(&yielder, first)
        });
        Ok(Generator {
            plain: Some(plain),
            limits: Suspended::default(),
            _not_send: PhantomData,
        })
    }

    /// Runs it until it hands out a value or returns. `value` is what its first argument is, or
    /// what [`yield_`](Yielder::yield_) returns inside it.
    ///
    /// # Panics
    ///
    /// If it has returned or panicked before; or as it panics.
    pub fn resume(&mut self, value: In) -> GeneratorState<Out, Ret> {
        let plain = self
            .plain
            .as_mut()
            .expect("generator resumed after it has ended");
        let resumer = self.limits.enter();
        let result = panic::catch_unwind(AssertUnwindSafe(|| plain.resume(Ok(value))));
        self.limits = Suspended::leave(resumer);
        match result {
            Ok(Err(value)) => GeneratorState::Yielded(value),
            Ok(Ok(value)) => {
                self.release();
                GeneratorState::Complete(value)
            }
            Err(payload) => {
                self.release();
                panic::resume_unwind(payload)
            }
        }
    }

    /// Whether it has returned or panicked.
    pub fn is_complete(&self) -> bool {
        self.plain.is_none()
    }

    fn release(&mut self) {
        if let Some(slot) = self.plain.take().and_then(Plain::into_slot) {
            give_back(slot);
        }
    }
}

fn give_back(slot: Slot) {
    let mut slot = Some(slot);
    with_local(|local| slot.take().map(|slot| local.put_stack(slot)));
    // Off a worker it goes to the depot.
    drop(slot);
}

impl<In: 'static, Out: 'static, Ret: 'static> Drop for Generator<In, Out, Ret> {
    fn drop(&mut self) {
        let Some(plain) = &mut self.plain else { return };
        let mut outcome: Result<(), Box<dyn Any + Send>> = Ok(());
        if plain.is_started() && !plain.is_done() && cfg!(panic = "unwind") {
            let resumer = self.limits.enter();
            outcome = panic::catch_unwind(AssertUnwindSafe(|| drop(plain.resume(Err(Dropped)))));
            Suspended::leave(resumer);
        }
        self.release();
        if let Err(payload) = outcome
            && !payload.is::<Dropped>()
            && !std::thread::panicking()
        {
            panic::resume_unwind(payload);
        }
    }
}

impl<Out: 'static> Iterator for Generator<(), Out, ()> {
    type Item = Out;

    fn next(&mut self) -> Option<Out> {
        if self.is_complete() {
            return None;
        }
        match self.resume(()) {
            GeneratorState::Yielded(value) => Some(value),
            GeneratorState::Complete(()) => None,
        }
    }
}

impl<In, Out, Ret> fmt::Debug for Generator<In, Out, Ret> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("complete", &self.plain.is_none())
            .finish_non_exhaustive()
    }
}

/// How a generator hands out values; it gets one as its first argument.
pub struct Yielder<In, Out> {
    inner: *const PlainYielder<Input<In>, Out>,
    bounds: (usize, usize),
    /// The generator is being dropped, and unwinds.
    dropped: Cell<bool>,
}

impl<In: 'static, Out: 'static> Yielder<In, Out> {
    /// Hands out a value, and waits for the next `resume`, whose value it returns.
    ///
    /// # Panics
    ///
    /// If called on another stack than the generator's, which takes a [`run`](crate::run) inside
    /// the generator. If called by a destructor while the generator is dropped; that aborts.
    pub fn yield_(&self, value: Out) -> In {
        assert!(
            Plain::<Input<In>, Out, ()>::holds(self.bounds),
            "a generator can hand out values on its own stack only"
        );
        // Leaving it half unwound is no way out: the thread would count as panicking for ever.
        assert!(
            !self.dropped.get(),
            "a value was handed out while its generator was dropped"
        );
        #[expect(unsafe_code, reason = "the yielder is kept by address")]
        // SAFETY: lives on the generator's stack as long as its body runs, and we are in its body.
        let inner = unsafe { &*self.inner };
        let received = inner.suspend(value);
        self.received(received)
    }

    fn received(&self, input: Input<In>) -> In {
        match input {
            Ok(value) => value,
            Err(Dropped) => {
                self.dropped.set(true);
                cancel::unwind(Dropped)
            }
        }
    }
}

impl<In, Out> fmt::Debug for Yielder<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Yielder").finish_non_exhaustive()
    }
}
