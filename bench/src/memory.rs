//! Live heap: an allocator that counts requested bytes, and what the kernel says is resident.
//!
//! The count is per thread, without atomics, so that it costs the measured code next to nothing:
//! the federation runs on the thread that reads the count.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;

use mimalloc::MiMalloc;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

/// Bytes requested and not yet given back by this thread.
pub(crate) fn live_bytes() -> i64 {
    LIVE.get()
}

/// Resident memory of this process.
pub(crate) fn resident_bytes() -> i64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split(' ').nth(1)?.parse::<i64>().ok());
    pages.unwrap_or_default() * i64::try_from(rustix::param::page_size()).unwrap_or(4096)
}

fn count(bytes: usize, sign: i64) {
    // A thread that ends frees what it held after its counter is gone.
    let _ = LIVE.try_with(|live| live.set(live.get() + sign * bytes as i64));
}

#[allow(unsafe_code, reason = "an allocator cannot be had otherwise")]
// SAFETY: every call is passed on as it is to the allocator that `diolkos` has; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(bytes, 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { MiMalloc.realloc(pointer, layout, bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_what_is_freed_is_not() {
        let before = live_bytes();
        let mut held = Vec::<u8>::with_capacity(1_000);
        assert_eq!(live_bytes() - before, 1_000);
        held.reserve_exact(3_000);
        assert_eq!(live_bytes() - before, 3_000);
        drop(held);
        assert_eq!(live_bytes(), before);
    }
}
