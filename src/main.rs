//! The command line: arguments in, exit code out.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    onnx_bnnprune::cli::main()
}
