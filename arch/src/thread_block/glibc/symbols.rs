//! What glibc exports, for debuggers and for itself, by which its records are found.
//!
//! Everything is looked up at run time: a libc that lacks one of these symbols is no reason not to
//! start. Descriptions for debuggers (`_thread_db_*`) are three words of 32 bits: bits of an
//! element, number of elements, offset.

#![expect(unsafe_code, reason = "looks symbols up")]

use std::arch::asm;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem;
use std::ops::Range;
use std::ptr;

use super::super::Unavailable;

/// Address of `name` for whoever is linked after this program: what it would be without us.
pub(super) fn next(name: &CStr) -> Option<usize> {
    // SAFETY: `name` ends with a zero.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    (!address.is_null()).then(|| address.expose_provenance())
}

/// Address of `name` as all the program's modules see it.
pub(super) fn global(name: &CStr) -> Option<usize> {
    // SAFETY: `name` ends with a zero.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then(|| address.expose_provenance())
}

pub(super) fn required(name: &CStr) -> Result<usize, Unavailable> {
    global(name).ok_or_else(|| {
        let name = name.to_string_lossy();
        Unavailable::new(format!("this libc does not export {name}"))
    })
}

/// A field, by its description for debuggers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) bits: u32,
    pub(super) count: u32,
    pub(super) offset: usize,
}

fn field(name: &CStr) -> Result<Field, Unavailable> {
    let address = required(name)?;
    let description = ptr::with_exposed_provenance::<[u32; 3]>(address);
    // SAFETY: a symbol of this prefix is such a description.
    let [bits, count, offset] = unsafe { description.read() };
    Ok(Field {
        bits,
        count,
        offset: offset as usize,
    })
}

/// A field that must be one element of `bits` bits, within `within` bytes.
pub(super) fn one(name: &CStr, bits: u32, within: usize) -> Result<usize, Unavailable> {
    let field = field(name)?;
    let fits = field.offset + bits as usize / 8 <= within;
    if field.bits != bits || field.count > 1 || !fits {
        let name = name.to_string_lossy();
        return Err(Unavailable::new(format!(
            "this libc describes {name} as {field:?}"
        )));
    }
    Ok(field.offset)
}

pub(super) fn size(name: &CStr, within: Range<usize>) -> Result<usize, Unavailable> {
    let address = required(name)?;
    // SAFETY: a symbol of this prefix is a number.
    let size = unsafe { ptr::with_exposed_provenance::<u32>(address).read() } as usize;
    if !within.contains(&size) {
        let name = name.to_string_lossy();
        return Err(Unavailable::new(format!(
            "this libc says that {name} is {size}"
        )));
    }
    Ok(size)
}

/// Address of a symbol that the program may do without, 0 then. Unlike `dlsym` it finds what the
/// program does not export.
macro_rules! weak {
    ($name:literal) => {{
        let address: usize;
        // SAFETY: reads the linker's table of addresses.
        unsafe {
            asm!(
                concat!(".weak ", $name),
                concat!("mov {}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                out(reg) address,
                options(nostack, preserves_flags, readonly),
            );
        }
        address
    }};
}

/// Which sanitizer this program was built with, if any.
pub(super) fn sanitizer() -> Option<&'static str> {
    let all = [
        (weak!("__asan_init"), "address"),
        (weak!("__hwasan_init"), "hardware address"),
        (weak!("__msan_init"), "memory"),
        (weak!("__tsan_init"), "thread"),
    ];
    let found = all.into_iter().find(|(address, _)| *address != 0);
    found.map(|(_, name)| name)
}

pub(super) type Start = extern "C" fn(*mut c_void) -> *mut c_void;
pub(super) type PthreadCreate = unsafe extern "C" fn(
    *mut libc::pthread_t,
    *const libc::pthread_attr_t,
    Start,
    *mut c_void,
) -> c_int;
pub(super) type PthreadJoin = unsafe extern "C" fn(libc::pthread_t, *mut *mut c_void) -> c_int;
pub(super) type PthreadGetattrNp =
    unsafe extern "C" fn(libc::pthread_t, *mut libc::pthread_attr_t) -> c_int;
pub(super) type Dlopen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

/// The functions and layouts that blocks are made with.
#[derive(Debug)]
pub(super) struct Symbols {
    allocate_tls: usize,
    deallocate_tls: usize,
    init_ctype: usize,
    call_tls_dtors: usize,
    malloc: usize,
    free: usize,
    res_state: usize,
    res_nclose: usize,
    pthread_create: usize,
    pthread_join: usize,
    pthread_getattr_np: usize,

    /// From the lowest static thread-local to the end of `struct pthread`, and its alignment.
    pub(super) static_bytes: usize,
    pub(super) align: usize,
    /// Bytes of `struct pthread`, which begins at the thread pointer.
    pub(super) pthread_bytes: usize,
    /// Fields of `struct pthread`.
    pub(super) tid: usize,
    pub(super) list: usize,
    pub(super) specific: Range<usize>,
    /// The table of keys of thread-specific data, and a record of it.
    pub(super) keys: usize,
    pub(super) key_bytes: usize,
    pub(super) key_seq: usize,
    pub(super) key_destructor: usize,
    /// Keys per second-level table; a datum there.
    pub(super) level2_keys: usize,
    pub(super) datum_bytes: usize,
    pub(super) datum_seq: usize,
    pub(super) datum_data: usize,
    /// Fields of a `link_map`.
    pub(super) map_tls_modid: usize,
    pub(super) map_tls_offset: usize,
    /// The debuggers' list of modules.
    pub(super) r_debug: usize,
    /// The area that the kernel would keep current, from the thread pointer; none in older libcs.
    pub(super) rseq: Option<Range<isize>>,
}

impl Symbols {
    pub(super) fn find() -> Result<Symbols, Unavailable> {
        let pthread_bytes = size(c"_thread_db_sizeof_pthread", 1024..16 * 1024)?;
        let (static_bytes, align) = static_info(required(c"_dl_get_tls_static_info")?);
        if !align.is_power_of_two() || align > 1 << 16 {
            return Err(Unavailable::new(format!(
                "thread-locals want an alignment of {align}"
            )));
        }
        if static_bytes < pthread_bytes || static_bytes > 1 << 30 {
            return Err(Unavailable::new(format!(
                "static thread-locals of {static_bytes} bytes, {pthread_bytes} of them libc's own"
            )));
        }
        let specific = field(c"_thread_db_pthread_specific")?;
        let specific_bytes = specific.bits as usize / 8 * specific.count as usize;
        let specific_end = specific.offset + specific_bytes;
        if specific_bytes < 8 || !specific_bytes.is_multiple_of(8) || specific_end > pthread_bytes {
            return Err(Unavailable::new(format!(
                "thread-specific data is described as {specific:?}"
            )));
        }
        let key_bytes = size(c"_thread_db_sizeof_pthread_key_struct", 8..65)?;
        let datum_bytes = size(c"_thread_db_sizeof_pthread_key_data", 8..65)?;
        let level2_bytes = size(c"_thread_db_sizeof_pthread_key_data_level2", 8..65536)?;
        Ok(Symbols {
            allocate_tls: required(c"_dl_allocate_tls")?,
            deallocate_tls: required(c"_dl_deallocate_tls")?,
            init_ctype: required(c"__ctype_init")?,
            call_tls_dtors: required(c"__call_tls_dtors")?,
            malloc: required(c"__libc_malloc")?,
            free: required(c"__libc_free")?,
            res_state: required(c"__res_state")?,
            res_nclose: required(c"__res_nclose")?,
            pthread_create: next(c"pthread_create")
                .map_or_else(|| required(c"pthread_create"), Ok)?,
            pthread_join: next(c"pthread_join").map_or_else(|| required(c"pthread_join"), Ok)?,
            pthread_getattr_np: next(c"pthread_getattr_np")
                .map_or_else(|| required(c"pthread_getattr_np"), Ok)?,
            static_bytes,
            align,
            pthread_bytes,
            tid: one(c"_thread_db_pthread_tid", 32, pthread_bytes)?,
            list: field(c"_thread_db_pthread_list")?.offset,
            specific: specific.offset..specific_end,
            keys: required(c"__pthread_keys")?,
            key_bytes,
            key_seq: one(c"_thread_db_pthread_key_struct_seq", 64, key_bytes)?,
            key_destructor: one(c"_thread_db_pthread_key_struct_destr", 64, key_bytes)?,
            level2_keys: level2_bytes / datum_bytes,
            datum_bytes,
            datum_seq: one(c"_thread_db_pthread_key_data_seq", 64, datum_bytes)?,
            datum_data: one(c"_thread_db_pthread_key_data_data", 64, datum_bytes)?,
            map_tls_modid: one(c"_thread_db_link_map_l_tls_modid", 64, 1 << 14)?,
            map_tls_offset: one(c"_thread_db_link_map_l_tls_offset", 64, 1 << 14)?,
            r_debug: required(c"_r_debug")?,
            rseq: rseq(),
        })
    }

    /// Bytes of static thread-locals below the thread pointer, a multiple of the alignment.
    pub(super) fn below(&self) -> usize {
        (self.static_bytes - self.pthread_bytes).next_multiple_of(self.align)
    }

    /// Makes what the dynamic linker needs of a thread at `tp`: the vector of dynamic thread-locals,
    /// and the static ones of every module as they begin. False if there is no memory.
    ///
    /// # Safety
    ///
    /// The area around `tp` is a block's, and not in use.
    pub(super) unsafe fn allocate_tls(&self, tp: usize) -> bool {
        // SAFETY: the symbol has this type.
        let function: unsafe extern "C" fn(*mut c_void) -> *mut c_void =
            unsafe { mem::transmute(self.allocate_tls) };
        // SAFETY: the caller promises an area.
        let result = unsafe { function(ptr::with_exposed_provenance_mut(tp)) };
        !result.is_null()
    }

    /// Frees what [`allocate_tls`](Symbols::allocate_tls) allocated, and dynamic thread-locals.
    ///
    /// # Safety
    ///
    /// `allocate_tls` was called for `tp`, and this was not since.
    pub(super) unsafe fn deallocate_tls(&self, tp: usize) {
        // SAFETY: the symbol has this type.
        let function: unsafe extern "C" fn(*mut c_void, bool) =
            unsafe { mem::transmute(self.deallocate_tls) };
        // SAFETY: the caller promises a vector; the area itself is not freed.
        unsafe { function(ptr::with_exposed_provenance_mut(tp), false) };
    }

    /// Makes the calling thread's tables of letters, digits and so on those of the locale.
    #[inline]
    pub(super) fn init_ctype(&self) {
        // SAFETY: the symbol has this type.
        let function: unsafe extern "C" fn() = unsafe { mem::transmute(self.init_ctype) };
        // SAFETY: what every thread does first.
        unsafe { function() };
    }

    /// Runs the destructors of the calling thread's thread-locals.
    ///
    /// # Safety
    ///
    /// The thread is ending.
    pub(super) unsafe fn call_tls_dtors(&self) {
        // SAFETY: the symbol has this type.
        let function: unsafe extern "C" fn() = unsafe { mem::transmute(self.call_tls_dtors) };
        // SAFETY: the caller promises that the thread is ending.
        unsafe { function() };
    }

    /// libc's own malloc and free, whatever the program has in their place.
    pub(super) fn malloc_and_free(&self) {
        // SAFETY: the symbol has this type.
        let malloc: unsafe extern "C" fn(usize) -> *mut c_void =
            unsafe { mem::transmute(self.malloc) };
        // SAFETY: the symbol has this type.
        let free: unsafe extern "C" fn(*mut c_void) = unsafe { mem::transmute(self.free) };
        // SAFETY: malloc asks for nothing.
        let memory = unsafe { malloc(64) };
        // SAFETY: from malloc, just now.
        unsafe { free(memory) };
    }

    /// Closes the calling thread's resolver, if it has opened it.
    pub(super) fn close_resolver(&self) {
        /// Where `nscount` is in `struct __res_state`, which is public: not 0 once it is open.
        const NSCOUNT: usize = 16;
        // SAFETY: the symbol has this type.
        let state: unsafe extern "C" fn() -> *mut c_void =
            unsafe { mem::transmute(self.res_state) };
        // SAFETY: every thread has a state.
        let state = unsafe { state() };
        // SAFETY: a field of it.
        let nscount = unsafe { state.byte_add(NSCOUNT) };
        // SAFETY: as above.
        if unsafe { nscount.cast::<c_int>().read() } != 0 {
            // SAFETY: the symbol has this type.
            let close: unsafe extern "C" fn(*mut c_void) =
                unsafe { mem::transmute(self.res_nclose) };
            // SAFETY: the state is open, and the thread is ending.
            unsafe { close(state) };
        }
    }

    pub(super) fn pthread_create(&self) -> PthreadCreate {
        // SAFETY: the symbol has this type.
        unsafe { mem::transmute::<usize, PthreadCreate>(self.pthread_create) }
    }

    pub(super) fn pthread_join(&self) -> PthreadJoin {
        // SAFETY: the symbol has this type.
        unsafe { mem::transmute::<usize, PthreadJoin>(self.pthread_join) }
    }

    pub(super) fn pthread_getattr_np(&self) -> PthreadGetattrNp {
        // SAFETY: the symbol has this type.
        unsafe { mem::transmute::<usize, PthreadGetattrNp>(self.pthread_getattr_np) }
    }
}

/// Size and alignment of static thread-locals with `struct pthread`.
fn static_info(function: usize) -> (usize, usize) {
    // SAFETY: the symbol has this type.
    let function: unsafe extern "C" fn(*mut usize, *mut usize) =
        unsafe { mem::transmute(function) };
    let (mut size, mut align) = (0, 0);
    // SAFETY: two places for two numbers.
    unsafe { function(&mut size, &mut align) };
    (size, align)
}

fn rseq() -> Option<Range<isize>> {
    let offset = global(c"__rseq_offset")?;
    // SAFETY: the symbol is such a number.
    let offset = unsafe { ptr::with_exposed_provenance::<isize>(offset).read() };
    // The size that libc announces may leave out what the kernel does not know; the area is 32 at
    // least.
    Some(offset..offset + 32)
}
