//! [`ReplicaList`], the replicas that a node was configured to read from.

mod file;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use homing_rpc::Region;
use tokio::sync::watch;

use self::file::ListFile;
use self::text::{Listed, Place};
use crate::connection::string::ConnectionString;
use crate::error::{Error, Result};

/// One entry of a [`ReplicaList`]: a connection string and a name.
///
/// A host name in it may stand for several servers. Each of them is then a replica of its own. `target_session_attrs`
/// says which of them answer reads, see [`Replicas::start`](super::Replicas::start).
#[derive(Clone, PartialEq, Eq)]
pub struct Replica {
    name: Arc<str>,
    url: String,
    string: ConnectionString,
    region: Option<Region>,
    /// Its place in the file of its list.
    place: Option<Place>,
}

impl Replica {
    /// Creates an entry for a connection string. Its name is `host:port` unless [`with_name`](Self::with_name) sets
    /// another.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if the connection string is not valid, or if a file that it names cannot
    /// be used. The message does not contain the string, because it may hold a password.
    pub fn new(url: impl Into<String>) -> Result<Self> {
        let url = url.into();
        let string = ConnectionString::parse(&url, "the connection string of a replica")?;
        Ok(Self { name: string.name().into(), url, string, region: None, place: None })
    }

    /// Sets the name by which [`Repo::replica`](crate::Repo::replica) finds the replica.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Arc::from(name.into());
        self
    }

    /// Sets the region of the replica. Reads treat a replica of another region like any other. If it is promoted, this
    /// node does not send writes straight to it, but to the nodes next to it.
    #[must_use]
    pub fn with_region(mut self, region: Region) -> Self {
        self.region = Some(region);
        self
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the region, if it is set.
    pub fn region(&self) -> Option<&Region> {
        self.region.as_ref()
    }

    fn of(listed: Listed) -> Self {
        Self { name: listed.name(), url: listed.url, string: listed.string, region: None, place: None }
    }

    fn in_file(listed: &Listed, file: &ListFile) -> Self {
        Self { place: Some(listed.place.clone()), string: file.string(listed), ..Self::of(listed.clone()) }
    }

    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn string(&self) -> &ConnectionString {
        &self.string
    }
}

impl fmt::Debug for Replica {
    /// Leaves out the connection string, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").field("name", &self.name).field("region", &self.region).finish_non_exhaustive()
    }
}

/// The replicas to read from. The list may change while it is in use.
///
/// This is a handle, cheap to clone; all clones are the same list. Names and connection strings are unique in it.
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
pub struct ReplicaList {
    replicas: Arc<watch::Sender<Vec<Replica>>>,
    /// The file that the list is in. All clones share it.
    file: Option<Arc<ListFile>>,
}

impl ReplicaList {
    /// Creates a list of these replicas. A connection string that occurs twice is used once, with a warning.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if a name is empty or occurs twice, or if there are more than
    /// [`MAX_REPLICAS`](Self::MAX_REPLICAS).
    pub fn new(replicas: impl IntoIterator<Item = Replica>) -> Result<Self> {
        let replicas = checked(replicas)?;
        Ok(Self { replicas: Arc::new(watch::Sender::new(replicas)), file: None })
    }

    /// The most replicas of a list, and the most servers of a replica set. A longer list is a mistake in its source. If
    /// DNS leads to more servers, the others are not used, and a warning is logged.
    pub const MAX_REPLICAS: usize = 64;

    /// Creates a list without replicas.
    pub fn none() -> Self {
        Self { replicas: Arc::new(watch::Sender::new(Vec::new())), file: None }
    }

    /// Parses connection strings, separated by commas, each with or without a name: `syd=postgres://…,postgres://…`.
    ///
    /// A connection string with several hosts, `postgres://one,two/app`, is one entry. A comma elsewhere in a
    /// connection string has to be written as `%2C`. `variable` is the setting that the text comes from.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if an entry is not a valid connection string, or for the reasons
    /// of [`new`](Self::new). The message names `variable`, and the number of the entry if there are several. It does not
    /// contain the entry, which may hold a password.
    pub fn parse(text: &str, variable: &str) -> Result<Self> {
        let replicas = text::parse(text, variable)?.into_iter().map(Replica::of);
        Self::new(replicas).map_err(|error| at(variable, &error))
    }

    /// Reads a list from a file, in the syntax of [`parse`](Self::parse). The file is read again when a connection is opened,
    /// at most once a second, or if a connection cannot be opened.
    ///
    /// New connections use the user, the password, the encryption and the options that it has then; open ones stay. Other
    /// hosts, another database, and entries that were added or removed are followed within
    /// [`resolve_interval`](field@crate::ReplicaSettings::resolve_interval). An entry is recognized by its name, or without a
    /// name by its number. If the file cannot be used, the last list stays in use, and a warning says so.
    ///
    /// `variable` is the setting with the path.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if the file cannot be read, and for the reasons of
    /// [`parse`](Self::parse).
    pub fn from_file(path: impl AsRef<Path>, variable: &str) -> Result<Self> {
        Self::from_file_with(path, variable, |text| Ok(text.to_owned()))
    }

    /// Reads a list from a file, whose text `prepare` changes first.
    #[doc(hidden)] // For `homing`.
    pub fn from_file_with(
        path: impl AsRef<Path>,
        variable: &str,
        prepare: impl Fn(&str) -> Result<String> + Send + Sync + 'static,
    ) -> Result<Self> {
        let name = variable.to_owned();
        let file = ListFile::read(path.as_ref(), variable, move |text| {
            let mut listed = text::parse(&prepare(text)?, &name)?;
            let kept = checked(listed.iter().cloned().map(Replica::of))?;
            listed.retain(|listed| kept.iter().any(|kept| kept.name == listed.name()));
            Ok(listed)
        })?;
        let replicas: Vec<_> = file.listed().iter().map(|listed| Replica::in_file(listed, &file)).collect();
        let list = Self::new(replicas).map_err(|error| at(variable, &error))?;
        Ok(Self { file: Some(Arc::new(file)), ..list })
    }

    /// Follows the file: adds and removes replicas. Those that stay keep their connections.
    pub(super) fn refresh(&self) {
        let Some(file) = &self.file else { return };
        let listed = file.listed();
        self.replicas.send_if_modified(|replicas| {
            let places = |replicas: &[Replica]| replicas.iter().filter_map(|replica| replica.place.clone()).collect();
            let before: Vec<Place> = places(replicas);
            if before.iter().eq(listed.iter().map(|listed| &listed.place)) {
                return false;
            }
            let (mut known, mut changed): (Vec<_>, Vec<_>) =
                replicas.drain(..).partition(|known| known.place.is_some());
            for listed in &*listed {
                let same = known.iter().position(|known| known.place.as_ref() == Some(&listed.place));
                changed.push(same.map_or_else(|| Replica::in_file(listed, file), |index| known.swap_remove(index)));
            }
            if let Some((own, others)) = file.regions.get() {
                set_regions(&mut changed, own, others);
            }
            *replicas = changed;
            true
        });
    }

    /// Returns whether the list is in a file.
    pub(super) fn may_change_by_itself(&self) -> bool {
        self.file.is_some()
    }

    /// Creates a list with one replica for each region, which has the name of the region. Its connection string is
    /// `template` with the region in place of `{region}`. `variable` is the setting that the template comes from.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) if there are several regions and the template has no `{region}`,
    /// if a result is not a valid connection string, or for the reasons of [`new`](Self::new). The message names
    /// `variable`.
    pub fn for_regions(template: &str, regions: impl IntoIterator<Item = Region>, variable: &str) -> Result<Self> {
        let regions: Vec<_> = regions.into_iter().collect();
        if regions.len() > 1 && !template.contains(REGION) {
            return Err(Error::configuration(format!(
                "{variable} has no {REGION}, so all regions would have the same replica: write {REGION} in place of \
                 the region's name, as in postgres://app@{REGION}.db.internal/app"
            )));
        }
        let replicas = regions.into_iter().map(|region| {
            let url = template.replace(REGION, region.as_str());
            let string = ConnectionString::parse(&url, variable)?;
            Ok(Replica { name: region.as_str().into(), url, string, region: Some(region), place: None })
        });
        let replicas: Vec<_> = replicas.collect::<Result<_>>()?;
        Self::new(replicas).map_err(|error| at(variable, &error))
    }

    /// Replaces the replicas of the list. Replicas that stay in it keep their connections. Replicas that leave it
    /// finish the reads that are under way.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) for the reasons of [`new`](Self::new). The list stays unchanged.
    pub fn replace(&self, replicas: impl IntoIterator<Item = Replica>) -> Result<()> {
        self.replicas.send_replace(checked(replicas)?);
        Ok(())
    }

    /// Adds a replica, or replaces the one with its name.
    ///
    /// # Errors
    ///
    /// [`is_configuration`](Error::is_configuration) for the reasons of [`new`](Self::new). The list stays unchanged.
    pub fn add(&self, replica: Replica) -> Result<()> {
        let mut outcome = Ok(());
        self.replicas.send_if_modified(|replicas| {
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

    /// Removes a replica. Returns false if no replica has this name.
    pub fn remove(&self, name: &str) -> bool {
        self.replicas.send_if_modified(|replicas| {
            let before = replicas.len();
            replicas.retain(|replica| *replica.name != *name);
            replicas.len() != before
        })
    }

    /// Returns the names, in the order of the list.
    pub fn names(&self) -> Vec<String> {
        self.replicas.borrow().iter().map(|replica| replica.name.to_string()).collect()
    }

    /// Sets the region of each replica that has the name of one of these regions. If the list has a single replica
    /// without a name, it becomes the replica of the region `own`.
    #[must_use]
    pub fn in_regions(self, own: &Region, others: &[Region]) -> Self {
        self.replicas.send_modify(|replicas| set_regions(replicas, own, others));
        if let Some(file) = &self.file {
            let _ = file.regions.set((own.clone(), others.to_vec()));
        }
        self
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Vec<Replica>> {
        self.replicas.subscribe()
    }
}

impl std::str::FromStr for ReplicaList {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, "the list of replicas")
    }
}

fn set_regions(replicas: &mut [Replica], own: &Region, others: &[Region]) {
    if let [only] = replicas
        && only.region.is_none()
        && only.name.contains(':')
    {
        only.name = own.as_str().into();
    }
    for replica in replicas.iter_mut().filter(|replica| replica.region.is_none()) {
        let known = std::iter::once(own).chain(others).find(|region| region.as_str() == &*replica.name);
        replica.region = known.cloned();
    }
}

fn at(variable: &str, error: &Error) -> Error {
    Error::configuration(format!("{variable}: {error}"))
}

fn checked(replicas: impl IntoIterator<Item = Replica>) -> Result<Vec<Replica>> {
    let mut names = BTreeSet::new();
    let mut kept: Vec<Replica> = Vec::new();
    for replica in replicas {
        let name = replica.shared_name();
        if name.trim().is_empty() {
            return Err(Error::configuration("a replica has an empty name: give it a name, as in syd=postgres://…"));
        }
        if let Some(same) = kept.iter().find(|known| known.url == replica.url) {
            tracing::warn!(replica = %name, same = %same.name, "a replica is listed twice: using it once");
            continue;
        }
        if !names.insert(Arc::clone(&name)) {
            return Err(Error::configuration(format!(
                "two replicas are named {name}: give each its own name, as in {name}-1=postgres://…"
            )));
        }
        kept.push(replica);
    }
    if kept.len() > ReplicaList::MAX_REPLICAS {
        return Err(Error::configuration(format!(
            "the list has {} replicas, and the limit is {}: list fewer",
            kept.len(),
            ReplicaList::MAX_REPLICAS
        )));
    }
    Ok(kept)
}

const REGION: &str = "{region}";

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
    fn entries_may_have_names() {
        check("postgres://app@one/db", &[("one:5432", "postgres://app@one/db")]);
        check("syd=postgres://one/db", &[("syd", "postgres://one/db")]);
        check(
            " syd=postgres://one/db, postgresql://two:5433/db\n",
            &[("syd", "postgres://one/db"), ("two:5433", "postgresql://two:5433/db")],
        );
        check("postgres://one,postgres://two", &[("one:5432", "postgres://one"), ("two:5432", "postgres://two")]);
    }

    #[test]
    fn several_hosts_are_one_entry() {
        check("postgres://one,two:5433/db", &[("one:5432,two:5433", "postgres://one,two:5433/db")]);
        check(
            "a=postgres://one,two/db,b=postgres://three/db",
            &[("a", "postgres://one,two/db"), ("b", "postgres://three/db")],
        );
        check("host=one,two dbname=db", &[("one:5432,two:5432", "host=one,two dbname=db")]);
    }

    #[test]
    fn repeated_connection_string_is_used_once() {
        check("postgres://one/db,postgres://one/db", &[("one:5432", "postgres://one/db")]);
        check("a=postgres://one/db,b=postgres://one/db", &[("a", "postgres://one/db")]);
    }

    #[test]
    fn errors_name_the_entry_without_its_text() {
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
            ("postgres://app:geheim@one/db?sslmode=always", "sslmode"),
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
    fn invalid_change_changes_nothing() {
        let list = ReplicaList::parse("a=postgres://one/db,b=postgres://two/db", "V").unwrap();
        let twice = ["postgres://three/db", "postgres://four/db"].map(|url| Replica::new(url).unwrap().with_name("c"));
        assert!(list.replace(twice).unwrap_err().is_configuration());
        assert!(list.add(Replica::new("postgres://five/db").unwrap().with_name(" ")).is_err());
        assert_eq!(list.names(), ["a", "b"]);
        list.add(Replica::new("postgres://nine/db").unwrap().with_name("a")).unwrap();
        assert_eq!(list.names(), ["b", "a"]);
        assert!(list.remove("b") && !list.remove("b"));
        let many =
            (0..=ReplicaList::MAX_REPLICAS).map(|number| Replica::new(format!("postgres://h{number}/db")).unwrap());
        assert!(list.replace(many).unwrap_err().to_string().contains("64"));
        assert_eq!(list.names(), ["a"]);
    }

    #[test]
    fn names_of_regions_set_the_region() {
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
