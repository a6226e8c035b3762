//! How many files this process may have open. Each connection that is carried takes two.

use rlimit::{INFINITY, Resource, increase_nofile_limit};

/// Raises the limit of open files to the highest that is allowed, and returns it; `None` without a limit. Container runtimes
/// start processes with room for 1,024, of those that do not use `select`, which this one does not.
#[must_use]
pub fn raise_limit() -> Option<u64> {
    let limit = increase_nofile_limit(u64::MAX).or_else(|_| Resource::NOFILE.get_soft());
    limit.ok().filter(|&limit| limit != INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_files_may_be_open_as_the_system_allows() {
        let limit = raise_limit();
        let now = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!((now.current, now.maximum), (limit, limit));
    }
}
