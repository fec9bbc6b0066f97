//! Homing's wire format: the code generated from `proto/homing/v1/*.proto`.
//!
//! The meaning of each message and field is written in those files. This crate holds nothing else, so that both sides
//! of the wire, and programs in other languages, read one description.

/// The package `homing.v1`.
#[allow(
    clippy::all,
    clippy::use_self,
    missing_docs,
    unreachable_pub,
    unnameable_types,
    reason = "generated code; documented in the proto files"
)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/homing.v1.rs"));
}

/// The descriptors of all files of the package, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/homing.bin"));

/// The version of the protocol that this build speaks. It changes only when two builds can no longer understand each
/// other; fields are added without.
pub const PROTOCOL_VERSION: u32 = 1;
