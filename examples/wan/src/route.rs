//! One relay, as the command line asks for it.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};

/// From an address here to a server, some time away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// `host:port`; the host is one of this machine's names or addresses.
    pub(crate) listen: String,

    /// `host:port` of the server, and of those to be taken in its place.
    pub(crate) targets: Vec<String>,

    pub(crate) round_trip: Duration,

    /// The link that it is a part of: the region it leads to or comes from.
    pub(crate) link: Option<String>,
}

impl Route {
    /// Whether it leads to this host.
    pub(crate) fn leads_to(&self, host: &str) -> bool {
        self.targets.iter().any(|target| target.rsplit_once(':').is_some_and(|(name, _)| name == host))
    }
}

impl FromStr for Route {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let (Some(listen), Some(targets)) = (words.next(), words.next()) else {
            bail!("write where to listen, and where to go");
        };
        let route = Self {
            listen: listen.to_owned(),
            targets: targets.split(',').map(str::to_owned).collect(),
            round_trip: words.next().map_or(Ok(Duration::ZERO), milliseconds)?,
            link: words.next().map(str::to_owned),
        };
        if let Some(word) = words.next() {
            bail!("{word:?} is one word too many");
        }
        Ok(route)
    }
}

fn milliseconds(text: &str) -> Result<Duration> {
    let number = text.strip_suffix("ms").with_context(|| format!("{text:?} is no time: write it as 200ms"))?;
    Ok(Duration::from_millis(number.parse().with_context(|| format!("{text:?} is no time: write it as 200ms"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_and_the_link_may_be_left_out() {
        let route: Route = "0.0.0.0:80 a:1,b:2".parse().unwrap();
        let near = Route {
            listen: "0.0.0.0:80".to_owned(),
            targets: vec!["a:1".to_owned(), "b:2".to_owned()],
            round_trip: Duration::ZERO,
            link: None,
        };
        assert_eq!(route, near);
        let far: Route = "0.0.0.0:80 a:1,b:2 200ms syd".parse().unwrap();
        assert_eq!(far, Route { round_trip: Duration::from_millis(200), link: Some("syd".to_owned()), ..near });
        assert!(far.leads_to("a") && far.leads_to("b") && !far.leads_to("0.0.0.0"));
    }

    #[test]
    fn what_cannot_be_understood_is_quoted() {
        for (text, part) in [
            ("", "where to listen"),
            ("a:1", "where to go"),
            ("a:1 b:2 200", "\"200\" is no time"),
            ("a:1 b:2 -5ms", "\"-5ms\" is no time"),
            ("a:1 b:2 5ms syd ams", "\"ams\" is one word too many"),
        ] {
            let error = text.parse::<Route>().unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
