//! Which backend of a split takes the next request.
//!
//! Shares must come out exactly in the long run, and yet not follow a pattern: with a fixed rotation, an application
//! that alternates two kinds of requests would send each kind to one backend only. So each backend earns credit at
//! the rate of its weight, the choice is random among those with credit (the more credit, the likelier), and the
//! chosen one pays for a whole request. No backend is ever more than a few requests away from its exact share.

/// Weights of a split, with their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weights {
    weights: Box<[u32]>,
    total: i64,
}

/// Credit of each backend: what a worker remembers between two choices.
#[derive(Clone, Debug)]
pub struct ChoiceState {
    credit: Box<[i64]>,
}

impl Weights {
    /// Weights in the order of the backends; `None` when they sum to zero, since then there is nothing to choose.
    pub fn new(weights: impl IntoIterator<Item = u32>) -> Option<Self> {
        let weights: Box<[u32]> = weights.into_iter().collect();
        let total = weights.iter().map(|&weight| i64::from(weight)).sum();
        (total > 0).then_some(Self { weights, total })
    }

    /// A state from which the first choice is random by weight.
    pub fn start(&self) -> ChoiceState {
        ChoiceState {
            credit: vec![0; self.weights.len()].into(),
        }
    }

    /// Index of the backend that takes the next request. `random` is any evenly distributed number.
    pub fn choose(&self, state: &mut ChoiceState, random: u64) -> usize {
        let mut positive = 0u64;
        for (credit, &weight) in state.credit.iter_mut().zip(&self.weights) {
            *credit += i64::from(weight);
            positive += u64::try_from(*credit).unwrap_or(0);
        }
        // Before earning, credit sums to zero; after it, to the total. So something is positive.
        let mut point = random % positive.max(1);
        let mut chosen = 0;
        for (index, &credit) in state.credit.iter().enumerate() {
            let share = u64::try_from(credit).unwrap_or(0);
            if point < share {
                chosen = index;
                break;
            }
            point -= share;
        }
        // A backend that is owed two whole requests is served now, whatever the dice say: that bounds the error.
        if let Some((owed, _)) = state
            .credit
            .iter()
            .enumerate()
            .filter(|&(_, &credit)| credit >= 2 * self.total)
            .max_by_key(|x| x.1)
        {
            chosen = owed;
        }
        state.credit[chosen] -= self.total;
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(weights: &[u32], requests: usize, seed: u64) -> Vec<usize> {
        let weights = Weights::new(weights.iter().copied()).unwrap();
        let mut state = weights.start();
        let mut counts = vec![0; weights.weights.len()];
        let mut random = seed;
        for _ in 0..requests {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            counts[weights.choose(&mut state, random >> 11)] += 1;
        }
        counts
    }

    proptest! {
        #[test]
        fn shares_are_exact_in_the_long_run(
            weights in proptest::collection::vec(0u32..1000, 1..8),
            requests in 0usize..3000,
            seed: u64,
        ) {
            prop_assume!(weights.iter().any(|&weight| weight > 0));
            let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
            for (count, weight) in counts(&weights, requests, seed).iter().zip(&weights) {
                #[allow(clippy::cast_precision_loss, reason = "small counts")]
                let error = (*count as f64 - requests as f64 * f64::from(*weight) / total).abs();
                prop_assert!(error <= 4.0, "off by {error} requests");
            }
        }
    }

    #[test]
    fn a_backend_of_weight_zero_receives_nothing() {
        assert_eq!(counts(&[0, 1, 0], 1000, 7), [0, 1000, 0]);
    }

    #[test]
    fn weights_that_sum_to_zero_are_no_weights() {
        assert_eq!(Weights::new([0, 0]), None);
        assert_eq!(Weights::new([]), None);
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        assert_eq!(counts(&[u32::MAX; 16], 1600, 3), [100; 16]);
    }

    #[test]
    fn choices_do_not_follow_the_rhythm_of_the_caller() {
        let weights = Weights::new([1, 1]).unwrap();
        let mut state = weights.start();
        let mut even = 0;
        let mut random = 1u64;
        for request in 0..2000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let chosen = weights.choose(&mut state, random >> 11);
            even += usize::from(request % 2 == 0 && chosen == 0);
        }
        assert!(
            (350..650).contains(&even),
            "{even} of 1000 even requests went to the first backend"
        );
    }
}
