//! The `learner-sync` program: arguments in, exit code out; everything else is in the library.

use std::process::ExitCode;

// Also serves SQLite. The memory of a large cycle goes back to the system.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // A huge page stays in memory as a whole for a few values in it.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    learner_sync::cli::main()
}
