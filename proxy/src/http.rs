//! Requests, one by one.

pub mod body;
pub mod errors;
pub mod expect;
pub mod headers;
pub mod identity_headers;
pub mod limits;
pub mod local_reply;
pub mod pool;
pub mod raw_target;
pub mod replay;
pub mod request_body;
pub mod server;
pub mod upgrade;
pub mod upstream;
pub mod windows;
pub mod wire;

/// Spawns onto the worker's own thread.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
