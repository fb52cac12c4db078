//! A service of a test's own beside the services of its environment, gone with the test.

use super::services::{self, script, well};
use std::path::Path;
use std::process::Command;

/// What tests start so: each with a state and ports of its own. `scripts/test` takes down what one that was killed left.
#[derive(Clone, Copy)]
pub enum Name {
    Past,
    Primary,
    Standby,
    Registry,
}

/// One that is up.
pub struct Beside {
    state: String,
    port_base: u32,
    settings: Vec<(&'static str, String)>,
}

impl Beside {
    /// Brings it up, anew, with these settings of `scripts/services`.
    pub fn up(name: Name, settings: Vec<(&'static str, String)>) -> Self {
        let (suffix, service, ports) = match name {
            Name::Past => ("past", "postgres", 400),
            Name::Primary => ("primary", "postgres", 401),
            Name::Standby => ("standby", "postgres", 402),
            Name::Registry => ("registry", "registry", 403),
        };
        let state = format!("{}-{suffix}", services::env("TOMBOLA_SERVICES_STATE"));
        Beside::in_state(state, service, ports, settings)
    }

    /// The same for any service, with its state in this folder and its ports so far from those of the environment.
    pub fn in_state(state: String, service: &str, ports: u32, settings: Vec<(&'static str, String)>) -> Self {
        let base: u32 = services::env("TOMBOLA_SERVICES_PORT_BASE").parse().expect("a port");
        let beside = Beside { state, port_base: base + ports, settings };
        // A test that was killed may have left it, with all it had.
        well(beside.script(&["down"]));
        well(beside.script(&["up", service]));
        beside
    }

    /// `scripts/services` with these arguments, about this one.
    pub fn script(&self, arguments: &[&str]) -> Command {
        let mut command = script(arguments);
        command.env("TOMBOLA_SERVICES_STATE", &self.state);
        command.env("TOMBOLA_SERVICES_PORT_BASE", self.port_base.to_string());
        for port in ["TOMBOLA_POSTGRES_PORT", "TOMBOLA_REGISTRY_PORT", "TOMBOLA_S3_PORT"] {
            command.env_remove(port);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What it says of itself.
    pub fn endpoint(&self, name: &str) -> String {
        let text = std::fs::read_to_string(Path::new(&self.state).join("endpoints.env")).expect("it is up");
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        value.unwrap_or_else(|| panic!("endpoints.env says {name}")).to_owned()
    }

    /// Where the database of a Postgres is.
    pub fn url(&self) -> String {
        self.endpoint("PG_URL")
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.script(&["down"]).output();
    }
}
