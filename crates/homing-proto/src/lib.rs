#![doc = include_str!("../README.md")]

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
    include!("../generated/homing.v1.rs");
}

/// The encoded descriptors of all files of the package, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("../generated/homing.bin");

/// The version of the protocol that this build speaks. It changes only if two builds can no longer understand each
/// other. Adding fields does not change it.
pub const PROTOCOL_VERSION: u32 = 2;
