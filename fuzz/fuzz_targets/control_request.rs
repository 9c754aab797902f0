#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| edge_vae::fuzzing::control_request(bytes));
