//! The way of a result to the public: an image for each template and locale, then a post for each channel.
//!
//! ```text
//!   image   requested ── image_rendered ──> ready ──> its posts are requested, or skipped where they are too old
//!                     └─ image_failed ───> failed, a dead letter
//!   post    waiting ──> requested ── post_succeeded ──> posted
//!                                 └─ post_failed ────> failed, a dead letter
//!   republish_draw, or the dead letter retried: failed, skipped ──> requested, one round further
//!   a new revision: whatever is open ──> superseded
//! ```
//!
//! Kept for the newest revision only; what comes of earlier ones is told by `past`. An outcome names the round it answers: a failure of an earlier round is
//! history, a success is one whatever the round; one for a step that has ended changes nothing.

use super::Published;
use super::ground::Ground;
use super::tell::Teller;
use crate::messages::{CommandMsg, Output};
use crate::settings::Settings;
use runtime::Millis;
use schemas::draws::{Channel, Network, PublicationEvent, PublicationStatus};
use schemas::{Command, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Every step of the newest revision.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Steps {
    images: Vec<Image>,
    posts: Vec<Post>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Image {
    pub(super) template: Text,
    pub(super) locale: Text,
    pub(super) round: i32,
    pub(super) path: Text,
    pub(super) state: ImageState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ImageState {
    Requested,
    Ready { sha256: Text, bytes: i64 },
    Failed,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Post {
    /// As it was when the step was made.
    pub(super) channel: Channel,
    /// 0 before the first request.
    pub(super) round: i32,
    pub(super) status: PublicationStatus,
    pub(super) attempts: i32,
    pub(super) external_id: Option<Text>,
    pub(super) reason: Option<Text>,
}

/// Why a command is no step forward.
pub enum Trouble {
    /// It changes nothing, and somebody has to know.
    Refused(String),
    /// A step failed for good.
    Failed { told: Vec<Output>, reason: String },
}

impl Steps {
    /// A new revision: what is open of the last one ends, and every image is requested.
    pub fn begin(
        &mut self,
        channels: &[Channel],
        settings: &Settings,
        teller: &Teller,
        (last, published): (Option<&Published>, &Published),
    ) -> Vec<Output> {
        let ended = std::mem::take(self);
        let mut told =
            last.map(|last| ended.supersede(&Ground { teller, published: last, now: 0 })).unwrap_or_default();
        let ground = Ground { teller, published, now: 0 };
        for template in &settings.publish_templates {
            for locale in &settings.publish_locales {
                told.extend(self.add_image(template, locale, &ground));
            }
        }
        channels.iter().for_each(|channel| told.extend(self.add_channel(channel, &ground)));
        told
    }

    /// Posts that were asked for and aren't known to be out, as a newer revision leaves them.
    pub fn asked(&self) -> Vec<Post> {
        let asked =
            self.posts.iter().filter(|post| post.round > 0 && post.status != PublicationStatus::Posted);
        asked.map(|post| Post { status: PublicationStatus::Superseded, ..post.clone() }).collect()
    }

    /// Ends what is open.
    fn supersede(self, ground: &Ground<'_>) -> Vec<Output> {
        let open = |image: &&Image| !matches!(image.state, ImageState::Ready { .. });
        let images = self.images.iter().filter(open);
        let mut told: Vec<Output> =
            images.map(|image| ground.image(image, PublicationEvent::Superseded, 0, None)).collect();
        for mut post in self.posts {
            if post.status != PublicationStatus::Posted {
                post.status = PublicationStatus::Superseded;
                told.push(ground.post(&post, PublicationEvent::Superseded, None));
                told.push(ground.row(&post));
            }
        }
        told
    }

    fn add_image(&mut self, template: &Text, locale: &Text, ground: &Ground<'_>) -> Vec<Output> {
        if self.images.iter().any(|image| image.is(template, locale)) {
            return Vec::new();
        }
        let path = ground.path(template, locale);
        let (template, locale) = (template.clone(), locale.clone());
        let image = Image { template, locale, round: 1, path, state: ImageState::Requested };
        let told = ground.image(&image, PublicationEvent::Requested, 0, None);
        self.images.push(image);
        vec![told]
    }

    fn add_channel(&mut self, channel: &Channel, ground: &Ground<'_>) -> Vec<Output> {
        let mut told = self.add_image(&channel.template, &channel.locale, ground);
        let post = Post {
            channel: channel.clone(),
            round: 0,
            status: PublicationStatus::Waiting,
            attempts: 0,
            external_id: None,
            reason: None,
        };
        told.push(ground.row(&post));
        self.posts.push(post);
        told
    }

    /// Takes an outcome, or a wish to publish once more.
    pub fn take(
        &mut self,
        message: &CommandMsg,
        channels: &[Channel],
        ground: &Ground<'_>,
        settings: &Settings,
    ) -> Result<Vec<Output>, Trouble> {
        let retried = message.retry_of.is_some();
        let newest = ground.published.revision;
        if let Some(revision) = revision_of(&message.command).filter(|revision| *revision != newest) {
            assert!(revision > newest, "earlier ones are of the past");
            return Err(Trouble::Refused(format!("unknown_revision: {revision} is not published")));
        }
        match &message.command {
            Command::RepublishDraw(c) => self.republish(c.channel.as_ref(), channels, ground),
            Command::ImageRendered(c) => {
                let stored = (&c.path, &c.sha256, c.bytes);
                self.rendered((&c.template, &c.locale), stored, ground, settings.publish_max_age_ms)
            }
            Command::ImageFailed(c) if retried => {
                let number = self.image((&c.template, &c.locale))?;
                Ok(self.request_image(number, ground).into_iter().collect())
            }
            Command::ImageFailed(c) => {
                self.image_failed((&c.template, &c.locale), (c.round, c.attempts), &c.reason, ground)
            }
            Command::PostSucceeded(c) => self.posted(&c.channel, c.attempts, &c.external_id, ground),
            Command::PostFailed(c) if retried => {
                let number = self.post(&c.channel)?;
                Ok(self.request_again(number, ground))
            }
            Command::PostFailed(c) => self.post_failed(&c.channel, (c.round, c.attempts), &c.reason, ground),
            other => unreachable!("{} is no step of a publication", other.record_name()),
        }
    }

    fn image(&self, (template, locale): (&Text, &Text)) -> Result<usize, Trouble> {
        let found = self.images.iter().position(|image| image.is(template, locale));
        found.ok_or_else(|| {
            Trouble::Refused(format!("unknown_step: there is no image {template} in {locale}"))
        })
    }

    fn post(&self, channel: &Text) -> Result<usize, Trouble> {
        let found = self.posts.iter().position(|post| post.channel.channel_id == *channel);
        found.ok_or_else(|| Trouble::Refused(format!("unknown_step: there is no post on channel {channel}")))
    }

    fn rendered(
        &mut self,
        which: (&Text, &Text),
        (path, sha256, bytes): (&Text, &Text, i64),
        ground: &Ground<'_>,
        age_ms_max: Millis,
    ) -> Result<Vec<Output>, Trouble> {
        let number = self.image(which)?;
        let image = &mut self.images[number];
        if matches!(image.state, ImageState::Ready { .. }) {
            return Ok(Vec::new());
        }
        image.state = ImageState::Ready { sha256: sha256.clone(), bytes };
        image.path = path.clone();
        let image = image.clone();
        let mut told = vec![ground.image(&image, PublicationEvent::Ready, 0, None)];
        let old = ground.now.saturating_sub(ground.drawn_at()) > age_ms_max;
        let waiting = |post: &&mut Post| post.status == PublicationStatus::Waiting && post.of(&image);
        for post in self.posts.iter_mut().filter(waiting) {
            let event = if old { post.skip(age_ms_max) } else { post.request() };
            told.push(ground.post(post, event, Some(&image)));
            told.push(ground.row(post));
        }
        Ok(told)
    }

    fn image_failed(
        &mut self,
        which: (&Text, &Text),
        (round, attempts): (i32, i32),
        reason: &Text,
        ground: &Ground<'_>,
    ) -> Result<Vec<Output>, Trouble> {
        let number = self.image(which)?;
        let image = &mut self.images[number];
        if image.state != ImageState::Requested || image.round != round {
            return Ok(Vec::new());
        }
        image.state = ImageState::Failed;
        let image = image.clone();
        let mut told = vec![ground.image(&image, PublicationEvent::Failed, attempts, Some(reason))];
        let waiting = |post: &&mut Post| post.status == PublicationStatus::Waiting && post.of(&image);
        for post in self.posts.iter_mut().filter(waiting) {
            post.reason = Some(Text::from(format!("its image failed: {reason}")));
            told.push(ground.row(post));
        }
        let (template, locale) = which;
        let reason = format!("image_failed: {template} in {locale}, round {round}: {reason}; retry it");
        Err(Trouble::Failed { told, reason })
    }

    fn posted(
        &mut self,
        channel: &Text,
        attempts: i32,
        external_id: &Text,
        ground: &Ground<'_>,
    ) -> Result<Vec<Output>, Trouble> {
        let number = self.post(channel)?;
        let post = &mut self.posts[number];
        // What waits was never asked for; whatever was may have succeeded after all.
        if matches!(post.status, PublicationStatus::Posted | PublicationStatus::Waiting) {
            return Ok(Vec::new());
        }
        post.status = PublicationStatus::Posted;
        (post.attempts, post.external_id, post.reason) = (attempts, Some(external_id.clone()), None);
        Ok(self.tell_post(number, PublicationEvent::Posted, ground))
    }

    fn post_failed(
        &mut self,
        channel: &Text,
        (round, attempts): (i32, i32),
        reason: &Text,
        ground: &Ground<'_>,
    ) -> Result<Vec<Output>, Trouble> {
        let number = self.post(channel)?;
        let post = &mut self.posts[number];
        if post.status != PublicationStatus::Requested || post.round != round {
            return Ok(Vec::new());
        }
        post.status = PublicationStatus::Failed;
        (post.attempts, post.reason) = (attempts, Some(reason.clone()));
        let told = self.tell_post(number, PublicationEvent::Failed, ground);
        let reason = format!("post_failed: channel {channel}, round {round}: {reason}; retry it");
        Err(Trouble::Failed { told, reason })
    }

    fn tell_post(&self, number: usize, event: PublicationEvent, ground: &Ground<'_>) -> Vec<Output> {
        let post = &self.posts[number];
        let image = self.images.iter().find(|image| post.of(image));
        vec![ground.post(post, event, image), ground.row(post)]
    }

    /// A failed image, once more.
    fn request_image(&mut self, number: usize, ground: &Ground<'_>) -> Option<Output> {
        let image = &mut self.images[number];
        if image.state != ImageState::Failed {
            return None;
        }
        (image.state, image.round) = (ImageState::Requested, image.round + 1);
        Some(ground.image(image, PublicationEvent::Requested, 0, None))
    }

    /// A failed or skipped post, once more, however old.
    fn request_again(&mut self, number: usize, ground: &Ground<'_>) -> Vec<Output> {
        let post = &mut self.posts[number];
        if !matches!(post.status, PublicationStatus::Failed | PublicationStatus::Skipped) {
            return Vec::new();
        }
        let event = post.request();
        self.tell_post(number, event, ground)
    }

    /// Everything that failed or was skipped, and channels that were added since. What may be there is posted
    /// again only where somebody names the channel, having looked.
    fn republish(
        &mut self,
        only: Option<&Text>,
        channels: &[Channel],
        ground: &Ground<'_>,
    ) -> Result<Vec<Output>, Trouble> {
        let mut told = Vec::new();
        let wanted = |channel: &Channel| only.is_none_or(|only| channel.channel_id == *only);
        let channels: BTreeSet<(&Text, &Text)> = {
            for channel in channels.iter().filter(|channel| wanted(channel)) {
                if self.post(&channel.channel_id).is_err() {
                    told.extend(self.add_late(channel, ground));
                }
            }
            channels.iter().filter(|c| wanted(c)).map(|c| (&c.template, &c.locale)).collect()
        };
        for number in 0..self.images.len() {
            let image = &self.images[number];
            if only.is_none() || channels.contains(&(&image.template, &image.locale)) {
                told.extend(self.request_image(number, ground));
            }
        }
        for number in 0..self.posts.len() {
            let post = &self.posts[number];
            if wanted(&post.channel) && (only.is_some() || !post.is_unknown()) {
                told.extend(self.request_again(number, ground));
            }
        }
        if told.is_empty() {
            let why = "nothing_to_republish: no step failed or was skipped, but for posts that may be there \
                       (`unknown:`): name their channel; look at `tombola draws show`";
            return Err(Trouble::Refused(why.to_owned()));
        }
        Ok(told)
    }

    /// A channel that wasn't there when the result was published.
    fn add_late(&mut self, channel: &Channel, ground: &Ground<'_>) -> Vec<Output> {
        let mut told = self.add_channel(channel, ground);
        let post = self.posts.last_mut().expect("just added");
        let ready = |image: &&Image| post.of(image) && matches!(image.state, ImageState::Ready { .. });
        if let Some(image) = self.images.iter().find(ready) {
            let event = post.request();
            told.extend([ground.post(post, event, Some(image)), ground.row(post)]);
        }
        told
    }
}

/// The revision an outcome is of.
pub fn revision_of(command: &Command) -> Option<i32> {
    match command {
        Command::ImageRendered(c) => Some(c.revision),
        Command::ImageFailed(c) => Some(c.revision),
        Command::PostSucceeded(c) => Some(c.revision),
        Command::PostFailed(c) => Some(c.revision),
        _ => None,
    }
}

impl Image {
    fn is(&self, template: &str, locale: &str) -> bool {
        self.template == template && self.locale == locale
    }
}

impl Post {
    fn of(&self, image: &Image) -> bool {
        image.is(&self.channel.template, &self.channel.locale)
    }

    /// Whether it may be there, on a network that neither recognises it nor can be asked.
    fn is_unknown(&self) -> bool {
        self.channel.network == Network::Telegram
            && self.status == PublicationStatus::Failed
            && self.reason.as_ref().is_some_and(|reason| reason.starts_with("unknown:"))
    }

    fn request(&mut self) -> PublicationEvent {
        (self.status, self.round, self.attempts) = (PublicationStatus::Requested, self.round + 1, 0);
        self.reason = None;
        PublicationEvent::Requested
    }

    fn skip(&mut self, age_ms_max: Millis) -> PublicationEvent {
        self.status = PublicationStatus::Skipped;
        self.reason = Some(Text::from(format!("drawn more than {age_ms_max} ms ago")));
        PublicationEvent::Skipped
    }
}
