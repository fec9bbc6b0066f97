//! [`ReplicaList`], which replicas there are, as whoever runs the application says.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use homing_rpc::Region;
use tokio::sync::watch;

use crate::connection::address::Address;
use crate::error::{Error, Result};

/// One entry of a [`ReplicaList`]: a connection string and a name for what it leads to.
///
/// A host name in it may stand for several servers; each of them is a replica of its own then.
#[derive(Clone, PartialEq, Eq)]
pub struct Replica {
    name: Arc<str>,
    url: String,
    region: Option<Region>,
}

impl Replica {
    /// The replica of a connection string. Its name is `host:port` unless [`with_name`](Self::with_name) gives another.
    ///
    /// # Errors
    ///
    /// Configuration, where the string is none. The message does not show it, since it may hold a password.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        let url = url.into();
        let config = Address::parse(&url, "the connection string of a replica")?;
        Ok(Self { name: Address::name_of(&config).into(), url, region: None })
    }

    /// The name by which [`Repo::replica`](crate::Repo::replica) finds it.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Arc::from(name.into());
        self
    }

    /// Where it is. One of another region is read from as any other, but writes are never sent straight to it, should
    /// it be promoted: they go to the nodes next to it.
    #[must_use]
    pub fn with_region(mut self, region: Region) -> Self {
        self.region = Some(region);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, if that was said.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for Replica {
    /// Without the connection string, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("name", &self.name).field("region", &self.region).finish_non_exhaustive()
    }
}

/// The replicas to read from, which may be changed while they are in use.
///
/// A handle, cheap to clone; all clones are the same list. Names are unique in it, and so are connection strings.
///
/// ```
/// # use homing_postgres::{Replica, ReplicaList};
/// # fn main() -> homing_postgres::Result<()> {
/// let list: ReplicaList = "syd=postgres://app@10.1.0.1/app,ams=postgres://app@10.2.0.1/app".parse()?;
/// list.replace([Replica::new("postgres://app@10.1.0.9/app")?.with_name("syd")])?; // takes effect at once
/// assert_eq!(list.names(), ["syd"]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReplicaList(Arc<watch::Sender<Vec<Replica>>>);

impl ReplicaList {
    /// A list of these replicas.
    ///
    /// # Errors
    ///
    /// Configuration: a name is there twice or is none, or there are more than [`MOST`](Self::MOST). A connection
    /// string that is there twice is used once, with a warning.
    pub fn new(replicas: impl IntoIterator<Item = Replica>) -> Result<Self> {
        Ok(Self(Arc::new(watch::Sender::new(checked(replicas)?))))
    }

    /// More than this would not be replicas of one database any more, but a mistake in whatever made the list.
    pub const MOST: usize = 64;

    /// A list without replicas.
    pub fn none() -> Self {
        Self(Arc::new(watch::Sender::new(Vec::new())))
    }

    /// Connection strings, separated by commas, each with or without a name: `syd=postgres://…,postgres://…`.
    ///
    /// One connection string with several hosts, `postgres://one,two/app`, is one entry. A comma elsewhere in a
    /// connection string has to be written as `%2C`.
    ///
    /// # Errors
    ///
    /// Configuration, which names `variable`, the setting that the text comes from, and which entry is wrong; never what
    /// it says, since that may hold a password.
    pub fn parse(text: &str, variable: &str) -> Result<Self> {
        let entries = entries(text);
        let single = entries.len() == 1;
        let replicas = entries.into_iter().enumerate().map(|(index, (name, url))| {
            let place = if single { variable.to_owned() } else { format!("{variable}, entry {},", index + 1) };
            if url.trim().is_empty() {
                return Err(Error::configuration(format!("{place} is empty: there is a comma too many")));
            }
            let config = Address::parse(url.trim(), &place)?;
            let name = name.map_or_else(|| Address::name_of(&config), str::to_owned);
            Ok(Replica { name: name.into(), url: url.trim().to_owned(), region: None })
        });
        let replicas: Vec<_> = replicas.collect::<Result<_>>()?;
        Self::new(replicas).map_err(|error| Error::configuration(format!("{variable}: {error}")))
    }

    /// One replica for each region, named after it; its connection string is `template` with the region in place of
    /// `{region}`.
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse); also where the template has no `{region}` and there are several regions.
    pub fn for_regions(template: &str, regions: impl IntoIterator<Item = Region>, variable: &str) -> Result<Self> {
        let regions: Vec<_> = regions.into_iter().collect();
        if regions.len() > 1 && !template.contains(REGION) {
            return Err(Error::configuration(format!(
                "{variable} has no {REGION}, so all regions would have the same replica: put it where the region's name \
                 belongs, as in postgres://app@{REGION}.db.internal/app"
            )));
        }
        let replicas = regions.into_iter().map(|region| {
            let url = template.replace(REGION, region.as_str());
            Address::parse(&url, variable)?;
            Ok(Replica { name: region.as_str().into(), url, region: Some(region) })
        });
        let replicas: Vec<_> = replicas.collect::<Result<_>>()?;
        Self::new(replicas).map_err(|error| Error::configuration(format!("{variable}: {error}")))
    }

    /// Puts these in place of what the list holds. What stays in it keeps its connections; what leaves it finishes the
    /// reads that are under way.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); the list stays as it is.
    pub fn replace(&self, replicas: impl IntoIterator<Item = Replica>) -> Result<()> {
        self.0.send_replace(checked(replicas)?);
        Ok(())
    }

    /// Adds one, or puts it in place of the one of its name.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new); the list stays as it is.
    pub fn add(&self, replica: Replica) -> Result<()> {
        let mut outcome = Ok(());
        self.0.send_if_modified(|replicas| {
            let mut changed = replicas.clone();
            changed.retain(|known| known.name != replica.name);
            changed.push(replica.clone());
            match checked(changed) {
                Ok(changed) => *replicas = changed,
                Err(error) => outcome = Err(error),
            }
            outcome.is_ok()
        });
        outcome
    }

    /// Takes one out. False if there is none of that name.
    pub fn remove(&self, name: &str) -> bool {
        self.0.send_if_modified(|replicas| {
            let before = replicas.len();
            replicas.retain(|replica| *replica.name != *name);
            replicas.len() != before
        })
    }

    /// The names, in the order of the list.
    pub fn names(&self) -> Vec<String> {
        self.0.borrow().iter().map(|replica| replica.name.to_string()).collect()
    }

    /// Says where the replicas are that are named after one of these regions. An only one without a name of its own is
    /// that of `own`.
    #[must_use]
    pub fn in_regions(self, own: &Region, others: &[Region]) -> Self {
        self.0.send_modify(|replicas| {
            if let [only] = &mut replicas[..]
                && only.region.is_none()
                && only.name.contains(':')
            {
                only.name = own.as_str().into();
            }
            for replica in replicas.iter_mut().filter(|replica| replica.region.is_none()) {
                let known = std::iter::once(own).chain(others).find(|region| region.as_str() == &*replica.name);
                replica.region = known.cloned();
            }
        });
        self
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<Replica>> {
        self.0.subscribe()
    }
}

impl std::str::FromStr for ReplicaList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, "the list of replicas")
    }
}

fn checked(replicas: impl IntoIterator<Item = Replica>) -> Result<Vec<Replica>> {
    let mut names = BTreeSet::new();
    let mut kept: Vec<Replica> = Vec::new();
    for replica in replicas {
        let name = replica.shared_name();
        if name.trim().is_empty() {
            return Err(Error::configuration("a replica has an empty name: give it one, as in syd=postgres://…"));
        }
        if let Some(same) = kept.iter().find(|known| known.url == replica.url) {
            tracing::warn!(replica = %name, same = %same.name, "the same replica is listed twice: it is used once");
            continue;
        }
        if !names.insert(Arc::clone(&name)) {
            return Err(Error::configuration(format!(
                "two replicas are named {name}: give each a name of its own, as in {name}-1=postgres://…"
            )));
        }
        kept.push(replica);
    }
    if kept.len() > ReplicaList::MOST {
        let most = ReplicaList::MOST;
        return Err(Error::configuration(format!("there are {} replicas, and {most} are possible", kept.len())));
    }
    Ok(kept)
}

/// The entries of a list: their names and connection strings.
///
/// A list begins with a connection string in the form of a URL; anything else, such as `host=… dbname=…`, is one
/// connection string, commas and all.
fn entries(text: &str) -> Vec<(Option<&str>, &str)> {
    let text = text.trim();
    if begins_entry(text).is_none() {
        return vec![(None, text)];
    }
    let mut entries = Vec::new();
    let mut rest = text;
    loop {
        let (entry, more) = first_entry(rest);
        entries.push(begins_entry(entry).unwrap_or((None, entry)));
        match more {
            Some(more) => rest = more,
            None => return entries,
        }
    }
}

/// Up to the first comma that ends an entry. Within the part that names the hosts a comma only does before another URL.
fn first_entry(text: &str) -> (&str, Option<&str>) {
    let authority = text.find(SCHEME_END).map_or(0, |at| at + SCHEME_END.len());
    let authority_end = text[authority..].find(['/', '?']).map_or(text.len(), |length| authority + length);
    for (at, _) in text.match_indices(',') {
        let after = &text[at + 1..];
        if at >= authority_end || begins_entry(after).is_some() {
            return (&text[..at], Some(after));
        }
    }
    (text, None)
}

/// The name and the URL, if the text begins with one.
fn begins_entry(text: &str) -> Option<(Option<&str>, &str)> {
    let text = text.trim_start();
    let is_url = |text: &str| SCHEMES.iter().any(|scheme| text.starts_with(scheme));
    if is_url(text) {
        return Some((None, text));
    }
    let (name, url) = text.split_once('=')?;
    let is_name = !name.contains([',', '/', ' ', '@']);
    (is_name && is_url(url.trim_start())).then(|| (Some(name.trim()), url.trim_start()))
}

const REGION: &str = "{region}";
const SCHEME_END: &str = "://";
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

#[cfg(test)]
mod tests {
    use super::*;

    fn region(name: &str) -> Region {
        Region::new(name).unwrap()
    }

    fn parsed(text: &str) -> Vec<(String, String)> {
        let list = ReplicaList::parse(text, "HOMING_REPLICA_URL").unwrap();
        let replicas = list.subscribe().borrow().clone();
        replicas.into_iter().map(|replica| (replica.name.to_string(), replica.url)).collect()
    }

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, url)| ((*name).to_owned(), (*url).to_owned())).collect();
        assert_eq!(parsed(text), expected, "{text}");
    }

    #[test]
    fn a_list_is_connection_strings_with_or_without_names() {
        check("postgres://app@one/db", &[("one:5432", "postgres://app@one/db")]);
        check("syd=postgres://one/db", &[("syd", "postgres://one/db")]);
        check(
            " syd=postgres://one/db, postgresql://two:5433/db\n",
            &[("syd", "postgres://one/db"), ("two:5433", "postgresql://two:5433/db")],
        );
        check("postgres://one,postgres://two", &[("one:5432", "postgres://one"), ("two:5432", "postgres://two")]);
    }

    #[test]
    fn one_connection_string_with_several_hosts_is_one_entry() {
        check("postgres://one,two:5433/db", &[("one:5432,two:5433", "postgres://one,two:5433/db")]);
        check(
            "a=postgres://one,two/db,b=postgres://three/db",
            &[("a", "postgres://one,two/db"), ("b", "postgres://three/db")],
        );
        check("host=one,two dbname=db", &[("one:5432,two:5432", "host=one,two dbname=db")]);
    }

    #[test]
    fn a_connection_string_that_is_there_twice_is_used_once() {
        check("postgres://one/db,postgres://one/db", &[("one:5432", "postgres://one/db")]);
        check("a=postgres://one/db,b=postgres://one/db", &[("a", "postgres://one/db")]);
    }

    #[test]
    fn garbage_is_told_with_the_number_of_its_entry_and_without_what_it_says() {
        for (text, part) in [
            ("geheim", "HOMING_REPLICA_URL is not a connection string"),
            ("postgres://one/db,geheim", "HOMING_REPLICA_URL, entry 2, is not a connection string"),
            ("postgres://one/db,syd=geheim", "entry 2, is not"),
            ("postgres://one/db,,postgres://two/db", "entry 2, is empty"),
            ("postgres://one/db,", "entry 2, is empty"),
            ("postgres://one/db,postgres://app:geheim@two:port/db", "entry 2, is not"),
            ("postgres://one/db,mysql://app:geheim@two/db", "entry 2, is not"),
            ("syd=postgres://one/db,syd=postgres://app:geheim@two/db", "two replicas are named syd"),
            ("=postgres://app:geheim@one/db", "empty name"),
            ("postgres://app:geheim@one/db?sslmode=require", "sslmode=require"),
            ("postgres://one/a,postgres://app:geheim@one/b", "two replicas are named one:5432"),
        ] {
            let error = ReplicaList::parse(text, "HOMING_REPLICA_URL").unwrap_err();
            assert!(error.is_configuration(), "{text}: {error:?}");
            let message = error.to_string();
            assert!(message.contains("HOMING_REPLICA_URL") && message.contains(part), "{text}: {message}");
            assert!(!format!("{error:?}").contains("geheim"), "{error:?}");
        }
    }

    #[test]
    fn a_template_gives_one_replica_for_each_region() {
        let template = "postgres://app@{region}.db.internal/app";
        let list = ReplicaList::for_regions(template, ["syd", "ams"].map(region), "V").unwrap();
        assert_eq!(list.names(), ["syd", "ams"]);
        assert_eq!(list.subscribe().borrow()[1].url, "postgres://app@ams.db.internal/app");
        let error = ReplicaList::for_regions("postgres://one/db", ["syd", "ams"].map(region), "V").unwrap_err();
        assert!(error.is_configuration() && error.to_string().contains("{region}"), "{error}");
    }

    #[test]
    fn a_change_that_is_wrong_changes_nothing() {
        let list = ReplicaList::parse("a=postgres://one/db,b=postgres://two/db", "V").unwrap();
        let twice = ["postgres://three/db", "postgres://four/db"].map(|url| Replica::new(url).unwrap().with_name("c"));
        assert!(list.replace(twice).unwrap_err().is_configuration());
        assert!(list.add(Replica::new("postgres://five/db").unwrap().with_name(" ")).is_err());
        assert_eq!(list.names(), ["a", "b"]);
        list.add(Replica::new("postgres://nine/db").unwrap().with_name("a")).unwrap();
        assert_eq!(list.names(), ["b", "a"]);
        assert!(list.remove("b") && !list.remove("b"));
        let many = (0..=ReplicaList::MOST).map(|number| Replica::new(format!("postgres://h{number}/db")).unwrap());
        assert!(list.replace(many).unwrap_err().to_string().contains("64"));
        assert_eq!(list.names(), ["a"]);
    }

    #[test]
    fn names_say_where_replicas_are_if_they_are_names_of_regions() {
        let regions = |text: &str| {
            let list = ReplicaList::parse(text, "V").unwrap().in_regions(&region("syd"), &[region("iad")]);
            let known = list.subscribe().borrow().clone();
            known.into_iter().map(|replica| replica.region.map(|region| region.to_string())).collect::<Vec<_>>()
        };
        let (syd, iad) = (Some("syd".to_owned()), Some("iad".to_owned()));
        assert_eq!(regions("syd=postgres://1/d,iad=postgres://2/d,x=postgres://3/d"), [syd.clone(), iad, None]);
        assert_eq!(regions("postgres://one/db"), [syd]);
        assert_eq!(regions("x=postgres://one/db"), [None]);
    }

    #[test]
    fn debug_hides_connection_strings() {
        let list = ReplicaList::parse("postgres://app:geheim@one/db", "V").unwrap();
        assert!(!format!("{list:?}").contains("geheim"));
    }
}
