//! When in its interval a source is due: a moment that depends on its name alone, so that it is the same after a
//! restart, and that is as good as random, so that sources are spread evenly.

use crate::time::Millis;

/// A number that stands for a source; the same in every process.
pub(super) fn of(host: &str, repository: &str, tag: Option<&str>) -> u64 {
    // FNV-1a, whose last bits are good enough after a mix.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |byte: u8| {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    };
    for part in [host, repository, tag.unwrap_or_default()] {
        part.bytes().for_each(&mut add);
        add(0);
    }
    mixed(hash)
}

/// The next moment after `now` at which a source with this number is due, if it is due once in an interval.
pub(super) fn next(phase: u64, interval: u64, now: Millis) -> Millis {
    let interval = interval.max(1);
    let phase = phase % interval;
    let begun = now.0 / interval * interval;
    let due = begun.saturating_add(phase);
    Millis(if due > now.0 {
        due
    } else {
        due.saturating_add(interval)
    })
}

/// A number from 0 to 1 for an attempt.
pub(super) fn share(phase: u64, attempt: u8) -> f64 {
    let mixed = mixed(phase ^ u64::from(attempt));
    // The upper 32 bits fit.
    f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
}

/// The finalizer of SplitMix64.
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_due_once_in_each_interval_at_the_same_moment_of_it() {
        let phase = of("docker.io", "library/nginx", Some("1"));
        let first = next(phase, 900_000, Millis(1_000_000_000_000));
        assert!(first > Millis(1_000_000_000_000) && first.0 <= 1_000_000_900_000);
        assert_eq!(next(phase, 900_000, first), Millis(first.0 + 900_000));
        assert_eq!(next(phase, 900_000, Millis(first.0 - 1)), first);
    }

    #[test]
    fn phases_do_not_depend_on_the_process() {
        assert_eq!(of("docker.io", "library/nginx", Some("1.27")) % 900_000, FIXED);
    }

    /// What it was when this was written: restarts of other versions must find the same.
    const FIXED: u64 = 642_267;

    #[test]
    fn sources_are_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for number in 0..10_000 {
            let phase = of("docker.io", "library/app", Some(&format!("v{number}"))) % 900_000;
            tenths[usize::try_from(phase / 90_000).unwrap_or(0)] += 1;
        }
        assert!(
            tenths.iter().all(|count| (850..1150).contains(count)),
            "{tenths:?}"
        );
    }
}
