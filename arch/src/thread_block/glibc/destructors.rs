//! What glibc does at the end of a thread, for the end of a green thread.

#![expect(unsafe_code, reason = "reads glibc's records, calls destructors")]

use std::ffi::c_void;
use std::mem;
use std::ptr;

use super::capture::forget_dlerror;
use super::symbols::Symbols;
use super::{Support, fs};

/// `PTHREAD_DESTRUCTOR_ITERATIONS`
const ROUNDS: usize = 4;

/// Runs the destructors of thread-locals, then those of thread-specific data, then frees what libc
/// itself has allocated for the thread.
///
/// # Safety
///
/// The calling green thread has its block installed and is ending.
pub(super) unsafe fn run(support: &Support) {
    let symbols = &support.symbols;
    // SAFETY: as the caller promises.
    unsafe { symbols.call_tls_dtors() };
    // Destructors may park, but a green thread keeps its block.
    let tp = fs::base();
    let used = support.template.specific_used;
    // SAFETY: a byte of the installed block.
    if used.is_none_or(|used| unsafe { byte(tp + used).read() } != 0) {
        // SAFETY: as the caller promises.
        unsafe { run_specific(symbols, tp, used) };
    }
    for &owner in &support.template.owners {
        let word = word(tp.wrapping_add_signed(owner));
        // SAFETY: a word of the installed block, null or from malloc.
        let memory = unsafe { word.replace(0) };
        if memory != 0 {
            // SAFETY: as above; the thread that would use it is ending.
            unsafe { libc::free(ptr::with_exposed_provenance_mut(memory)) };
        }
    }
    if let Some(dlerror) = support.template.dlerror {
        // SAFETY: a word of the installed block.
        if unsafe { word(tp.wrapping_add_signed(dlerror)).read() } != 0 {
            forget_dlerror();
        }
    }
    symbols.close_resolver();
}

/// Rounds of destructors until there are no more data, and the end of the tables.
#[cold]
unsafe fn run_specific(symbols: &Symbols, tp: usize, used: Option<usize>) {
    for _ in 0..ROUNDS {
        if let Some(used) = used {
            // SAFETY: a byte of the installed block.
            unsafe { byte(tp + used).write(0) };
        }
        // SAFETY: as the caller promises.
        let any = unsafe { run_round(symbols, tp) };
        // SAFETY: a byte of the installed block.
        let more = used.is_none_or(|used| unsafe { byte(tp + used).read() } != 0);
        if !any || !more {
            break;
        }
    }
    // The first table is part of the block and cleared with it.
    for level1 in symbols.specific.clone().step_by(8).skip(1) {
        // SAFETY: a word of the installed block: null, or a table from calloc.
        let table = unsafe { word(tp + level1).replace(0) };
        if table != 0 {
            // SAFETY: as above; the thread that would use it has ended but for us.
            unsafe { libc::free(ptr::with_exposed_provenance_mut(table)) };
        }
    }
    let first = symbols.specific.start;
    // SAFETY: a word of the installed block, which is the address of the first table.
    let table = unsafe { word(tp + first).read() };
    // SAFETY: the whole of the first table.
    unsafe { byte(table).write_bytes(0, symbols.level2_keys * symbols.datum_bytes) };
    if let Some(used) = used {
        // SAFETY: a byte of the installed block.
        unsafe { byte(tp + used).write(0) };
    }
}

/// Runs the destructor of every datum once. False if there was no datum.
unsafe fn run_round(symbols: &Symbols, tp: usize) -> bool {
    let mut any = false;
    for (idx, level1) in symbols.specific.clone().step_by(8).enumerate() {
        // SAFETY: a word of the installed block.
        let table = unsafe { word(tp + level1).read() };
        if table == 0 {
            continue;
        }
        for inner in 0..symbols.level2_keys {
            let datum = table + inner * symbols.datum_bytes;
            // SAFETY: a datum in a table.
            let data = unsafe { word(datum + symbols.datum_data).replace(0) };
            if data == 0 {
                continue;
            }
            any = true;
            let key = symbols.keys + (idx * symbols.level2_keys + inner) * symbols.key_bytes;
            // SAFETY: a datum in a table.
            let set_for = unsafe { word(datum + symbols.datum_seq).read() };
            // SAFETY: a record in the table of keys. Another thread may be changing it, as in glibc.
            let seq = unsafe { word(key + symbols.key_seq).read_volatile() };
            // SAFETY: as above.
            let destructor = unsafe { word(key + symbols.key_destructor).read_volatile() };
            if set_for == seq && destructor != 0 {
                // SAFETY: the destructor that the key was made with.
                let destructor: unsafe extern "C" fn(*mut c_void) =
                    unsafe { mem::transmute(destructor) };
                // SAFETY: a datum that was set for this key.
                unsafe { destructor(ptr::with_exposed_provenance_mut(data)) };
            }
        }
    }
    any
}

fn word(at: usize) -> *mut usize {
    ptr::with_exposed_provenance_mut(at)
}

fn byte(at: usize) -> *mut u8 {
    ptr::with_exposed_provenance_mut(at)
}
