//! From a decided fact to a post and back into the log: retries, limits, dead letters, what is in doubt.

use super::server::{Kind, Server, Trick};
use super::world::{PATIENCE, World, image, said};
use schemas::draws::{PublicationEvent, PublicationFact};
use std::time::{Duration, Instant};

fn answer(status: u16) -> Trick {
    Trick::Answer(status, Vec::new(), String::new())
}

/// One channel of a kind, its server and a world that knows its secret.
fn one(kind: Kind) -> (tempfile::TempDir, World, Server) {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, server) = (World::at(dir.path()), Server::start(kind));
    world.know(&[("main", &server)]);
    (dir, world, server)
}

/// Posts once under these tricks; what was told.
fn check(kind: Kind, tricks: &[Trick], expected: &str, shown: usize) {
    let (_dir, mut world, server) = one(kind);
    server.trick(tricks);
    if tricks.iter().any(|trick| matches!(trick, Trick::Slow(_))) {
        // Less than it takes to answer, and still more than a busy machine takes for the calls that are none of that.
        world.settings.http.timeout_ms = 5_000;
    }
    let _publisher = world.publisher();
    let request = world.post("D-1", "main", &server);
    world.tell(&[request]);
    let told = said(&world.wait_told(1)[0]);
    assert!(told.starts_with(expected), "{kind:?}, {tricks:?}: {told}");
    assert_eq!(server.shown().len(), shown, "{kind:?}, {tricks:?}: {told}");
}

#[test]
fn an_image_is_drawn_and_a_post_is_out() {
    let (dir, mut world, server) = one(Kind::Webhook);
    let _publisher = world.publisher();
    let post = world.post("D-1", "main", &server);
    world.tell(&[image("D-2", "card", "vi"), post]);
    let mut told: Vec<String> = world.wait_told(2).iter().map(said).collect();
    told.sort();
    assert_eq!(told[0], "card/vi rendered");
    assert!(told[1].starts_with("main posted as msg_") && told[1].ends_with("after 1"), "{told:?}");
    assert!(dir.path().join("images/acme/powerball/D-2/card/vi/r1.png").exists());
    let text = &server.shown()[0].text;
    assert!(text.contains("https://images.example/acme/powerball/D-1/card/en/r1.png"), "{text}");
}

#[test]
fn what_is_recorded_by_a_commit_without_an_answer_is_done_once() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    let post = world.post("D-1", "main", &server);
    let requests = [image("D-2", "card", "vi"), post.clone(), post];
    world.tell(&requests);
    let _publisher = world.publisher_without_answers(8);
    let mut told: Vec<String> = world.wait_told(2).iter().map(said).collect();
    told.sort();
    assert_eq!(told[0], "card/vi rendered");
    assert!(told[1].starts_with("main posted as msg_") && told[1].ends_with("after 1"), "{told:?}");
    assert_eq!(server.posts().len(), 1);
}

#[test]
fn failures_that_pass_are_tried_again_and_the_post_is_there_once() {
    use Kind::{Mastodon, Telegram, Webhook};
    let busy = || answer(503);
    check(Mastodon, &[busy(), busy()], "main posted as s", 1);
    check(Mastodon, &[Trick::Cut, answer(500)], "main posted as s", 1);
    check(Mastodon, &[Trick::DoAndCut], "main posted as s", 1);
    check(Mastodon, &[Trick::Slow(Duration::from_secs(300))], "main posted as s", 1);
    check(Webhook, &[Trick::DoAndCut, busy(), Trick::DoAndCut], "main posted as msg_", 1);
    let denied = |code: u16| {
        let body = format!(
            "{{\"ok\": false, \"error_code\": {code}, \"description\": \"no\", \"parameters\": {{\"retry_after\": 1}}}}"
        );
        Trick::Answer(code, Vec::new(), body)
    };
    check(Telegram, &[denied(429), denied(500)], "main posted as 1 after 3", 1);
}

#[test]
fn a_lost_answer_of_telegram_is_unknown_and_never_repeated() {
    check(Kind::Telegram, &[Trick::DoAndCut], "main failed after 1: unknown: it may have been posted", 1);
    check(Kind::Telegram, &[Trick::Cut], "main failed after 1: unknown: it may have been posted", 0);
    check(Kind::Telegram, &[answer(502)], "main failed after 1: unknown: it may have been posted", 0);
    let gateway = r#"{"ok": false, "error_code": 502, "description": "Bad Gateway"}"#.to_owned();
    let gateway = Trick::Answer(502, Vec::new(), gateway);
    check(Kind::Telegram, &[gateway], "main failed after 1: unknown: it may have been posted", 0);
}

#[test]
fn the_last_try_is_a_dead_letter_that_can_be_resumed() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    let _publisher = world.publisher();
    server.trick(&[answer(503), answer(503), answer(503), answer(503)]);
    let request = world.post("D-1", "main", &server);
    world.tell(std::slice::from_ref(&request));
    assert_eq!(
        said(&world.wait_told(1)[0]),
        "main failed after 4: deliver the webhook: 503 Service Unavailable"
    );
    world.tell(&[PublicationFact { round: 2, ..request }]);
    let told: Vec<String> = world.wait_told(2).iter().map(said).collect();
    assert!(told[1].starts_with("main posted as msg_") && told[1].ends_with("after 1"), "{told:?}");
    let keys: std::collections::BTreeSet<_> =
        server.posts().iter().map(|call| call.headers["webhook-id"].clone()).collect();
    assert_eq!(keys.len(), 1, "every round has the same key");
}

#[test]
fn a_second_round_finds_what_the_first_has_posted_though_the_key_is_forgotten() {
    let (_dir, mut world, server) = one(Kind::Mastodon);
    let _publisher = world.publisher();
    let request = world.post("D-1", "main", &server);
    world.tell(std::slice::from_ref(&request));
    let first = said(&world.wait_told(1)[0]);
    assert!(first.starts_with("main posted as s"), "{first}");
    server.forget_keys();
    let at_ms = pipelines::clock_ms() + 60_000;
    world.tell(&[PublicationFact { round: 2, at_ms, ..request.clone() }]);
    assert_eq!(world.wait_told(2).iter().map(said).collect::<Vec<_>>(), [first.clone(), first]);
    assert_eq!(server.shown().len(), 1);
    // Not there: it is posted.
    let other = world.post("D-2", "main", &server);
    world.tell(&[PublicationFact { round: 2, ..other }]);
    world.wait_told(3);
    assert_eq!(server.shown().len(), 2);
}

#[test]
fn what_nobody_can_mend_is_not_tried_again() {
    check(Kind::Webhook, &[answer(410)], "main failed after 1: the receiver is gone", 0);
    let (_dir, mut world, server) = one(Kind::Mastodon);
    let _publisher = world.publisher();
    let request = world.post("D-1", "stranger", &server);
    world.tell(&[request]);
    let told = said(&world.wait_told(1)[0]);
    assert!(
        told.contains("the channel has no secret: add \"acme/stranger\" to publishing.secrets"),
        "{told}"
    );
    assert!(server.calls().is_empty());
}

#[test]
fn a_server_that_wants_to_be_left_alone_is() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    let _publisher = world.publisher();
    server.trick(&[Trick::Answer(429, vec![("retry-after", "2".into())], String::new())]);
    let (request, since) = (world.post("D-1", "main", &server), Instant::now());
    world.tell(&[request]);
    world.wait_told(1);
    assert!(since.elapsed() >= Duration::from_secs(2), "{:?}", since.elapsed());
}

#[test]
fn a_channel_posts_no_faster_than_it_may_and_in_order() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    (world.settings.per_minute, world.settings.burst) = (120, 2);
    let _publisher = world.publisher();
    let requests: Vec<_> = (1..=6).map(|n| world.post(&format!("D-{n}"), "main", &server)).collect();
    let since = Instant::now();
    world.tell(&requests);
    world.wait_told(6);
    assert!(
        since.elapsed() >= Duration::from_millis(1_900),
        "four of them wait half a second each: {:?}",
        since.elapsed()
    );
    // All of one draw lie in one partition; draws may come from several.
    assert_eq!(server.shown().len(), 6);
}

#[test]
fn a_channel_that_fails_again_and_again_is_left_alone_for_a_while() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    // Long enough to be seen open by whoever is kept waiting for a processor.
    let pause = Duration::from_secs(10);
    (world.settings.breaker_failures, world.settings.breaker_pause) = (2, pause);
    let publisher = world.publisher();
    server.trick(&[answer(503), answer(503)]);
    let (request, since) = (world.post("D-1", "main", &server), Instant::now());
    world.tell(&[request]);
    assert!(
        publisher.status().wait(PATIENCE, |figures| figures.channels.values().any(|channel| channel.open))
    );
    world.wait_told(1);
    assert!(since.elapsed() >= pause, "{:?}", since.elapsed());
    assert!(
        publisher.status().wait(PATIENCE, |figures| figures.channels.values().all(|channel| !channel.open))
    );
}

#[test]
fn what_is_not_decided_or_not_wanted_any_more_is_not_done() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    let publisher = world.publisher();
    let first = world.post("D-1", "main", &server);
    world.tell_undecided(std::slice::from_ref(&first));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((server.calls().len(), publisher.status().get().waiting), (0, 0), "it isn't decided");
    drop(publisher);
    let superseded = PublicationFact { event: PublicationEvent::Superseded, ..first };
    let (old, second) = (world.post("D-0", "main", &server), world.post("D-2", "main", &server));
    let old = PublicationFact { at_ms: 0, ..old };
    world.tell(&[superseded, old, second]);
    let _publisher = world.publisher();
    let told: Vec<String> = world.wait_told(2).iter().map(said).collect();
    assert!(told.iter().any(|said| said.starts_with("main failed after 0: it was asked for")), "{told:?}");
    assert_eq!(server.shown().len(), 1);
    assert!(server.shown()[0].text.contains("D-2"), "{:?}", server.shown());
}

/// A post is tried in vain, its result is corrected meanwhile, and the next try would go through.
#[test]
fn a_post_that_is_tried_again_is_not_once_its_result_is_corrected() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    (world.settings.backoff, world.settings.backoff_max) = (Duration::from_secs(8), Duration::from_secs(8));
    server.trick(&[answer(503)]);
    let publisher = world.publisher();
    let first = world.post("D-1", "main", &server);
    world.tell(std::slice::from_ref(&first));
    let tried = |count: u64| publisher.status().wait(PATIENCE, |figures| figures.retries == count);
    assert!(tried(1));
    world.tell(&[PublicationFact { event: PublicationEvent::Superseded, ..first }]);
    assert!(publisher.status().wait(PATIENCE, |figures| figures.waiting == 0));
    let second = PublicationFact { revision: 2, ..world.post("D-1", "main", &server) };
    world.tell(&[second]);
    assert_eq!(world.wait_told(1).len(), 1);
    assert_eq!((server.posts().len(), server.shown().len()), (2, 1));
}

/// The answer is lost, the result is corrected, and the network is asked whether the post is there.
fn corrected_in_doubt(kind: Kind, trick: Trick) -> (Vec<String>, usize) {
    let (_dir, mut world, server) = one(kind);
    (world.settings.backoff, world.settings.backoff_max) = (Duration::from_secs(8), Duration::from_secs(8));
    server.trick(&[trick]);
    let publisher = world.publisher();
    let first = world.post("D-1", "main", &server);
    world.tell(std::slice::from_ref(&first));
    assert!(publisher.status().wait(PATIENCE, |figures| figures.retries == 1));
    world.tell(&[PublicationFact { event: PublicationEvent::Superseded, ..first }]);
    assert!(publisher.status().wait(PATIENCE, |figures| figures.waiting == 0));
    drop(publisher);
    assert_eq!(server.posts().len(), 1, "it isn't called again");
    (world.told().iter().map(said).collect(), server.shown().len())
}

#[test]
fn what_may_have_been_posted_when_its_result_is_corrected_is_found_out_and_told() {
    let (told, shown) = corrected_in_doubt(Kind::Mastodon, Trick::DoAndCut);
    assert!(told[0].starts_with("main posted as s") && shown == 1, "{told:?}");
    let (told, shown) = corrected_in_doubt(Kind::Mastodon, Trick::Cut);
    assert!(told.is_empty() && shown == 0, "{told:?}");
    let (told, shown) = corrected_in_doubt(Kind::Webhook, Trick::DoAndCut);
    assert!(told[0].contains("unknown: it may have been posted") && shown == 1, "{told:?}");
}

#[test]
fn what_an_earlier_publisher_left_waits_for_the_facts_that_were_there_at_the_start() {
    let (_dir, mut world, server) = one(Kind::Webhook);
    (world.settings.backoff, world.settings.backoff_max) = (Duration::from_secs(60), Duration::from_secs(60));
    server.trick(&[answer(503)]);
    let publisher = world.publisher();
    let first = world.post("D-1", "main", &server);
    world.tell(std::slice::from_ref(&first));
    assert!(publisher.status().wait(PATIENCE, |figures| figures.retries == 1));
    drop(publisher);
    // As after a crash: what is in the log is decided, and this run has yet to come there.
    world.tell_undecided(&[PublicationFact { event: PublicationEvent::Superseded, ..first }]);
    let publisher = world.publisher();
    assert!(publisher.status().wait(PATIENCE, |figures| figures.waiting == 1));
    std::thread::sleep(Duration::from_millis(500));
    world.decide();
    assert!(publisher.status().wait(PATIENCE, |figures| figures.waiting == 0));
    assert_eq!((server.posts().len(), server.shown().len(), world.told().len()), (1, 0, 0));
}

/// The answer is lost, the publisher ends, and when the next one comes the post is no news any more.
fn too_old_in_doubt(kind: Kind, trick: Trick) -> (String, usize) {
    let (_dir, mut world, server) = one(kind);
    (world.settings.backoff, world.settings.backoff_max) = (Duration::from_secs(60), Duration::from_secs(60));
    server.trick(&[trick]);
    let publisher = world.publisher();
    let request = world.post("D-1", "main", &server);
    world.tell(&[request]);
    assert!(publisher.status().wait(PATIENCE, |figures| figures.retries == 1));
    drop(publisher);
    world.settings.age_ms_max = 1;
    let _publisher = world.publisher();
    let told = said(&world.wait_told(1)[0]);
    assert_eq!(server.posts().len(), 1, "it isn't called again: {told}");
    (told, server.shown().len())
}

#[test]
fn what_may_have_been_posted_when_it_became_too_old_is_found_out_and_never_posted() {
    let (told, shown) = too_old_in_doubt(Kind::Mastodon, Trick::DoAndCut);
    assert!(told.starts_with("main posted as s") && shown == 1, "{told}");
    let (told, shown) = too_old_in_doubt(Kind::Mastodon, Trick::Cut);
    assert!(told.contains("no news any more (publishing.age_ms_max)") && shown == 0, "{told}");
    let (told, shown) = too_old_in_doubt(Kind::Webhook, Trick::DoAndCut);
    assert!(told.contains("unknown: it may have been posted (it became too old") && shown == 1, "{told}");
}

#[test]
fn what_nobody_asked_for_by_hand_is_not_posted_once_its_result_is_old() {
    const HOUR_MS: i64 = 3_600_000;
    let (_dir, mut world, server) = one(Kind::Webhook);
    world.settings.publish_max_age_ms = HOUR_MS;
    let now = pipelines::clock_ms();
    let request = |draw: &str, drawn: i64, asked: i64, round: i32| {
        let (drawn_at_ms, at_ms) = (Some(now - drawn * HOUR_MS), now - asked * HOUR_MS);
        PublicationFact { drawn_at_ms, at_ms, round, ..world.post(draw, "main", &server) }
    };
    // Asked for by itself and in time, then by hand in a second round, then by hand when it was old already.
    let requests = [request("D-1", 3, 2, 1), request("D-2", 3, 2, 2), request("D-3", 3, 1, 1)];
    world.tell(&requests);
    let _publisher = world.publisher();
    let told: Vec<String> = world.wait_told(3).iter().map(said).collect();
    let old = "main failed after 0: it was drawn 3 h ago and is no news any more (draws.publish_max_age_ms)";
    assert_eq!(told.iter().filter(|said| *said == old).count(), 1, "{told:?}");
    let texts: Vec<_> = server.shown().into_iter().map(|shown| shown.text).collect();
    assert!(texts.len() == 2 && texts.iter().all(|text| !text.contains("D-1")), "{texts:?}");
}

#[test]
fn an_older_generation_begins_no_call_once_a_newer_one_runs() {
    let (_dir, mut world, server) = one(Kind::Telegram);
    let older = world.publisher();
    let request = world.post("D-1", "main", &server);
    let newer = world.generation();
    world.tell(&[request]);
    assert!(older.status().wait(PATIENCE, |figures| figures.stopped.is_some()));
    let problem = older.status().get().stopped.unwrap();
    assert!(problem.contains("is fenced off by generation 2"), "{problem}");
    drop(older);
    assert!(server.calls().is_empty() && world.told().is_empty());
    let _publisher = world.publisher_of(newer);
    assert_eq!(said(&world.wait_told(1)[0]), "main posted as 1 after 1");
    assert_eq!(server.shown().len(), 1);
}

#[test]
fn an_orderly_end_waits_for_the_call_that_has_begun() {
    let (_dir, mut world, server) = one(Kind::Telegram);
    server.trick(&[Trick::Slow(Duration::from_secs(1))]);
    let publisher = world.publisher();
    let request = world.post("D-1", "main", &server);
    world.tell(&[request]);
    let since = Instant::now();
    while server.posts().is_empty() {
        assert!(since.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(publisher);
    assert_eq!(said(&world.told()[0]), "main posted as 1 after 1");
}

#[test]
fn no_secret_is_printed() {
    let (_dir, mut world, server) = one(Kind::Telegram);
    world.settings.attempts = 1;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _publisher = world.publisher();
    let request = PublicationFact {
        endpoint: Some(format!("http://{gone}").into()),
        ..world.post("D-1", "main", &server)
    };
    world.tell(&[request]);
    let told = said(&world.wait_told(1)[0]);
    assert!(told.contains("failed after 1") && !told.contains(server.secret()), "{told}");
}
