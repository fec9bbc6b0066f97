//! The longest time without an acknowledged write.

use crate::faults::clock::Micros;

/// A time in which a region cannot write, because a fault keeps it from the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    /// The region, or `None` for all of them.
    pub(crate) region: Option<String>,
    pub(crate) from: Micros,
    pub(crate) to: Micros,
}

impl Outage {
    fn is_of(&self, region: &str) -> bool {
        self.region.as_deref().is_none_or(|own| own == region)
    }

    /// Returns whether it keeps a call of the region from the primary for a part of the call's time.
    pub(super) fn meets(&self, region: &str, began: Micros, ended: Micros) -> bool {
        self.is_of(region) && self.from <= ended && began <= self.to
    }
}

/// Returns the longest time between `from` and `to` in which a region was told of no write, although it could reach the
/// primary. `acknowledged` are the times at which it was told of one.
pub(crate) fn longest(
    region: &str,
    (from, to): (Micros, Micros),
    acknowledged: &[Micros],
    outages: &[Outage],
) -> Micros {
    let outages = || outages.iter().filter(|outage| outage.is_of(region));
    let is_out = |time: Micros| outages().any(|outage| outage.from < time && time < outage.to);
    let ends = outages().flat_map(|outage| [outage.from, outage.to]);
    let mut times: Vec<_> = acknowledged.iter().copied().chain(ends).chain([from, to]).collect();
    times.retain(|time| (from..=to).contains(time));
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0], pair[0] + (pair[1] - pair[0]) / 2));
    gaps.filter(|(_, middle)| !is_out(*middle)).map(|(gap, _)| gap).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage(region: Option<&str>, from: Micros, to: Micros) -> Outage {
        Outage { region: region.map(ToOwned::to_owned), from, to }
    }

    #[test]
    fn stall_is_longest_gap() {
        assert_eq!(longest("syd", (0, 100), &[10, 20, 70, 95], &[]), 50);
        assert_eq!(longest("syd", (0, 100), &[], &[]), 100);
        assert_eq!(longest("syd", (0, 100), &[90, 200], &[]), 90);
    }

    #[test]
    fn outage_counts_from_its_end() {
        let acknowledged = [10, 80, 100];
        assert_eq!(longest("syd", (0, 100), &acknowledged, &[outage(Some("syd"), 15, 60)]), 20);
        assert_eq!(longest("syd", (0, 100), &acknowledged, &[outage(None, 15, 60)]), 20);
        assert_eq!(longest("syd", (0, 100), &acknowledged, &[outage(Some("ams"), 15, 60)]), 70);
    }
}
