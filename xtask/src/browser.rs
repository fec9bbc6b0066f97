//! Chromium and chromedriver for the guestbook's tests: found, or installed with Debian's package manager.

use anyhow::{Result, bail};

use crate::postgres::{PackageManager, Privilege, on_path, run_script};

/// Installs both if this machine has no chromedriver.
pub(crate) fn ensure() -> Result<()> {
    if on_path("chromedriver") {
        return Ok(());
    }
    let manager = PackageManager::detect(on_path).filter(|manager| *manager == PackageManager::Apt);
    let Some(privilege) = manager.and_then(Privilege::for_installing) else {
        bail!("the guestbook's tests need chromedriver, which is not installed: install it and Chromium, {BY_HAND}");
    };
    eprintln!("chromedriver is not installed: installing it and Chromium now, {BY_HAND}");
    if !run_script(privilege, INSTALL)? || !on_path("chromedriver") {
        bail!("installing chromedriver failed (see above): try it yourself, {BY_HAND}");
    }
    Ok(())
}

const BY_HAND: &str = "on Debian by `apt-get install chromium chromium-driver`";

/// Like `postgres/apt.sh`.
const INSTALL: &str = "export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
apt-get -q update || echo 'apt-get update failed, trying with the package lists as they are'
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends chromium chromium-driver";
