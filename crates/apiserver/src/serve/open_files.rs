//! How many files the process may have open: each connection is one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are left for everything but connections of clients: the store, registries, logs.
const RESERVED: u64 = 512;

/// The most connections there can be if `wanted` are wanted, once the process may open as many files as it is allowed
/// to. A server that runs out of files could not even read its store.
pub(super) fn connections(wanted: usize) -> usize {
    let limit = match raised_limit() {
        Ok(limit) => limit,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files can't be told");
            return wanted;
        }
    };
    let possible = usize::try_from(available(limit)).unwrap_or(usize::MAX);
    if possible < wanted {
        tracing::warn!(
            limit,
            wanted,
            possible,
            "fewer connections than wanted, for want of open files"
        );
    }
    wanted.min(possible)
}

/// The limit, which is what an administrator allows; what a process begins with is less on many systems.
fn raised_limit() -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

fn available(limit: u64) -> u64 {
    limit.saturating_sub(RESERVED).max(limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_files_are_left_for_others_however_few_there_are() {
        for (limit, left) in [(100, 50), (1024, 512), (20_000, 19_488)] {
            assert_eq!(available(limit), left);
        }
        assert_eq!(connections(3), 3);
    }
}
