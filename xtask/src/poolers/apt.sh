# Installs PgBouncer and HAProxy, and nothing that runs: run by xtask as root on Debian and Ubuntu.
set -eu
export DEBIAN_FRONTEND=noninteractive
export NEEDRESTART_SUSPEND=1

# The packages start their services, now and at every boot. A policy keeps them from it now, unless this machine has one of its
# own, and afterwards they are disabled.
# https://www.debian.org/doc/debian-policy/ch-opersys.html#starting-system-services
policy=/usr/sbin/policy-rc.d
ours=
remove() {
  [ -z "$ours" ] || rm -f "$policy"
}
trap remove EXIT
trap 'exit 130' HUP INT TERM
if [ ! -e "$policy" ]; then
  ours=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi

missing=
for package in pgbouncer haproxy; do
  [ -e "/usr/sbin/$package" ] || missing="$missing $package"
done
apt-get -q update || echo 'apt-get update failed, trying with the package lists as they are'
# shellcheck disable=SC2086
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing
for package in $missing; do
  update-rc.d "$package" disable >/dev/null 2>&1 || :
  ! command -v systemctl >/dev/null || systemctl --quiet disable "$package" >/dev/null 2>&1 || :
done
