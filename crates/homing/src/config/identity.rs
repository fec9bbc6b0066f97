//! How the node proves to its peers that it is one: the credential and the certificates.

use homing_postgres::{Error, Result};
use homing_rpc::{Secret, Tls, Topology};

use super::error::at;
use super::values::Lookup;

/// Reads the credential, from its variable or from the file that a variable names.
pub(super) fn secret(lookup: &Lookup<'_>) -> Result<Option<Secret>> {
    match (lookup("HOMING_SECRET"), lookup("HOMING_SECRET_FILE")) {
        (Some(_), Some(_)) => {
            Err(Error::configuration("HOMING_SECRET and HOMING_SECRET_FILE are both set: unset one of them"))
        }
        (Some(text), None) => Secret::new(text).map(Some).map_err(|error| at("HOMING_SECRET", error)),
        (None, Some(path)) => Secret::from_file(path).map(Some).map_err(|error| at("HOMING_SECRET_FILE", error)),
        (None, None) => Ok(None),
    }
}

/// Reads the certificates from the files that variables name.
pub(super) fn tls(lookup: &Lookup<'_>, topology: &Topology) -> Result<Option<Tls>> {
    let name = lookup("HOMING_TLS_NAME");
    let [certificate, key, authority] = match FILES.map(lookup) {
        [Some(certificate), Some(key), Some(authority)] => [certificate, key, authority],
        [None, None, None] if name.is_none() => return Ok(None),
        files => {
            let missing: Vec<_> = FILES.into_iter().zip(&files).filter(|(_, file)| file.is_none()).collect();
            let missing: Vec<_> = missing.into_iter().map(|(variable, _)| variable).collect();
            return Err(Error::configuration(format!(
                "TLS between nodes needs all of HOMING_TLS_CERT, HOMING_TLS_KEY and HOMING_TLS_CA: set {} too, or unset \
                 the others",
                missing.join(" and ")
            )));
        }
    };
    let Some(name) = name.or_else(|| topology.app().map(ToOwned::to_owned)) else {
        return Err(Error::configuration(
            "HOMING_TLS_NAME is not set: set it to the name for which the certificates of all nodes are valid",
        ));
    };
    Tls::from_files(certificate, key, authority, &name).map(Some).map_err(|error| at("HOMING_TLS_CERT", error))
}

const FILES: [&str; 3] = ["HOMING_TLS_CERT", "HOMING_TLS_KEY", "HOMING_TLS_CA"];
