//! [`ListFile`], the file of a list of replicas.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use homing_rpc::{Region, Reloaded};

use super::text::{Listed, Place};
use crate::connection::source::{Look, Source, read, text_of, unusable};
use crate::connection::string::ConnectionString;
use crate::error::Result;

/// The file of a list of replicas, which may change.
#[derive(Debug)]
pub(super) struct ListFile {
    file: Arc<Reloaded<Arc<[Listed]>>>,
    /// The region of this node, and the others that have replicas.
    pub(super) regions: OnceLock<(Region, Vec<Region>)>,
}

impl ListFile {
    /// Reads the file. `parse` returns what its text lists, and `variable` names the setting with the path.
    ///
    /// # Errors
    ///
    /// `is_configuration` if the file cannot be read, and the errors of `parse`.
    pub(super) fn read(
        path: &Path,
        variable: &str,
        parse: impl Fn(&str) -> Result<Vec<Listed>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let parse =
            move |contents: &[Vec<u8>]| parse(text_of(contents[0].trim_ascii(), "a connection string")?).map(Arc::from);
        let file = Reloaded::new("the list of replicas", vec![path.to_owned()], parse);
        let file = file.map_err(|error| unusable(variable, error))?;
        Ok(Self { file: Arc::new(file), regions: OnceLock::new() })
    }

    /// Returns what the file lists now.
    pub(super) fn listed(&self) -> Arc<[Listed]> {
        self.file.current()
    }

    /// Returns the connection string of an entry, which is read again from its place in the file.
    pub(super) fn string(&self, listed: &Listed) -> ConnectionString {
        let (file, place) = (Arc::clone(&self.file), listed.place.clone());
        let again = move |look: Look| at(&read(&file, look), &place).map(|listed| listed.string.clone());
        listed.string.clone().with_source(Source::new(again))
    }
}

/// Returns the entry at this place.
fn at<'a>(listed: &'a [Listed], place: &Place) -> Option<&'a Listed> {
    listed.iter().find(|listed| listed.place == *place)
}
