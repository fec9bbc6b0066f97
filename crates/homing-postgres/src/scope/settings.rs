//! [`Settings`], the settings with which each transaction of a handle begins.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::schema::shortened;
use crate::error::{Error, Result};

/// PostgreSQL's settings with their values, local to each transaction of a handle. Cheap to clone.
///
/// The values may hold a person's data, so `Debug` shows the names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings(Arc<[Setting]>);

#[derive(Clone, PartialEq, Eq)]
struct Setting {
    /// In lower case: PostgreSQL compares names without case.
    name: String,
    value: String,
}

impl Settings {
    /// Adds a setting, or replaces the setting of this name.
    pub(crate) fn with(&self, name: &str, value: String) -> Result<Self> {
        let name = name.to_ascii_lowercase();
        check_name(&name)?;
        if value.contains('\0') {
            return Err(Error::misuse(format!("the value of the setting {name} contains a zero byte: leave it out")));
        }
        let mut settings: Vec<_> = self.0.iter().filter(|setting| setting.name != name).cloned().collect();
        settings.push(Setting { name, value });
        let bytes: usize = settings.iter().map(|setting| setting.name.len() + setting.value.len()).sum();
        if bytes > MAX_BYTES || settings.len() > MAX_SETTINGS {
            return Err(Error::misuse(format!(
                "a handle has {} settings of {bytes} bytes, but it may have {MAX_SETTINGS} of {MAX_BYTES}, since they \
                 travel with each call: store them in a table, and set its key",
                settings.len()
            )));
        }
        Ok(Self(settings.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|setting| setting.name.eq_ignore_ascii_case(name)).map(|setting| &*setting.value)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|setting| &*setting.name).collect()
    }

    pub(crate) fn values(&self) -> Vec<&str> {
        self.0.iter().map(|setting| &*setting.value).collect()
    }

    /// Returns the form that travels: `name=value`, joined by `&`. The values are in Base64, so that they have no slash,
    /// and cannot be read at a glance where a peer reports an unknown scope.
    pub(super) fn to_wire(&self) -> String {
        let setting = |Setting { name, value }: &Setting| format!("{name}={}", URL_SAFE_NO_PAD.encode(value));
        self.0.iter().map(setting).collect::<Vec<_>>().join("&")
    }

    /// Parses the form that travels.
    pub(super) fn from_wire(text: &str) -> Result<Self> {
        text.split('&').try_fold(Self::default(), |settings, setting| {
            let decoded = setting.split_once('=').and_then(|(name, value)| {
                let value = String::from_utf8(URL_SAFE_NO_PAD.decode(value).ok()?).ok()?;
                Some((name, value))
            });
            let (name, value) = decoded.ok_or_else(|| Error::misuse("the settings of the call cannot be read"))?;
            settings.with(name, value)
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settings").field(&self.names()).finish()
    }
}

/// Accepts names that an application makes up, and built-in settings that do not change the meaning of a statement's text.
/// Others would: PostgreSQL reads constants such as `'1/2/2026'::date` when a statement is prepared, and does not prepare it
/// again for another `DateStyle` or `TimeZone`.
/// <https://www.postgresql.org/docs/current/runtime-config-custom.html>
fn check_name(name: &str) -> Result<()> {
    let is_word = |part: &str| {
        let begins = part.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'$');
        begins && part.bytes().all(is_part)
    };
    let is_custom = name.contains('.') && name.split('.').all(is_word);
    if BUILT_IN.contains(&name) || (is_custom && name.len() <= MAX_NAME_BYTES) {
        return Ok(());
    }
    let advice = match name {
        "search_path" => "use with_schema".to_owned(),
        _ => format!(
            "a handle can set names of your own, which are ASCII words joined by dots with at most {MAX_NAME_BYTES} bytes, \
             such as app.user, and {}; set others for the role or the database",
            BUILT_IN.join(", ")
        ),
    };
    Err(Error::misuse(format!("invalid setting {}: {advice}", shortened(name))))
}

const BUILT_IN: [&str; 5] = ["application_name", "lock_timeout", "role", "statement_timeout", "work_mem"];

/// More than `request.jwt.claims` needs, and short in messages.
const MAX_NAME_BYTES: usize = 63;

/// More than an application has, and few enough to set them at the beginning of each transaction.
const MAX_SETTINGS: usize = 32;

/// Room for the claims of a user, and little beside a statement.
const MAX_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_words_or_known() {
        for name in ["app.user", "App.User", "request.jwt.claims", "_a.b$1", "a.b_c", "role", "ROLE", "work_mem"] {
            Settings::default().with(name, String::new()).unwrap();
        }
        for name in [
            "",
            ".",
            "app",
            "app.",
            ".user",
            "app..user",
            "1.a",
            "a.1",
            "a.b c",
            "a.b=c",
            "a.b;c",
            "a.b'c",
            "a.ü",
            "search_path",
            "synchronous_commit",
            "timezone",
            "transaction_read_only",
            "session_authorization",
            &format!("a.{}", "x".repeat(62)),
        ] {
            let error = Settings::default().with(name, String::new()).unwrap_err();
            assert!(error.is_misuse() && error.is_not_sent(), "{name}: {error}");
        }
    }

    #[test]
    fn later_value_replaces_earlier() {
        let settings = Settings::default().with("app.user", "1".into()).unwrap();
        let settings = settings.with("role", "tenant".into()).unwrap().with("APP.USER", "2".into()).unwrap();
        assert_eq!((settings.names(), settings.values()), (vec!["role", "app.user"], vec!["tenant", "2"]));
        assert_eq!((settings.value("App.user"), settings.value("app.other")), (Some("2"), None));
        assert_eq!(format!("{settings:?}"), r#"Settings(["role", "app.user"])"#);
    }

    #[test]
    fn settings_are_bounded() {
        let with = |bytes: usize| Settings::default().with("a.b", "x".repeat(bytes));
        assert!(with(MAX_BYTES - 3).is_ok());
        assert!(with(MAX_BYTES - 2).unwrap_err().is_misuse());
        let number = |settings: Settings, number| settings.with(&format!("a.b{number}"), String::new());
        let most = (0..MAX_SETTINGS).try_fold(Settings::default(), number).unwrap();
        assert!(number(most.clone(), 0).is_ok());
        assert!(number(most, MAX_SETTINGS).unwrap_err().is_misuse());
        assert!(Settings::default().with("a.b", "\0".into()).unwrap_err().is_misuse());
    }
}
