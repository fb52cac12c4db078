//! One draw in four templates and three locales to twenty channels, one of them dead: the others don't notice.

use super::server::{Kind, Server};
use super::world::{PATIENCE, World, image, post_of, said};
use pipelines::publishing::Publisher;
use schemas::Command;
use schemas::draws::PublicationFact;
use std::collections::BTreeMap;

const CHANNELS: usize = 20;
const DEAD: usize = 7;

struct Fan {
    world: World,
    servers: Vec<Server>,
    names: Vec<String>,
    _dir: tempfile::TempDir,
}

fn fan() -> Fan {
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::at(dir.path());
    let kinds = [Kind::Mastodon, Kind::Telegram, Kind::Webhook];
    let servers: Vec<Server> = (0..CHANNELS).map(|n| Server::start(kinds[n % 3])).collect();
    let names: Vec<String> = (0..CHANNELS).map(|n| format!("channel-{n:02}")).collect();
    let known: Vec<(&str, &Server)> = names.iter().map(String::as_str).zip(&servers).collect();
    world.know(&known);
    Fan { world, servers, names, _dir: dir }
}

fn images() -> Vec<PublicationFact> {
    let templates = ["card", "square", "story", "banner"];
    let locales = ["en", "vi", "pt"];
    templates.iter().flat_map(|template| locales.map(|locale| image("D-1", template, locale))).collect()
}

impl Fan {
    /// Does what the dataflow does: asks for the images, and for the posts whose images are there.
    fn publish(&mut self, publisher: &Publisher) -> BTreeMap<String, PublicationFact> {
        let images = images();
        self.world.tell(&images);
        // Reading the log again and again would take the processor from those who draw.
        let drawn = images.len() as u64;
        assert!(publisher.status().wait(PATIENCE, |figures| figures.images_rendered == drawn));
        let sha256: BTreeMap<String, String> = self
            .world
            .wait_told(images.len())
            .iter()
            .map(|command| match command {
                Command::ImageRendered(c) => (c.path.to_string(), c.sha256.to_string()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sha256.len(), images.len(), "each has a place of its own");
        let post = |n: usize| {
            let image = &images[n % images.len()];
            let fact = post_of(image, &self.names[n], &self.servers[n], &sha256[image.image.as_str()]);
            (self.names[n].clone(), fact)
        };
        let posts: BTreeMap<String, PublicationFact> = (0..CHANNELS).map(post).collect();
        self.world.tell(&posts.values().cloned().collect::<Vec<_>>());
        posts
    }

    /// Until all but the dead one are out.
    fn wait_others(&self, publisher: &Publisher) {
        let others = CHANNELS as u64 - 1;
        assert!(publisher.status().wait(PATIENCE, |figures| figures.posts_succeeded == others));
    }

    fn shown(&self) -> Vec<usize> {
        self.servers.iter().map(|server| server.shown().len()).collect()
    }
}

fn all_but_the_dead() -> Vec<usize> {
    (0..CHANNELS).map(|n| usize::from(n != DEAD)).collect()
}

#[test]
fn a_dead_channel_blocks_no_other_and_is_parked_and_resumed() {
    let mut fan = fan();
    fan.world.settings.attempts = 2;
    fan.servers[DEAD].die(true);
    assert_eq!(fan.servers[DEAD].kind, Kind::Telegram);
    let publisher = fan.world.publisher();
    let posts = fan.publish(&publisher);
    fan.wait_others(&publisher);
    assert_eq!(fan.shown(), all_but_the_dead());
    let told = fan.world.wait_told(12 + CHANNELS);
    let parked: Vec<String> = told.iter().map(said).filter(|said| said.contains("failed")).collect();
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert!(parked[0].starts_with("channel-07 failed"), "{parked:?}");
    fan.servers[DEAD].die(false);
    let again = PublicationFact { round: 2, ..posts["channel-07"].clone() };
    fan.world.tell(&[again]);
    let told = fan.world.wait_told(12 + CHANNELS + 1);
    assert!(told.iter().any(|command| said(command).starts_with("channel-07 posted as 1")), "{told:?}");
    assert_eq!(fan.shown(), [1; CHANNELS]);
}

#[test]
fn a_year_of_old_results_holds_up_no_image_of_a_fresh_one() {
    const OLD: u64 = 120;
    let dir = tempfile::tempdir().unwrap();
    let mut world = World::at(dir.path());
    let old_ms = pipelines::clock_ms() - 2 * world.settings.publish_max_age_ms;
    let old =
        |n| PublicationFact { drawn_at_ms: Some(old_ms), ..image(&format!("old-{n:03}"), "card", "en") };
    let old: Vec<PublicationFact> = (0..OLD).map(old).collect();
    let publisher = world.publisher();
    world.tell(&old);
    assert!(publisher.status().wait(PATIENCE, |figures| figures.images_rendered > 1));
    let fresh = PublicationFact { drawn_at_ms: Some(pipelines::clock_ms()), ..image("fresh", "card", "en") };
    world.tell(&[fresh]);
    let before = publisher.status().get().images_rendered;
    // And all the old ones come.
    world.wait_told(OLD as usize + 1);
    // By the times of the files: whoever looks on at a busy machine comes too late to see which was first.
    let drawn_at = |draw: &str| {
        let path = dir.path().join(format!("images/acme/powerball/{draw}/card/en/r1.png"));
        std::fs::metadata(path).unwrap().modified().unwrap()
    };
    let fresh_at = drawn_at("fresh");
    let sooner = (0..OLD).filter(|n| drawn_at(&format!("old-{n:03}")) < fresh_at).count() as u64;
    assert!(sooner < before + OLD / 2, "the fresh one came after {sooner} of {OLD} old ones");
}
