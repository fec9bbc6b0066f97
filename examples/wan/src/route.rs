//! One relay, as given on the command line.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail};

/// A relay from a local address to a distant server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// `host:port`; the host is one of this machine's names or addresses.
    pub(crate) listen: String,

    /// `host:port` of the server, and of others to try if it is down.
    pub(crate) targets: Vec<String>,

    pub(crate) round_trip: Duration,

    /// The link that the relay belongs to, named after the region at its other end.
    pub(crate) link: Option<String>,
}

impl Route {
    /// Returns whether the relay leads to this host.
    pub(crate) fn leads_to(&self, host: &str) -> bool {
        self.targets.iter().any(|target| target.rsplit_once(':').is_some_and(|(name, _)| name == host))
    }
}

impl FromStr for Route {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let (Some(listen), Some(targets)) = (words.next(), words.next()) else {
            bail!("a route needs an address to listen on and a target");
        };
        let route = Self {
            listen: listen.to_owned(),
            targets: targets.split(',').map(str::to_owned).collect(),
            round_trip: words.next().map_or(Ok(Duration::ZERO), milliseconds)?,
            link: words.next().map(str::to_owned),
        };
        if let Some(word) = words.next() {
            bail!("unexpected word {word:?} after the link");
        }
        Ok(route)
    }
}

fn milliseconds(text: &str) -> Result<Duration> {
    let number =
        text.strip_suffix("ms").with_context(|| format!("invalid round trip {text:?}: write it like 200ms"))?;
    Ok(Duration::from_millis(
        number.parse().with_context(|| format!("invalid round trip {text:?}: write it like 200ms"))?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_link_are_optional() {
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
    fn errors_quote_the_mistake() {
        for (text, part) in [
            ("", "an address to listen on"),
            ("a:1", "and a target"),
            ("a:1 b:2 200", "invalid round trip \"200\""),
            ("a:1 b:2 -5ms", "invalid round trip \"-5ms\""),
            ("a:1 b:2 5ms syd ams", "unexpected word \"ams\""),
        ] {
            let error = text.parse::<Route>().unwrap_err();
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
