# Installs PostgreSQL's programs and nothing that runs: run by xtask as root on Debian and Ubuntu.
set -eu
export DEBIAN_FRONTEND=noninteractive
# Ubuntu's needrestart would restart the machine's other services on this occasion.
export NEEDRESTART_SUSPEND=1

# The package makes a database cluster and starts it, now and at every boot, unless told otherwise before. Our word is
# taken back afterwards: clusters of later packages are the owner's business.
folder=/etc/postgresql-common/createcluster.d
ours=$folder/homing.conf
remove() {
  rm -f "$ours"
  dpkg -S "$folder" >/dev/null 2>&1 || rmdir -p --ignore-fail-on-non-empty "$folder" || :
}
trap remove EXIT
trap 'exit 130' HUP INT TERM
mkdir -p "$folder"
echo 'create_main_cluster = false' >"$ours"

# One package source out of order is no reason to give up. A fresh machine may be busy with its own updates: wait.
apt-get -q update || echo 'apt-get update failed, trying with the package lists as they are'
apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends postgresql
