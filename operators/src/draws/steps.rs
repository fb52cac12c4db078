//! The way of a result to the public: an image for each template and locale, then a post for each channel.
//!
//! ```text
//!   image   requested ── image_rendered ──> ready ──> its posts are requested, or skipped where they are too old or
//!                     │                               their channel takes them no more
//!                     └─ image_failed ───> failed, a dead letter
//!   post    waiting ──> requested ── post_succeeded ──> posted
//!                                 └─ post_failed ────> failed, a dead letter
//!   republish_draw, or a post's dead letter retried: failed, skipped ──> requested, one round further
//!                                                                    └─ its image isn't there ──> waiting for it
//!   a new revision: whatever is open ──> superseded
//! ```
//!
//! What is asked for by hand is posted however old, and by the channel's row as it is then: its endpoint, its target, its
//! template. Nothing is asked of a channel that is paused or gone. A post that waits has round 0 while nobody has asked
//! for it, and the round it will be requested with from then on.
//!
//! Kept for the newest revision only; what comes of earlier ones is told by `past`. An outcome names the round it answers: a failure of an earlier round is
//! history, a success is one whatever the round; one for a step that has ended changes nothing.

use super::Published;
use super::ground::Ground;
use super::tell::Teller;
use crate::messages::{CommandMsg, Output};
use crate::settings::Settings;
use runtime::Millis;
use schemas::draws::{Channel, ChannelStatus, Network, PublicationEvent, PublicationStatus};
use schemas::{Command, Text};
use serde::{Deserialize, Serialize};

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
    /// As it was when the post was last asked for, or requested.
    pub(super) channel: Channel,
    /// 0 before anything asked for it.
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
        channels.iter().for_each(|channel| told.extend(self.add_channel(channel, 0, &ground)));
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

    /// `round`: 0, or 1 of one that is asked for by hand.
    fn add_channel(&mut self, channel: &Channel, round: i32, ground: &Ground<'_>) -> Vec<Output> {
        let mut told = self.add_image(&channel.template, &channel.locale, ground);
        let post = Post {
            channel: channel.clone(),
            round,
            status: PublicationStatus::Waiting,
            attempts: 0,
            external_id: None,
            reason: None,
        };
        told.push(ground.row(&post));
        self.posts.push(post);
        told
    }

    /// Takes an outcome, or a wish to publish once more. `channels`: all of the tenant's.
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
                let age_ms_max = settings.publish_max_age_ms;
                self.rendered((&c.template, &c.locale), stored, ground, (channels, age_ms_max))
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
                self.ask(number, channels, ground)
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
        (channels, age_ms_max): (&[Channel], Millis),
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
            let event = post.image_is_there(takes(channels, post, ground), old.then_some(age_ms_max));
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
        // What nobody has asked for isn't there; whatever was requested may have succeeded after all.
        let never = post.status == PublicationStatus::Waiting && post.round == 0;
        if never || post.status == PublicationStatus::Posted {
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

    /// The image for a post: asked for where there is none, or where it failed.
    fn want_image(&mut self, (template, locale): (&Text, &Text), ground: &Ground<'_>) -> Vec<Output> {
        match self.image((template, locale)) {
            Ok(number) => self.request_image(number, ground).into_iter().collect(),
            Err(_) => self.add_image(template, locale, ground),
        }
    }

    /// A post by hand, however old: as its channel is now, with the image that this one wants.
    fn ask(
        &mut self,
        number: usize,
        channels: &[Channel],
        ground: &Ground<'_>,
    ) -> Result<Vec<Output>, Trouble> {
        if !self.can_be_asked_for(number) {
            return Ok(Vec::new());
        }
        let channel = takes(channels, &self.posts[number], ground);
        let channel = channel.map_err(|why| {
            Trouble::Refused(format!(
                "channel_away: {why}; activate it, then retry this or republish the draw"
            ))
        })?;
        let mut told = self.want_image((&channel.template, &channel.locale), ground);
        self.posts[number].ask(channel);
        match self.request_if_ready(number, ground) {
            Some(requested) => told.extend(requested),
            None => told.push(ground.row(&self.posts[number])),
        }
        Ok(told)
    }

    /// Requests a post by hand, unless it waits for its image.
    fn request_if_ready(&mut self, number: usize, ground: &Ground<'_>) -> Option<Vec<Output>> {
        let post = &mut self.posts[number];
        let ready = |image: &Image| post.of(image) && matches!(image.state, ImageState::Ready { .. });
        if !self.images.iter().any(ready) {
            return None;
        }
        let event = post.request();
        Some(self.tell_post(number, event, ground))
    }

    /// What failed or was skipped, and what waits without anybody having asked for it, or for an image that failed.
    fn can_be_asked_for(&self, number: usize) -> bool {
        let post = &self.posts[number];
        let failed = |image: &Image| post.of(image) && image.state == ImageState::Failed;
        match post.status {
            PublicationStatus::Failed | PublicationStatus::Skipped => true,
            PublicationStatus::Waiting => post.round == 0 || self.images.iter().any(failed),
            _ => false,
        }
    }

    /// Everything that isn't out nor on its way, and channels that were added since. What may be there is posted
    /// again only where somebody names the channel, having looked. Channels that take nothing are left as they are.
    fn republish(
        &mut self,
        only: Option<&Text>,
        channels: &[Channel],
        ground: &Ground<'_>,
    ) -> Result<Vec<Output>, Trouble> {
        let mut told = Vec::new();
        let wanted = |channel: &Channel| only.is_none_or(|only| channel.channel_id == *only);
        for number in 0..self.posts.len() {
            let post = &self.posts[number];
            if !wanted(&post.channel) || (only.is_none() && post.is_unknown()) {
                continue;
            }
            match self.ask(number, channels, ground) {
                Ok(asked) => told.extend(asked),
                Err(refused) if only.is_some() => return Err(refused),
                Err(_) => {}
            }
        }
        for channel in channels.iter().filter(|channel| wanted(channel) && channel.takes(&ground.teller.game))
        {
            if self.post(&channel.channel_id).is_err() {
                told.extend(self.add_late(channel, ground));
            }
        }
        if only.is_none() {
            for number in 0..self.images.len() {
                told.extend(self.request_image(number, ground));
            }
        }
        if told.is_empty() {
            let why = "nothing_to_republish: no step failed or was skipped, but for posts that may be there \
                       (`unknown:`) and those of channels that are paused or gone: name their channel; look at \
                       `tombola draws show`";
            return Err(Trouble::Refused(why.to_owned()));
        }
        Ok(told)
    }

    /// A channel that wasn't there when the result was published.
    fn add_late(&mut self, channel: &Channel, ground: &Ground<'_>) -> Vec<Output> {
        let mut told = self.want_image((&channel.template, &channel.locale), ground);
        told.extend(self.add_channel(channel, 1, ground));
        told.extend(self.request_if_ready(self.posts.len() - 1, ground).into_iter().flatten());
        told
    }
}

/// A post's channel as it is now, or why it takes the post no more.
fn takes<'a>(channels: &'a [Channel], post: &Post, ground: &Ground<'_>) -> Result<&'a Channel, String> {
    let (id, game) = (&post.channel.channel_id, &ground.teller.game);
    match channels.iter().find(|channel| channel.channel_id == *id) {
        None => Err(format!("channel {id} is gone")),
        Some(channel) if channel.takes(game) => Ok(channel),
        Some(channel) if channel.status == ChannelStatus::Paused => Err(format!("channel {id} is paused")),
        Some(_) => Err(format!("channel {id} takes no draws of {game}")),
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

    /// By hand: it is requested as soon as its image is there. One that waits so already keeps its round.
    fn ask(&mut self, channel: &Channel) {
        if self.status != PublicationStatus::Waiting || self.round == 0 {
            self.round += 1;
        }
        (self.status, self.attempts, self.reason) = (PublicationStatus::Waiting, 0, None);
        self.channel = channel.clone();
    }

    /// `old`: the age that is too old, of a result that is. Nobody asked for what has no round.
    fn image_is_there(&mut self, channel: Result<&Channel, String>, old: Option<Millis>) -> PublicationEvent {
        match (channel, old.filter(|_| self.round == 0)) {
            (_, Some(age_ms_max)) => self.skip(format!("drawn more than {age_ms_max} ms ago")),
            (Err(why), None) => self.skip(format!("{why}; republish the draw once the channel takes it")),
            (Ok(channel), None) => {
                // The image is the one that was asked for; where it goes is for the channel to say.
                let Channel { template, locale, .. } = self.channel.clone();
                self.channel = Channel { template, locale, ..channel.clone() };
                self.request()
            }
        }
    }

    /// The image is there, and so is the channel.
    fn request(&mut self) -> PublicationEvent {
        let round = self.round.max(1);
        (self.status, self.round, self.attempts) = (PublicationStatus::Requested, round, 0);
        self.reason = None;
        PublicationEvent::Requested
    }

    fn skip(&mut self, reason: String) -> PublicationEvent {
        self.status = PublicationStatus::Skipped;
        self.reason = Some(Text::from(reason));
        PublicationEvent::Skipped
    }
}
