//! Starts a cluster from its options.

use std::path::Path;

use super::Patroni;
use super::etcd::Etcd;
use super::member::PatroniMember;
use super::options::PatroniOptions;
use crate::error::{Error, Result};
use crate::postgres::binaries::Binaries;
use crate::process::scratch::Scratch;
use crate::process::user::User;
use crate::wait::unblocked;

impl PatroniOptions {
    /// Starts etcd and the members, and waits until one is the leader and the others stream from it.
    ///
    /// # Errors
    ///
    /// - [`is_misuse`](Error::is_misuse) if Patroni or etcd is not installed, or if this process is root and PostgreSQL cannot
    ///   run as another user.
    /// - [`is_postgres_missing`](Error::is_postgres_missing) if PostgreSQL is not installed.
    /// - [`is_exited`](Error::is_exited), with the end of its log, if a program ends at its start.
    /// - [`is_timed_out`](Error::is_timed_out) if the members do not agree on a leader after a minute.
    /// - An I/O error, for which no predicate holds, if the system refuses a port, a file or a process.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, everything ends and its files are removed.
    pub async fn start(self) -> Result<Patroni> {
        check_installed(&std::env::var("PATH").unwrap_or_default())?;
        let (binaries, user) = unblocked(|| Ok::<_, Error>((Binaries::find()?, User::for_postgres()?))).await?;
        let scratch = Scratch::given_or_new(None).await?;
        let etcd = Etcd::start(&scratch, user).await?;
        let mut members = Vec::with_capacity(self.members);
        for number in 1..=self.members {
            let name = format!("member-{number}");
            members.push(PatroniMember::create(name, &scratch, user, &binaries, etcd.address(), self.settings)?);
        }
        let cluster = Patroni { members, _etcd: etcd };
        for member in &cluster.members {
            member.start_again().await?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }
}

fn check_installed(path: &str) -> Result<()> {
    let is_on_path =
        |program: &str| std::env::split_paths(path).any(|folder| Path::new(&folder).join(program).is_file());
    match ["patroni", "etcd"].into_iter().find(|program| !is_on_path(program)) {
        None => Ok(()),
        Some(program) => Err(Error::misuse(format!(
            "{program} is not installed: install it as by `apt-get install patroni etcd-server`"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_program_is_named() {
        let error = check_installed("/nonexistent").unwrap_err();
        assert!(error.is_misuse());
        assert!(error.to_string().starts_with("patroni is not installed"), "{error}");
    }
}
