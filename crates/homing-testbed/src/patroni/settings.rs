//! The settings of a member, as Patroni reads them.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

/// The settings that the members share.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClusterSettings {
    pub(super) is_synchronous: bool,
    pub(super) max_lag_bytes: u64,
}

/// The settings of one member.
#[derive(Debug)]
pub(super) struct MemberSettings<'a> {
    pub(super) cluster: ClusterSettings,
    pub(super) name: &'a str,
    pub(super) rest: SocketAddr,
    pub(super) etcd: SocketAddr,
    pub(super) postgres: SocketAddr,
    pub(super) folder: &'a Path,
    pub(super) binaries: &'a Path,
}

/// Prints the settings as YAML, in the notation of JSON.
///
/// The times are short, so that tests are: a leader that is gone is noticed after five seconds (`ttl`).
/// <https://patroni.readthedocs.io/en/latest/dynamic_configuration.html>
impl fmt::Display for MemberSettings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, name, rest, etcd, postgres, folder, binaries } = self;
        let ClusterSettings { is_synchronous, max_lag_bytes } = cluster;
        // Debug quotes a path as JSON does.
        let (data, pgpass) = (folder.join("data"), folder.join("pgpass"));
        writeln!(
            f,
            r#"{{
"scope": "testbed", "name": "{name}",
"restapi": {{"listen": "{rest}", "connect_address": "{rest}"}},
"etcd3": {{"hosts": "{etcd}", "use_proxies": true}},
"bootstrap": {{
  "dcs": {{
    "ttl": 5, "loop_wait": 1, "retry_timeout": 2,
    "maximum_lag_on_failover": {max_lag_bytes}, "synchronous_mode": {is_synchronous},
    "postgresql": {{
      "use_pg_rewind": true, "use_slots": false,
      "parameters": {{
        "max_connections": 100, "wal_log_hints": "on", "wal_keep_size": "128MB", "shared_buffers": "16MB",
        "wal_retrieve_retry_interval": "100ms", "wal_receiver_status_interval": "1s"}}}}}},
  "initdb": [{{"encoding": "UTF8"}}, {{"locale": "C"}}, "no-sync", "no-instructions"],
  "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]}},
"postgresql": {{
  "listen": "{postgres}", "connect_address": "{postgres}",
  "data_dir": {data:?}, "bin_dir": {binaries:?}, "pgpass": {pgpass:?},
  "authentication": {{
    "superuser": {{"username": "postgres"}}, "replication": {{"username": "postgres"}},
    "rewind": {{"username": "postgres"}}}},
  "parameters": {{"unix_socket_directories": "", "dynamic_shared_memory_type": "mmap"}}}}
}}"#
        )
    }
}
