//! Measured times.

use serde::{Deserialize, Serialize};

/// Milliseconds, in the order they were measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, milliseconds: f64) {
        self.0.push(milliseconds);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn p50(&self) -> f64 {
        self.percentile(50.0)
    }

    pub(crate) fn p99(&self) -> f64 {
        self.percentile(99.0)
    }

    pub(crate) fn max(&self) -> f64 {
        self.percentile(100.0)
    }

    pub(crate) fn above(&self, milliseconds: f64) -> usize {
        self.0.iter().filter(|sample| **sample > milliseconds).count()
    }

    /// Returns the smallest sample that so many percent do not exceed; NaN without samples.
    fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(samples: T) -> Self {
        Self(samples.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_samples() {
        let samples: Samples = [5.0, 1.0, 4.0, 2.0, 3.0].into_iter().collect();
        assert_eq!((samples.p50(), samples.p99(), samples.max()), (3.0, 5.0, 5.0));
        assert_eq!(samples.above(3.0), 2);
        let even: Samples = [2.0, 1.0].into_iter().collect();
        assert_eq!(even.p50(), 1.0);
        assert!(Samples::default().p50().is_nan());
    }
}
