//! What is told of a step: its fact, its row, where its image lies.

use super::Published;
use super::steps::{Image, ImageState, Post};
use super::tell::Teller;
use crate::messages::Output;
use runtime::Millis;
use schemas::draws::{PublicationEvent, PublicationFact, PublicationKind, PublicationRow};
use schemas::{Fact, Row, Text};
use std::fmt::Write as _;

/// What steps stand on.
pub struct Ground<'a> {
    pub teller: &'a Teller,
    pub published: &'a Published,
    pub now: Millis,
}

impl Ground<'_> {
    pub fn drawn_at(&self) -> Millis {
        self.published.drawn_at_ms.unwrap_or(self.teller.closes_at_ms)
    }

    /// `<tenant>/<game>/<draw>/<template>/<locale>/r<revision>.png`.
    pub fn path(&self, template: &str, locale: &str) -> Text {
        let parts = [&self.teller.tenant, &self.teller.game, &self.teller.draw_id].map(Text::as_str);
        let folders = parts.into_iter().chain([template, locale]).map(escaped).collect::<Vec<_>>();
        Text::from(format!("{}/r{}.png", folders.join("/"), self.published.revision))
    }

    fn fact(&self, template: &Text, locale: &Text, event: PublicationEvent) -> PublicationFact {
        let Published { revision, drawn, jackpot_minor, currency, .. } = self.published.clone();
        PublicationFact {
            tenant: self.teller.tenant.clone(),
            draw_id: self.teller.draw_id.clone(),
            revision,
            kind: PublicationKind::Image,
            template: template.clone(),
            locale: locale.clone(),
            channel: None,
            event,
            round: 1,
            attempts: 0,
            game: self.teller.game.clone(),
            numbers: drawn.numbers,
            bonus: drawn.bonus,
            prizes: drawn.prizes,
            drawn_at_ms: Some(self.drawn_at()),
            jackpot_minor,
            currency: currency.or_else(|| Some(self.teller.currency.clone())),
            image: self.path(template, locale),
            sha256: None,
            bytes: None,
            network: None,
            endpoint: None,
            target: None,
            supersedes: (revision > 1).then_some(revision - 1),
            external_id: None,
            reason: None,
            at_ms: self.teller.at_ms,
            cause: self.teller.cause().clone(),
        }
    }

    pub fn image(
        &self,
        image: &Image,
        event: PublicationEvent,
        attempts: i32,
        reason: Option<&Text>,
    ) -> Output {
        let mut fact = self.fact(&image.template, &image.locale, event);
        (fact.round, fact.attempts, fact.reason) = (image.round, attempts, reason.cloned());
        fact.put_image(image);
        Output::Fact(Fact::Publication(Box::new(fact)))
    }

    pub fn post(&self, post: &Post, event: PublicationEvent, image: Option<&Image>) -> Output {
        let channel = &post.channel;
        let mut fact = self.fact(&channel.template, &channel.locale, event);
        fact.kind = PublicationKind::Post;
        fact.channel = Some(channel.channel_id.clone());
        (fact.round, fact.attempts) = (post.round, post.attempts);
        (fact.external_id, fact.reason) = (post.external_id.clone(), post.reason.clone());
        fact.network = Some(channel.network);
        fact.endpoint = Some(channel.endpoint.clone());
        fact.target = Some(channel.target.clone());
        image.into_iter().for_each(|image| fact.put_image(image));
        Output::Fact(Fact::Publication(Box::new(fact)))
    }

    pub fn row(&self, post: &Post) -> Output {
        let channel = &post.channel;
        Output::Row(Row::Publication(Box::new(PublicationRow {
            tenant: self.teller.tenant.clone(),
            draw_id: self.teller.draw_id.clone(),
            revision: self.published.revision,
            channel: channel.channel_id.clone(),
            network: channel.network.as_str().into(),
            template: channel.template.clone(),
            locale: channel.locale.clone(),
            status: post.status,
            round: post.round,
            attempts: post.attempts,
            external_id: post.external_id.clone(),
            image: self.path(&channel.template, &channel.locale),
            reason: post.reason.clone(),
            at_ms: self.teller.at_ms,
        })))
    }
}

trait PutImage {
    fn put_image(&mut self, image: &Image);
}

impl PutImage for PublicationFact {
    fn put_image(&mut self, image: &Image) {
        self.image = image.path.clone();
        if let ImageState::Ready { sha256, bytes } = &image.state {
            (self.sha256, self.bytes) = (Some(sha256.clone()), Some(*bytes));
        }
    }
}

/// A part of a path that names the same thing in any object store: letters, digits, `-`, `_` and inner dots stay.
fn escaped(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            b'.' if !out.is_empty() => out.push('.'),
            other => write!(out, "%{other:02X}").expect("a String takes everything"),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn parts_of_a_path_stay_apart() {
        for (part, wanted) in
            [("6aus49", "6aus49"), ("a/b", "a%2Fb"), ("..", "%2E."), ("v1.2", "v1.2"), ("ü%", "%C3%BC%25")]
        {
            assert_eq!(escaped(part), wanted);
        }
    }
}
