//! Which modules of the process have static thread-locals, and where.
//!
//! `dl_iterate_phdr` tells a module's image, and which number it has. That the thread-locals are
//! static, and their distance from the thread pointer, is in the module's `link_map` only, a field
//! that is described for debuggers.

#![expect(unsafe_code, reason = "reads the dynamic linker's records")]

use std::ffi::{c_int, c_void};
use std::mem;
use std::ptr;
use std::slice;

use super::symbols::Symbols;

/// A module with static thread-locals, as it is now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Module {
    /// Where its thread-locals begin, in bytes below the thread pointer.
    pub(super) offset: usize,
    pub(super) bytes: usize,
    /// What they begin with; the rest is zero.
    pub(super) image: Vec<u8>,
    /// By which two modules at the same place can be told apart, mostly.
    id: usize,
    image_at: usize,
}

impl Module {
    /// Whether `other` is this module, whatever the image.
    pub(super) fn is(&self, other: &Module) -> bool {
        (self.offset, self.bytes, self.id, self.image_at)
            == (other.offset, other.bytes, other.id, other.image_at)
    }
}

#[derive(Clone, Default, Debug)]
pub(super) struct Modules {
    pub(super) all: Vec<Module>,
}

/// The public begin of a `link_map`.
#[repr(C)]
struct LinkMap {
    addr: usize,
    name: usize,
    dynamic: usize,
    next: *const LinkMap,
}

struct Walk<'a> {
    symbols: &'a Symbols,
    modules: Modules,
}

impl Modules {
    /// Looks at all modules. Those in other namespaces (`dlmopen`) are not seen.
    pub(super) fn scan(symbols: &Symbols) -> Modules {
        let mut walk = Walk {
            symbols,
            modules: Modules::default(),
        };
        // SAFETY: `on_module` gets the walk, and calls nothing that could load modules.
        unsafe { libc::dl_iterate_phdr(Some(on_module), ptr::from_mut(&mut walk).cast()) };
        walk.modules
    }

    /// Bytes below the thread pointer that are in use.
    pub(super) fn used(&self) -> usize {
        self.all
            .iter()
            .map(|module| module.offset)
            .max()
            .unwrap_or(0)
    }

    pub(super) fn contains(&self, module: &Module) -> bool {
        self.all.iter().any(|other| other.is(module))
    }
}

/// Called for each module, with the lock that keeps their list as it is.
unsafe extern "C" fn on_module(
    info: *mut libc::dl_phdr_info,
    size: usize,
    walk: *mut c_void,
) -> c_int {
    // SAFETY: `scan` passes it.
    let walk = unsafe { &mut *walk.cast::<Walk<'_>>() };
    if size < mem::size_of::<libc::dl_phdr_info>() {
        return 0;
    }
    // SAFETY: complete, as its size says.
    let info = unsafe { &*info };
    if info.dlpi_phdr.is_null() {
        return 0;
    }
    // SAFETY: the module's headers stay while the lock is held.
    let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum as usize) };
    let find = |kind| headers.iter().find(|header| header.p_type == kind);
    let (Some(tls), Some(dynamic)) = (find(libc::PT_TLS), find(libc::PT_DYNAMIC)) else {
        return 0;
    };
    let base = info.dlpi_addr as usize;
    let dynamic = base.wrapping_add(dynamic.p_vaddr as usize);
    let Some(offset) = static_offset(walk.symbols, base, dynamic, info.dlpi_tls_modid) else {
        return 0;
    };
    let image_at = base.wrapping_add(tls.p_vaddr as usize);
    let image = ptr::with_exposed_provenance::<u8>(image_at);
    // SAFETY: the image is part of the module, which stays while the lock is held.
    let image = unsafe { slice::from_raw_parts(image, tls.p_filesz as usize) };
    walk.modules.all.push(Module {
        offset,
        bytes: tls.p_memsz as usize,
        image: image.to_vec(),
        id: info.dlpi_tls_modid,
        image_at,
    });
    0
}

/// How far below the thread pointer the module's thread-locals begin, if they are static.
fn static_offset(symbols: &Symbols, base: usize, dynamic: usize, modid: usize) -> Option<usize> {
    /// Where `r_map` is in `struct r_debug`.
    const R_MAP: usize = 8;
    let first = ptr::with_exposed_provenance::<*const LinkMap>(symbols.r_debug + R_MAP);
    // SAFETY: the symbol is such a record.
    let mut at = unsafe { first.read() };
    // SAFETY: the lock that is held keeps the list as it is.
    while let Some(map) = unsafe { at.as_ref() } {
        if map.addr == base && map.dynamic == dynamic {
            let field = |offset: usize| {
                let field = at.cast::<u8>().wrapping_add(offset).cast::<usize>();
                // SAFETY: the field is described to be there.
                unsafe { field.read() }
            };
            let offset = field(symbols.map_tls_offset);
            let is_static = field(symbols.map_tls_modid) == modid && offset as isize > 0;
            return is_static.then_some(offset);
        }
        at = map.next;
    }
    None
}
