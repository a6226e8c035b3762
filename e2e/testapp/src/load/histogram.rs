//! Latencies in bounded memory: 64 buckets to each power of two, so a quantile is at most 1/64 too high.

use std::time::Duration;

const SUB_BITS: u32 = 6;
const SUBS: usize = 1 << SUB_BITS;

/// Counts of durations, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    /// Counts one.
    pub(super) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket(micros);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    /// The smallest bucket's upper end below which at least `per_mille` of 1,000 values lie; 0 when empty.
    pub(super) fn quantile(&self, per_mille: u64) -> u64 {
        let wanted = (self.total * per_mille).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return upper(bucket).min(self.max);
            }
        }
        self.max
    }

    /// The largest value, exact.
    pub(super) fn max(&self) -> u64 {
        self.max
    }
}

fn bucket(value: u64) -> usize {
    let small = SUBS as u64 * 2;
    if value < small {
        return usize::try_from(value).unwrap_or(usize::MAX);
    }
    let shift = value.ilog2() - SUB_BITS;
    let mantissa = usize::try_from(value >> shift).unwrap_or(usize::MAX);
    shift as usize * SUBS + mantissa
}

fn upper(bucket: usize) -> u64 {
    if bucket < SUBS * 2 {
        return bucket as u64;
    }
    let shift = bucket / SUBS - 1;
    let mantissa = (bucket % SUBS + SUBS) as u64;
    ((mantissa + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_ends_at_or_less_than_a_64th_above_its_values(value in 0u64..600_000_000) {
            let end = upper(bucket(value));
            prop_assert!(end >= value);
            prop_assert!(end - value <= value / 64);
        }

        #[test]
        fn quantiles_follow_the_sorted_values(mut values in prop::collection::vec(0u64..10_000_000, 1..300)) {
            let mut histogram = Histogram::default();
            for value in &values {
                histogram.record(Duration::from_micros(*value));
            }
            values.sort_unstable();
            for per_mille in [500u64, 990, 1000] {
                let rank = (values.len() as u64 * per_mille).div_ceil(1000).max(1);
                let exact = values[usize::try_from(rank).unwrap() - 1];
                let estimate = histogram.quantile(per_mille);
                prop_assert!(estimate >= exact && estimate - exact <= exact / 64, "{estimate} for {exact}");
            }
        }
    }

    #[test]
    fn nothing_recorded_gives_zero() {
        assert_eq!(Histogram::default().quantile(990), 0);
    }
}
