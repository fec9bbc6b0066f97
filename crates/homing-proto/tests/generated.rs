//! The code in `generated/` is what the files in `proto/` say.
//!
//! It is generated here and not by a build script, so that programs that use Homing build no compiler of Protocol Buffers.
//! After a change to `proto/`, write it anew: `HOMING_WRITE_GENERATED=1 cargo test --package homing-proto`.

use std::fs;
use std::path::Path;

use prost::Message;

#[test]
fn generated_code_is_current() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    // protox, so that protoc need not be installed.
    let descriptors = protox::compile(FILES, [root.join("proto")]).unwrap();
    fs::write(scratch.join("homing.bin"), descriptors.encode_to_vec()).unwrap();
    let generator = tonic_prost_build::configure().build_transport(false).bytes(".homing.v1");
    generator.out_dir(scratch).compile_fds(descriptors).unwrap();
    for name in ["homing.bin", "homing.v1.rs"] {
        let generated = fs::read(scratch.join(name)).unwrap();
        let file = root.join("generated").join(name);
        if std::env::var_os("HOMING_WRITE_GENERATED").is_some() {
            fs::write(&file, &generated).unwrap();
        }
        let is_current = fs::read(&file).is_ok_and(|current| current == generated);
        assert!(is_current, "{} is not what proto/ says; the head of this test says how to write it", file.display());
    }
}

const FILES: [&str; 2] = ["homing/v1/rpc.proto", "homing/v1/database.proto"];
