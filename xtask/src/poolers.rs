//! PgBouncer and HAProxy for the tests of poolers: found, or installed with Debian's package manager.

use anyhow::{Result, bail};

use crate::postgres::{PackageManager, Privilege, on_path, run_script};

/// Installs both if this machine misses one of them. The tests that need them are skipped on systems without Debian's package
/// manager.
pub(crate) fn ensure() -> Result<()> {
    let is_installed = || ["pgbouncer", "haproxy"].iter().all(|program| is_found(program));
    if is_installed() {
        return Ok(());
    }
    if PackageManager::detect(on_path) != Some(PackageManager::Apt) {
        eprintln!("pgbouncer or haproxy is not installed: the tests of poolers are skipped");
        return Ok(());
    }
    let Some(privilege) = Privilege::for_installing(PackageManager::Apt) else {
        bail!("the tests of poolers need pgbouncer and haproxy, which are not installed: install them, {BY_HAND}");
    };
    eprintln!("pgbouncer or haproxy is not installed: installing both now, {BY_HAND}");
    if !run_script(privilege, include_str!("poolers/apt.sh"))? || !is_installed() {
        bail!("installing pgbouncer and haproxy failed (see above): try it yourself, {BY_HAND}");
    }
    Ok(())
}

/// Debian keeps both where ordinary users do not look.
fn is_found(program: &str) -> bool {
    on_path(program) || std::path::Path::new("/usr/sbin").join(program).is_file()
}

const BY_HAND: &str = "as by `apt-get install pgbouncer haproxy`";
