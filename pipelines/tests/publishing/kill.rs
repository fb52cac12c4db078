//! Kills a publisher at every durable step and starts it again: a post is visible at most once, and its outcome told.

use super::server::{Kind, Server};
use super::world::{World, image, said};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

const DIR: &str = "TOMBOLA_TEST_DIR";
const COUNT: &str = "TOMBOLA_TEST_COUNT";
/// What the child's world must know to be the same one.
const SECRETS: &str = "channels.json";

#[test]
#[ignore = "the process that the tests below kill"]
fn publisher_that_is_killed() {
    // Without a directory it was started by `--include-ignored`: there is nothing to do.
    let Some(dir) = std::env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let mut world = World::at(dir);
    let secrets = std::fs::read_to_string(dir.join(SECRETS)).unwrap();
    world.settings.secrets = serde_json::from_str(&secrets).unwrap();
    world.shared.decided.store(1, std::sync::atomic::Ordering::SeqCst);
    let count: usize = std::env::var(COUNT).unwrap().parse().unwrap();
    let publisher = world.publisher();
    world.wait_told(count);
    drop(publisher);
}

fn run(dir: &Path, count: usize, kill_at: &str) -> std::process::ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--exact", "kill::publisher_that_is_killed"]);
    child.env(DIR, dir).env(COUNT, count.to_string()).env("TOMBOLA_KILL_AT", kill_at);
    let output = child.output().unwrap();
    if output.status.code().is_some_and(|code| code != 0) {
        panic!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    output.status
}

fn prepare(dir: &Path, channels: &[(&str, &Server)], with_image: bool) -> World {
    let mut world = World::at(dir);
    world.know(channels);
    std::fs::write(dir.join(SECRETS), serde_json::to_string(&world.settings.secrets).unwrap()).unwrap();
    let mut facts: Vec<_> = channels.iter().map(|(name, server)| world.post("D-1", name, server)).collect();
    facts.extend(with_image.then(|| image("D-2", "card", "en")));
    world.tell(&facts);
    world
}

/// Kills at `point`, goes on in other processes, and says what was told and how much is shown.
fn killed(kind: Kind, point: &str) -> (String, usize) {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(kind));
    let world = prepare(dir.path(), &[("main", &server)], false);
    let status = run(dir.path(), 1, point);
    assert_eq!(status.signal(), Some(9), "{point} was not reached: {status}");
    // What is told already is not done again: the child finds nothing to do.
    if world.told().is_empty() {
        run(dir.path(), 1, "");
    }
    let _publisher = world.publisher();
    let told = world.wait_told(1);
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(world.told().len(), 1, "{told:?}");
    (said(&told[0]), server.shown().len())
}

fn check(kind: Kind, point: &str, expected: &str, shown: usize) {
    let (told, visible) = killed(kind, point);
    assert!(told.starts_with(expected), "{kind:?} killed at {point}: {told}");
    assert_eq!(visible, shown, "{kind:?} killed at {point}: {told}");
}

#[test]
fn mastodon_shows_a_post_once_wherever_the_publisher_is_killed() {
    for point in ["before_intent", "after_intent", "after_call", "after_record", "before_tell", "after_tell"]
    {
        check(Kind::Mastodon, &format!("publish.{point}"), "main posted as s", 1);
    }
}

#[test]
fn a_receiver_takes_a_webhook_once_wherever_the_publisher_is_killed() {
    for point in ["before_intent", "after_intent", "after_call", "after_record", "before_tell", "after_tell"]
    {
        check(Kind::Webhook, &format!("publish.{point}"), "main posted as msg_", 1);
    }
}

#[test]
fn telegram_shows_a_post_at_most_once_and_what_is_unknown_is_said_to_be() {
    let unknown = "main failed after 1: unknown: it may have been posted";
    for (point, expected, shown) in [
        ("before_intent", "main posted as 1", 1),
        ("after_intent", unknown, 0),
        ("after_call", unknown, 1),
        ("after_record", "main posted as 1", 1),
        ("before_tell", "main posted as 1", 1),
        ("after_tell", "main posted as 1", 1),
    ] {
        check(Kind::Telegram, &format!("publish.{point}"), expected, shown);
    }
}

#[test]
fn facts_are_taken_once_and_images_drawn_wherever_the_publisher_is_killed() {
    for point in ["publish.before_take", "publish.after_take", "image.before_store", "image.after_store"] {
        let (dir, server) = (tempfile::tempdir().unwrap(), Server::start(Kind::Webhook));
        let world = prepare(dir.path(), &[("main", &server)], true);
        let status = run(dir.path(), 2, point);
        assert_eq!(status.signal(), Some(9), "{point} was not reached: {status}");
        let _publisher = world.publisher();
        let mut told: Vec<String> = world.wait_told(2).iter().map(said).collect();
        told.sort();
        assert_eq!(told[0], "card/en rendered", "after {point}");
        assert!(told[1].starts_with("main posted as msg_"), "after {point}: {told:?}");
        assert_eq!(server.shown().len(), 1, "after {point}");
        assert!(dir.path().join("images/acme/powerball/D-2/card/en/r1.png").exists());
    }
}

#[test]
fn every_kill_point_of_a_publisher_is_tried_here() {
    let tried = include_str!("kill.rs");
    for point in runtime::killpoint::PUBLISHER {
        let short = point.trim_start_matches("publish.");
        assert!(
            tried.contains(&format!("\"{point}\"")) || tried.contains(&format!("\"{short}\"")),
            "{point}"
        );
    }
}
