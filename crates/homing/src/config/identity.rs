//! How the node proves to its peers that it is one: the credential and the certificates.

use homing_postgres::{Error, Login, Result};
use homing_rpc::{Secret, Tls, Topology};

use super::error::at;
use super::values::{Lookup, text_or_file};

/// Reads a credential, from its variable or from the file that a variable names.
pub(super) fn secret(lookup: &Lookup<'_>, variable: &str) -> Result<Option<Secret>> {
    match text_or_file(lookup, variable)? {
        (Some(text), _) => Secret::new(text).map(Some).map_err(|error| at(variable, error)),
        (None, Some(path)) => Secret::from_file(path).map(Some).map_err(|error| at(&format!("{variable}_FILE"), error)),
        (None, None) => Ok(None),
    }
}

/// Reads the user as whom the SQL of other nodes runs.
pub(super) fn forwarded_login(lookup: &Lookup<'_>) -> Result<Option<Login>> {
    let password = text_or_file(lookup, "HOMING_FORWARDED_PASSWORD")?;
    match (lookup("HOMING_FORWARDED_USER").map(Login::new), password) {
        (Some(login), (Some(password), _)) => Ok(Some(login.with_password(password))),
        (Some(login), (None, Some(path))) => login
            .with_password_file(path)
            .map(Some)
            .map_err(|error| Error::configuration(format!("HOMING_FORWARDED_PASSWORD_FILE: {error}"))),
        (Some(login), (None, None)) => Ok(Some(login)),
        (None, (None, None)) => Ok(None),
        (None, _) => Err(Error::configuration(
            "a password of HOMING_FORWARDED_USER is set and HOMING_FORWARDED_USER is not: set it to the user with this \
             password",
        )),
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

#[cfg(test)]
mod tests {
    use crate::Config;

    fn config(settings: &[(&str, &str)]) -> homing_postgres::Result<Config> {
        Config::from_lookup(&|name| {
            settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn peers_are_limited_by_variables() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "fedcba9876543210fedcba9876543210\n").unwrap();
        let settings = [
            ("HOMING_TOKEN_KEY_FILE", file.to_str().unwrap()),
            ("HOMING_FUNCTIONS_ONLY", "true"),
            ("HOMING_FORWARDED_USER", "app_forwarded"),
            ("HOMING_FORWARDED_PASSWORD_FILE", file.to_str().unwrap()),
        ];
        let limited = config(&settings).unwrap();
        assert!(limited.functions_only && limited.token_key.is_some());
        let debug = format!("{limited:?}");
        assert!(debug.contains("app_forwarded") && !debug.contains("fedcba"), "{debug}");
        let free = config(&[("HOMING_FUNCTIONS_ONLY", "false")]).unwrap();
        assert!(!free.functions_only && free.token_key.is_none() && free.forwarded_login.is_none());
    }

    #[test]
    fn mistakes_name_the_variable() {
        for (settings, part) in [
            (&[("HOMING_TOKEN_KEY", "short")][..], "HOMING_TOKEN_KEY:"),
            (&[("HOMING_TOKEN_KEY_FILE", "/does/not/exist")], "HOMING_TOKEN_KEY_FILE:"),
            (&[("HOMING_TOKEN_KEY", "x"), ("HOMING_TOKEN_KEY_FILE", "x")], "are both set"),
            (&[("HOMING_FUNCTIONS_ONLY", "1")], "HOMING_FUNCTIONS_ONLY is \"1\""),
            (&[("HOMING_FORWARDED_PASSWORD", "x")], "HOMING_FORWARDED_USER is not"),
            (
                &[("HOMING_FORWARDED_USER", "x"), ("HOMING_FORWARDED_PASSWORD_FILE", "/does/not/exist")],
                "HOMING_FORWARDED_PASSWORD_FILE:",
            ),
        ] {
            let error = config(settings).unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains(part), "{error}");
        }
    }
}
