#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| homing_rpc::fuzzing::discovery(input));
