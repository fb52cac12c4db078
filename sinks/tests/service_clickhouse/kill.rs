//! Kills the loader at every step, and wants the same tables in the end.

use crate::support::{Bench, Database, assert_holds, start};
use crate::world::{World, WorldLog};
use runtime::{Epoch, killpoint};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const EPOCHS: u64 = 120;
const ORDERS: u64 = 6;
const DIR: &str = "TOMBOLA_TEST_DIR";
const DATABASE: &str = "TOMBOLA_TEST_DATABASE";

#[test]
#[ignore = "the process that the test below kills"]
fn loader() {
    // Without a directory it was started by `--include-ignored`: there is nothing to do.
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    let database = Database::named(&std::env::var(DATABASE).unwrap(), true);
    let log = WorldLog::new(World::of(EPOCHS, ORDERS), EPOCHS);
    let loader = start(&log, &Arc::new(EPOCHS.into()), &dir, &database.settings);
    loader.status().wait_published(Epoch(EPOCHS), Duration::from_secs(60));
}

#[test]
#[ignore = "needs services"]
fn service_a_loader_killed_at_any_step_goes_on_as_if_nothing_had_happened() {
    for point in killpoint::LOADER {
        let (database, bench) = (Database::migrated(), Bench::of(EPOCHS, ORDERS, EPOCHS));
        for turn in [1, 2, 3] {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--ignored", "--exact", "kill::loader"]);
            child.env(DIR, bench.dir.path()).env(DATABASE, &database.settings.database);
            let status = child.env("TOMBOLA_KILL_AT", format!("{point}:{turn}")).output().unwrap().status;
            assert_eq!(status.signal(), Some(9), "{point}:{turn} was not reached: {status}");
        }
        bench.load(&database.settings);
        assert_holds(&database, &bench.log.world, EPOCHS);
    }
}
