//! [`Passfile`], libpq's file of passwords.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use homing_rpc::{Digest, Reloaded, digest_of};
use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tracing::warn;

use super::source::{self, Look};
use super::taken::Taken;

/// The password file of a connection string without a password. Cheap to clone.
///
/// It is read again for new connections, at most once a second. A file that is missing, or that others may read, has no
/// passwords, as in libpq. If a file becomes so later, its last version stays in use, as with all files that hold secrets.
/// <https://www.postgresql.org/docs/current/libpq-pgpass.html>
#[derive(Clone)]
pub(super) struct Passfile {
    path: PathBuf,
    file: Arc<Reloaded<Contents>>,
}

type Contents = Arc<[u8]>;

impl Passfile {
    /// The name of the setting, which [`Taken`] takes out of a connection string.
    pub(super) const NAME: &str = "passfile";

    /// Reads the file that the setting names, else the one that `PGPASSFILE` names, else the one in the home folder. `None` if
    /// the connection string has a password, or if there is no home folder.
    pub(super) fn read(taken: &Taken<'_>, config: &Config) -> Option<Self> {
        if has_password(config) {
            return None;
        }
        let named = taken.filled(Self::NAME).map(OsString::from);
        let named = named.or_else(|| env::var_os("PGPASSFILE").filter(|path| !path.is_empty())).map(PathBuf::from);
        let is_named = named.is_some();
        Some(Self::at(named.or_else(default_path)?, is_named))
    }

    fn at(path: PathBuf, is_named: bool) -> Self {
        let place = path.display().to_string();
        let read_from = path.clone();
        let file = Reloaded::loaded_by("the password file", place, move |before| load(&read_from, is_named, before));
        Self { path, file: Arc::new(file.expect("what cannot be read at first has no passwords")) }
    }

    /// Sets the password of a connection to one server, unless it has one.
    pub(super) fn set(&self, config: &mut Config, look: Look) {
        if !has_password(config)
            && let Some(password) = self.password(config, look)
        {
            config.password(password);
        }
    }

    /// Returns what the file has to do with a failure to log in with this configuration, as the end of a sentence.
    pub(super) fn hint(&self, config: &Config) -> String {
        let path = self.path.display();
        if has_password(config) {
            format!("; the password is from {path}")
        } else {
            format!("; neither the connection string nor {path} has a password for it")
        }
    }

    fn password(&self, config: &Config, look: Look) -> Option<Vec<u8>> {
        let contents = source::read(&self.file, look);
        let port = config.get_ports().first()?.to_string();
        let user = config.get_user().map_or_else(whoami::username, |user| Ok(user.to_owned())).ok()?;
        let database = config.get_dbname().unwrap_or(&user);
        names_of(config.get_hosts().first()?).into_iter().find_map(|host| {
            password_in(&contents, [host.as_encoded_bytes(), port.as_ref(), database.as_ref(), user.as_ref()])
        })
    }
}

impl PartialEq for Passfile {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl fmt::Debug for Passfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Passfile").field(&self.path).finish()
    }
}

fn has_password(config: &Config) -> bool {
    config.get_password().is_some_and(|password| !password.is_empty())
}

/// Returns the path in the home folder.
fn default_path() -> Option<PathBuf> {
    if cfg!(windows) {
        return Some(PathBuf::from(env::var_os("APPDATA")?).join("postgresql").join("pgpass.conf"));
    }
    Some(env::home_dir()?.join(".pgpass"))
}

/// Returns the names that a line may have for a host. For a folder of Unix sockets in which libpq looks by default, this is
/// `localhost`. The folder depends on how libpq was built, so that its path is good too.
fn names_of(host: &Host) -> Vec<&OsStr> {
    match host {
        Host::Tcp(host) => vec![host.as_ref()],
        #[cfg(unix)]
        Host::Unix(path) if DEFAULT_SOCKET_FOLDERS.contains(&path.as_path().as_os_str().as_encoded_bytes()) => {
            vec!["localhost".as_ref(), path.as_ref()]
        }
        #[cfg(unix)]
        Host::Unix(path) => vec![path.as_ref()],
    }
}

/// Reads the file. `None` if it is as it was before. What cannot be read the first time has no passwords; a missing file is
/// worth a warning only if its path was named.
fn load(path: &Path, is_named: bool, before: Option<Digest>) -> Result<Option<(Contents, Digest)>, String> {
    let read = read(path);
    let digest = match &read {
        Ok(contents) => digest_of([contents.as_slice()].into_iter()),
        Err(error) => digest_of([&b"error"[..], error.to_string().as_bytes()].into_iter()),
    };
    match read {
        _ if before == Some(digest) => Ok(None),
        Ok(contents) => Ok(Some((contents.into(), digest))),
        Err(problem) if before.is_none() => {
            if is_named || problem.kind() == ErrorKind::Other {
                warn!(path = %path.display(), %problem, "the password file cannot be used; connecting without it");
            }
            Ok(Some((Contents::default(), digest)))
        }
        Err(problem) => Err(problem.to_string()),
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    check_permissions(&metadata)?;
    let mut contents = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(contents)
}

#[cfg(unix)]
fn check_permissions(metadata: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;

    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let problem = format!("a group or other users have access to it (mode {mode:04o}): set its mode to 0600");
        return Err(io::Error::other(problem));
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_permissions(_: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Returns the password of the first line `host:port:database:user:password` for these four values.
fn password_in(contents: &[u8], values: [&[u8]; 4]) -> Option<Vec<u8>> {
    contents.split(|byte| *byte == b'\n').find_map(|line| {
        let end = line.iter().rposition(|byte| *byte != b'\r')?;
        let line = &line[..=end];
        if line.starts_with(b"#") {
            return None;
        }
        let password = values.iter().try_fold(line, |rest, value| after_field(rest, value))?;
        Some(field(password).0)
    })
}

/// Returns what follows the first field of a line, if the field stands for this value.
fn after_field<'a>(line: &'a [u8], value: &[u8]) -> Option<&'a [u8]> {
    if let Some(rest) = line.strip_prefix(b"*:") {
        return Some(rest);
    }
    let (text, end) = field(line);
    (text == value).then(|| line.get(end + 1..)).flatten()
}

/// Returns the text of the first field of a line, without its escapes, and where the field ends.
fn field(line: &[u8]) -> (Vec<u8>, usize) {
    let (mut text, mut at) = (Vec::new(), 0);
    while at < line.len() && line[at] != b':' {
        if line[at] == b'\\' && at + 1 < line.len() {
            at += 1;
        }
        text.push(line[at]);
        at += 1;
    }
    (text, at)
}

/// The folders of Unix sockets in which libpq looks by default: as PostgreSQL, Debian and Alpine build it.
#[cfg(unix)]
const DEFAULT_SOCKET_FOLDERS: [&[u8]; 3] = [b"/tmp", b"/var/run/postgresql", b"/run/postgresql"];

/// The limit for the file, which is in memory as long as its connection string: far more than a thousand lines.
const MAX_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, remove_file, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use homing_testbed::{Postgres, Scratch};

    use super::super::address::Address;
    use super::*;

    /// The rules of `passwordFromFile` in libpq:
    /// <https://github.com/postgres/postgres/blob/REL_17_STABLE/src/interfaces/libpq/fe-connect.c>
    #[test]
    fn lines_mean_what_libpq_says() {
        for (contents, expected) in [
            ("", None),
            ("db:5432:app:me:secret", Some("secret")),
            ("db:5432:app:me:secret\r\n", Some("secret")),
            ("\n# db:5432:app:me:a\n\ndb:5432:app:me:b\ndb:5432:app:me:c\n", Some("b")),
            ("*:*:*:*:any", Some("any")),
            ("DB:5432:app:me:a\n*:*:*:*:b", Some("b")),
            ("db:5433:app:me:a\ndb:5432:other:me:b\ndb:5432:app:you:c", None),
            ("d*:5432:app:me:a", None),
            ("\\*:5432:app:me:a", None),
            (" db:5432:app:me:a", None),
            ("d\\b:5432:app:me:a", Some("a")),
            ("db:5432:app:me:a\\:b\\\\c", Some("a:b\\c")),
            ("db:5432:app:me:a:b", Some("a")),
            ("db:5432:app:me: with blanks ", Some(" with blanks ")),
            ("db:5432:app:me:end\\", Some("end\\")),
            ("db:5432:app:me:", Some("")),
            ("db:5432:app:me", None),
            ("db:5432:app", None),
            ("db", None),
        ] {
            let found = password_in(contents.as_bytes(), [b"db", b"5432", b"app", b"me"]);
            assert_eq!(found, expected.map(|text| text.as_bytes().to_vec()), "{contents:?}");
        }
        let found = password_in(b"\\:\\:1:5432:a\\\\b:me:secret\n", [b"::1", b"5432", b"a\\b", b"me"]);
        assert_eq!(found.unwrap(), b"secret");
    }

    async fn password(folder: &Scratch, url: &str) -> Option<String> {
        let join = if url.contains("://") { "?" } else { " " };
        let url = format!("{url}{join}passfile={}", folder.path().join("pgpass").display());
        let address = Address::resolve(&url, "a test").await.unwrap().remove(0);
        address.config(Look::Now).0.get_password().map(|password| String::from_utf8(password.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn host_is_named_as_in_the_string() {
        let folder = Scratch::new().unwrap();
        let lines = "localhost:5432:app:me:name\n127.0.0.1:*:*:me:address\n/run/other:*:*:*:folder\n\
                     \\:\\:1:5432:*:*:six\n*:5432:you:you:user\n*:*:*:*:";
        private(&folder, lines);
        for (url, expected) in [
            ("postgres://me@localhost/app", Some("name")),
            ("postgres://me@127.0.0.1/app", Some("address")),
            ("host=localhost hostaddr=127.0.0.1 user=me dbname=app", Some("name")),
            ("hostaddr=127.0.0.1 user=me dbname=app", Some("address")),
            ("host=/tmp user=me dbname=app", Some("name")),
            ("host=/run/postgresql user=me dbname=app", Some("name")),
            ("host=/run/other user=me dbname=app", Some("folder")),
            ("postgres://me@[::1]/app", Some("six")),
            ("postgres://you@127.0.0.2", Some("user")),
            ("postgres://me:given@localhost/app", Some("given")),
            ("postgres://me:@localhost/app", Some("name")),
            ("postgres://me@127.0.0.3/app", Some("")),
        ] {
            assert_eq!(password(&folder, url).await.as_deref(), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn user_of_the_system_is_the_default() {
        let folder = Scratch::new().unwrap();
        private(&folder, &format!("*:*:{0}:{0}:secret", whoami::username().unwrap()));
        assert_eq!(password(&folder, "postgres://127.0.0.1").await.as_deref(), Some("secret"));
    }

    #[tokio::test]
    async fn file_for_others_is_ignored() {
        let folder = Scratch::new().unwrap();
        assert_eq!(password(&folder, "postgres://me@127.0.0.1/app").await, None);
        let path = private(&folder, "*:*:*:*:secret");
        for (mode, expected) in [(0o600, Some("secret")), (0o400, Some("secret")), (0o640, None), (0o604, None)] {
            set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            assert_eq!(password(&folder, "postgres://me@127.0.0.1/app").await.as_deref(), expected, "{mode:o}");
        }
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        write(&path, vec![b'#'; 2_000_000]).unwrap();
        assert_eq!(password(&folder, "postgres://me@127.0.0.1/app").await, None);
        remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(password(&folder, "postgres://me@127.0.0.1/app").await, None);
    }

    #[tokio::test]
    async fn new_connections_read_it_again() {
        let rules = "host all app 127.0.0.1/32 scram-sha-256\n";
        let server = Postgres::options().with_access(rules).start().await.unwrap();
        server.connect().await.unwrap().batch_execute("create role app login password 'a:\\b'").await.unwrap();
        let folder = Scratch::new().unwrap();
        let path = folder.path().join("pgpass");
        let url = format!("postgres://app@{}/postgres?passfile={}", server.address(), path.display());
        let address = Address::resolve(&url, "a test").await.unwrap().remove(0);
        let refused = async || address.connect().await.err().unwrap().to_string();
        assert!(refused().await.contains(&format!("nor {} has a password", path.display())), "{}", refused().await);
        private(&folder, "*:*:*:app:wrong");
        let wrong = refused().await;
        assert!(wrong.contains(&format!("(SQLSTATE 28P01); the password is from {}", path.display())), "{wrong}");
        // A moment after the last look.
        private(&folder, "*:*:*:app:a\\:\\\\b");
        drop(address.connect().await.unwrap());
        // A file that is missing for a moment changes nothing.
        remove_file(&path).unwrap();
        drop(address.connect().await.unwrap());
        assert_eq!(address.config(Look::Now).0.get_password(), Some(&b"a:\\b"[..]));
    }

    /// Runs itself as another process, since the environment is that of a process.
    #[test]
    fn environment_names_the_file() {
        let found = || {
            let config = "host=db user=me port=1".parse().unwrap();
            Some(Passfile::read(&Taken::new("", &[]), &config)?.path)
        };
        if let Some(expected) = env::var_os("EXPECTED_PASSFILE") {
            assert_eq!(found(), Some(PathBuf::from(expected)));
            return;
        }
        for (variables, expected) in [
            ([("PGPASSFILE", "/some/passwords"), ("HOME", "/some/home")], "/some/passwords"),
            ([("PGPASSFILE", ""), ("HOME", "/some/home")], "/some/home/.pgpass"),
        ] {
            let mut command = std::process::Command::new(env::current_exe().unwrap());
            command.args(["--exact", "connection::passfile::tests::environment_names_the_file"]);
            let output = command.envs(variables).env("EXPECTED_PASSFILE", expected).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{variables:?}: {said}");
        }
    }

    fn private(folder: &Scratch, lines: &str) -> PathBuf {
        let path = folder.path().join("pgpass");
        write(&path, lines).unwrap();
        set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}
