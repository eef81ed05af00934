//! What happens when a peer cuts a file that we have mapped.
//!
//! Access beyond the end of a mapped file raises SIGBUS, and whoever may write to a file may also
//! cut it. Each mapping is therefore listed here, and a handler replaces a mapping that faults with
//! zeros, marks it as broken and lets the access go on. The owner looks at the mark after each use
//! and cuts the peer off. A SIGBUS anywhere else goes to whoever had handled it before.
//!
//! Signal handlers belong to the process, and so do the two statics here; they hold no node's state.

use std::{
    ffi::{c_int, c_void},
    io, ptr,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustix::mm::{MapFlags, ProtFlags};

/// A mapping's entry in the list. The mapping is retired before it is unmapped.
#[derive(Debug)]
pub(super) struct Listed(&'static Entry);

impl Listed {
    /// Lists the pages `start..end`, so that faults there break only the mapping.
    ///
    /// # Errors
    /// `ENOMEM` if [`ENTRIES`] mappings are listed already.
    pub(super) fn new(start: usize, end: usize) -> io::Result<Self> {
        install()?;
        let free = |entry: &&Entry| {
            entry.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let entry = LIST.iter().find(free).ok_or(io::ErrorKind::OutOfMemory)?;
        entry.broken.store(false, Ordering::Relaxed);
        entry.end.store(end, Ordering::Relaxed);
        entry.start.store(start, Ordering::Release);
        Ok(Self(entry))
    }

    /// Whether the file was cut: what was read since is worth nothing.
    pub(super) fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Acquire)
    }

    /// From now on a fault at these addresses is none of ours. Nobody uses the mapping any more.
    pub(super) fn retire(&self) {
        self.0.start.store(0, Ordering::Release);
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.retire();
        self.0.taken.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct Entry {
    taken: AtomicBool,
    /// 0 while the entry is not in force.
    start: AtomicUsize,
    end: AtomicUsize,
    broken: AtomicBool,
}

/// Most mappings of one process.
const ENTRIES: usize = 4096;

static LIST: [Entry; ENTRIES] = [const {
    Entry {
        taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        broken: AtomicBool::new(false),
    }
}; ENTRIES];

/// Who handled SIGBUS before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| {
            let failure = || io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
            let before = current_action().ok_or_else(failure)?;
            // Known before the handler can run.
            BEFORE.get_or_init(|| before);
            let mut action = before;
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            set_action(&action).then_some(()).ok_or_else(failure)
        })
        .map_err(io::Error::from_raw_os_error)
}

fn current_action() -> Option<libc::sigaction> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; `action` has room for the answer.
    let asked = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeros are a valid `sigaction`, and the call has filled it in when it succeeded.
    (asked == 0).then(|| unsafe { action.assume_init() })
}

fn set_action(action: &libc::sigaction) -> bool {
    // SAFETY: `action` names either `on_sigbus`, which does only what a handler may do, or what was
    // in force before.
    unsafe { libc::sigaction(libc::SIGBUS, action, ptr::null_mut()) == 0 }
}

/// Runs in the thread that faulted, which may have been doing anything: atomics and system calls
/// that leave `errno` alone, nothing else.
extern "C" fn on_sigbus(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel hands a valid `siginfo_t` to a handler with SA_SIGINFO, and SIGBUS has an
    // address.
    let address = unsafe { (*info).si_addr() } as usize;
    if !LIST.iter().any(|entry| replace(entry, address)) {
        pass_on(signal, info, context);
    }
}

/// Puts zeros in place of the entry's mapping if the address lies in it.
fn replace(entry: &Entry, address: usize) -> bool {
    let start = entry.start.load(Ordering::Acquire);
    let end = entry.end.load(Ordering::Relaxed);
    if start == 0 || !(start..end).contains(&address) {
        return false;
    }
    entry.broken.store(true, Ordering::Release);
    // SAFETY: `start..end` is a mapping of ours: the thread is just using it, so its owner has not
    // unmapped it, and all access to it goes through raw pointers and atomics.
    let replaced = unsafe {
        rustix::mm::mmap_anonymous(
            ptr::with_exposed_provenance_mut(start),
            end - start,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
        )
    };
    replaced.is_ok()
}

fn pass_on(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    let before = BEFORE.get().filter(|action| ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction));
    let Some(before) = before else {
        // SAFETY: zeros are a valid `sigaction` and mean the default action.
        set_action(&unsafe { std::mem::zeroed() });
        // SAFETY: `raise` may be called in a handler. The signal comes once this handler returns,
        // also where no access would raise it again.
        unsafe { libc::raise(signal) };
        return;
    };
    if before.sa_flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
        // SAFETY: a handler registered with SA_SIGINFO has this signature.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(before.sa_sigaction) };
        handler(signal, info, context);
    } else {
        // SAFETY: a handler registered without SA_SIGINFO has this signature.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(c_int)>(before.sa_sigaction) };
        handler(signal);
    }
}
