//! The `tombola` program. Everything it does is in the library's `commands`.

use std::process::ExitCode;

fn main() -> ExitCode {
    pipelines::commands::main()
}
