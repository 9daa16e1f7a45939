//! Compiles `proto/onnx.proto` with protox: no protoc on the user's machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/onnx.proto");
    let descriptors = protox::compile(["proto/onnx.proto"], ["proto"])?;
    prost_build::Config::new()
        // Zero-copy: every `bytes` field is a slice of the file's buffer.
        .bytes(["."])
        .compile_fds(descriptors)?;
    Ok(())
}
