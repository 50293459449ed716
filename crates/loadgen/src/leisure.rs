//! Work that gives way to the threads that send.

use std::io;

use tokio::sync::oneshot;

/// How modest it is.
const NICENESS: i32 = 10;

/// Has the calling thread, and those that it starts from now on, give way to the others.
pub(crate) fn give_way() {
    // If it is not allowed, the thread is only less modest.
    let _ = rustix::process::nice(NICENESS);
}

/// Carries out `work` in a thread of its own that gives way; what it starts, such as the thread of a database, does too.
pub(crate) async fn at_leisure<T, F>(work: impl FnOnce() -> F + Send + 'static) -> io::Result<T>
where
    T: Send + 'static,
    F: Future<Output = T>,
{
    let (done, result) = oneshot::channel();
    std::thread::Builder::new()
        .name("leisure".to_owned())
        .spawn(move || {
            give_way();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            // Whoever asked may have left.
            let _ = done.send(runtime.map(|runtime| runtime.block_on(work())));
        })?;
    result
        .await
        .map_err(|_| io::Error::other("a thread of the load generator panicked"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_work_is_done_elsewhere() {
        let here = std::thread::current().id();
        let there = at_leisure(async || std::thread::current().id())
            .await
            .expect("a thread");
        assert_ne!(here, there);
    }
}
