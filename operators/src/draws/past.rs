//! What was so before the newest revision: words an operator overruled, and posts of earlier revisions.
//!
//! ```text
//!   correct_result ── what sources say ──> overruled ── the source says something else ──> heard again
//!                                              └─ the same ──> no news
//!   a new revision ── posts that were asked for ──> superseded ── post_succeeded ──> posted, told and gone
//!                                                       └─ post_failed ──> superseded still, with the reason
//! ```
//!
//! A feed sends its whole file again and again. Were what it said before a correction counted once more, a draw that
//! needs one source would fall back to the error at the next poll. So a source that was overruled is heard again once it says something
//! else; from then on its newest word counts, whatever it is.
//!
//! A post that was asked for may be out though its result was corrected meanwhile: its row shows what really happened.
//! Nothing of it is asked for again.

use super::Published;
use super::ground::Ground;
use super::quorum::Quorum;
use super::result::Drawn;
use super::steps::Post;
use super::tell::Teller;
use crate::keys::Scoped;
use crate::messages::{CommandMsg, Output};
use runtime::{KeyedState, Millis};
use schemas::draws::{Draw, PublicationEvent, PublicationStatus};
use schemas::{Command, Text};
use serde::{Deserialize, Serialize};

/// Of one draw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Past {
    overruled: Quorum,
    superseded: Vec<Superseded>,
}

/// Posts of an earlier revision whose outcome may still come.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Superseded {
    published: Published,
    posts: Vec<Post>,
}

/// The past of one draw; most have none.
pub struct PastOf<'a> {
    pasts: &'a mut KeyedState<Scoped, Past>,
    draw: &'a Scoped,
}

impl<'a> PastOf<'a> {
    pub fn new(pasts: &'a mut KeyedState<Scoped, Past>, draw: &'a Scoped) -> Self {
        PastOf { pasts, draw }
    }

    fn change(&mut self) -> &mut Past {
        self.pasts.get_or_insert_with(self.draw, Past::default)
    }

    /// An operator knows better.
    pub fn overrule(&mut self, words: Quorum) {
        if !words.is_empty() {
            self.change().overruled.take_over(words);
        }
    }

    /// Whether a source says what an operator overruled, as the row reads it.
    pub fn repeats(&self, row: &Draw, source: &Text, drawn: &Drawn) -> bool {
        self.pasts.get(self.draw).is_some_and(|past| past.overruled.said(row, source).as_ref() == Some(drawn))
    }

    /// When a source said what an operator overruled.
    pub fn heard_of(&self, source: &Text) -> Option<Millis> {
        self.pasts.get(self.draw)?.overruled.heard_of(source)
    }

    /// A source says something else.
    pub fn forget(&mut self, source: &Text) {
        if self.pasts.get(self.draw).is_some_and(|past| past.overruled.knows(source)) {
            self.change().overruled.forget(source);
        }
    }

    /// A newer revision takes the place of what was asked for.
    pub fn supersede(&mut self, published: &Published, posts: Vec<Post>) {
        if !posts.is_empty() {
            self.change().superseded.push(Superseded { published: published.clone(), posts });
        }
    }

    /// What a post of an earlier revision came to.
    pub fn outcome(&mut self, message: &CommandMsg, teller: &Teller) -> Vec<Output> {
        let (revision, channel) = match &message.command {
            Command::PostSucceeded(c) => (c.revision, &c.channel),
            Command::PostFailed(c) if message.retry_of.is_none() => (c.revision, &c.channel),
            _ => return Vec::new(),
        };
        let Some(past) = self.pasts.get(self.draw) else { return Vec::new() };
        let of_it = |superseded: &Superseded| superseded.published.revision == revision;
        let Some(number) = past.superseded.iter().position(of_it) else { return Vec::new() };
        let of_channel = |post: &Post| post.channel.channel_id == *channel;
        let Some(place) = past.superseded[number].posts.iter().position(of_channel) else {
            return Vec::new();
        };
        let Superseded { published, posts } = &mut self.change().superseded[number];
        let Some(event) = posts[place].ends_late(&message.command) else { return Vec::new() };
        let post = posts[place].clone();
        if event == PublicationEvent::Posted {
            posts.remove(place);
        }
        let ground = Ground { teller, published: &published.clone(), now: 0 };
        vec![ground.post(&post, event, None), ground.row(&post)]
    }
}

impl Post {
    /// Notes the outcome of what a newer revision took the place of: what is to be told, if it is news.
    fn ends_late(&mut self, outcome: &Command) -> Option<PublicationEvent> {
        match outcome {
            Command::PostSucceeded(c) => {
                self.status = PublicationStatus::Posted;
                (self.attempts, self.external_id, self.reason) =
                    (c.attempts, Some(c.external_id.clone()), None);
                Some(PublicationEvent::Posted)
            }
            Command::PostFailed(c) if c.round == self.round && self.reason.as_ref() != Some(&c.reason) => {
                (self.attempts, self.reason) = (c.attempts, Some(c.reason.clone()));
                Some(PublicationEvent::Superseded)
            }
            _ => None,
        }
    }
}
