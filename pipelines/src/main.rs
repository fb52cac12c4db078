//! The `tombola` program: parses the command line and calls the command.
fn main() {
    print!("{}", pipelines::config::Config::default().describe());
}
