//! How nodes start, find databases and peers, and lose them.

mod application;
mod calls;
mod clusters;
mod configuration;
mod databases;
mod exactly_once;
mod failover;
mod failures;
mod forwarded_login;
mod functions;
mod functions_only;
mod local;
mod named;
mod other_region;
mod passwords;
mod patroni;
mod peers;
mod replicas;
mod secrets;
mod tls;
mod wire;
