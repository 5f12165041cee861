//! Messages from the proto file, compiled in Rust: no protoc on the machine is needed.
#![allow(clippy::disallowed_macros, reason = "cargo reads a build script's standard output")]

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["proto/certificate.proto"], ["proto"])?;
    prost_build::Config::new().btree_map(["."]).compile_fds(files)?;
    Ok(())
}
