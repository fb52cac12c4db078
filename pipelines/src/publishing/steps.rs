//! What a fact asks for, and how the log is told what came of it. Pure.

use jiff::tz::TimeZone;
use schemas::Command;
use schemas::draws::{
    ImageFailed, ImageRendered, PostFailed, PostSucceeded, PublicationEvent, PublicationFact, PublicationKind,
};
use sinks::announcement::{Announcement, Locale, PrizeTier, escaped, plain};
use sinks::images::{ImageRequest, StoredImage};
use sinks::publishing::{Change, StepKey};
use sinks::social::{Image, Post};

/// Most bytes of a `command_id`.
const ID_BYTES_MAX: usize = 128;
/// Most bytes of a reason.
const REASON_BYTES_MAX: usize = 400;

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Rendered(StoredImage),
    Posted { external_id: String, attempts: i64 },
    Failed { reason: String, attempts: i64 },
}

/// The step a fact speaks of.
pub fn key(fact: &PublicationFact) -> StepKey {
    let (tenant, draw) = (escaped(&fact.tenant), escaped(&fact.draw_id));
    let what = match &fact.channel {
        Some(channel) => escaped(channel),
        None => format!("{}/{}", escaped(&fact.template), escaped(&fact.locale)),
    };
    let step = format!("{}:{tenant}/{draw}/{}/{what}", fact.kind, fact.revision);
    StepKey { step, round: i64::from(fact.round) }
}

/// What is to be recorded of a fact, if anything.
pub fn change(fact: &PublicationFact) -> Option<Change> {
    match fact.event {
        PublicationEvent::Requested => {
            let request = serde_json::to_string(fact).expect("a fact is plain data");
            Some(Change::Add { key: key(fact), request })
        }
        PublicationEvent::Superseded => Some(Change::Cancel { step: key(fact).step }),
        PublicationEvent::Ready
        | PublicationEvent::Posted
        | PublicationEvent::Failed
        | PublicationEvent::Skipped => None,
    }
}

/// The command that tells an outcome. The same outcome at the same time is the same command.
pub fn command(fact: &PublicationFact, outcome: &Outcome, at_ms: i64) -> Command {
    let key = key(fact);
    let id = |word: &str| command_id(&key, word).into();
    let (tenant, draw_id, revision, round) =
        (fact.tenant.clone(), fact.draw_id.clone(), fact.revision, fact.round);
    let (template, locale) = (fact.template.clone(), fact.locale.clone());
    let channel = fact.channel.clone().unwrap_or_default();
    match (outcome, fact.kind) {
        (Outcome::Rendered(image), _) => Command::ImageRendered(Box::new(ImageRendered {
            command_id: id("rendered"),
            tenant,
            draw_id,
            revision,
            template,
            locale,
            round,
            path: image.path.as_str().into(),
            sha256: image.sha256.as_str().into(),
            bytes: image.bytes as i64,
            at_ms,
        })),
        (Outcome::Posted { external_id, attempts }, _) => Command::PostSucceeded(Box::new(PostSucceeded {
            command_id: id("succeeded"),
            tenant,
            draw_id,
            revision,
            channel,
            round,
            external_id: external_id.as_str().into(),
            attempts: *attempts as i32,
            at_ms,
        })),
        (Outcome::Failed { reason, attempts }, PublicationKind::Image) => {
            let (reason, attempts) = (short(reason).into(), *attempts as i32);
            let command_id = id("failed");
            Command::ImageFailed(Box::new(ImageFailed {
                command_id,
                tenant,
                draw_id,
                revision,
                template,
                locale,
                round,
                reason,
                attempts,
                at_ms,
            }))
        }
        (Outcome::Failed { reason, attempts }, PublicationKind::Post) => {
            let (reason, attempts) = (short(reason).into(), *attempts as i32);
            let command_id = id("failed");
            Command::PostFailed(Box::new(PostFailed {
                command_id,
                tenant,
                draw_id,
                revision,
                channel,
                round,
                reason,
                attempts,
                at_ms,
            }))
        }
    }
}

fn command_id(key: &StepKey, word: &str) -> String {
    use sha2::{Digest as _, Sha256};
    let whole = format!("{}/{}:{word}", key.step, key.round);
    if whole.len() <= ID_BYTES_MAX {
        return whole;
    }
    let kind = key.step.split(':').next().unwrap_or_default();
    let digest = sinks::embedded::hex(&Sha256::digest(key.step.as_bytes()));
    format!("{kind}:{digest}/{}:{word}", key.round)
}

fn short(reason: &str) -> String {
    let mut end = reason.len().min(REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason[..end].to_owned()
}

/// The result a fact speaks of.
pub fn announcement(fact: &PublicationFact) -> Announcement {
    let wide = |numbers: &[i32]| numbers.iter().map(|n| i64::from(*n)).collect();
    let tier = |prize: &schemas::draws::DigitPrize| PrizeTier {
        tier: prize.tier.to_string(),
        numbers: prize.numbers.iter().map(ToString::to_string).collect(),
    };
    Announcement {
        tenant: fact.tenant.to_string(),
        draw_id: fact.draw_id.to_string(),
        revision: i64::from(fact.revision),
        supersedes: fact.supersedes.map(i64::from),
        game: fact.game.to_string(),
        numbers: wide(&fact.numbers),
        bonus: wide(&fact.bonus),
        prizes: fact.prizes.iter().map(tier).collect(),
        // A result without its time is as old as the decision.
        drawn_at_ms: fact.drawn_at_ms.unwrap_or(fact.at_ms),
        jackpot_minor: fact.jackpot_minor,
        currency: fact.currency.as_ref().map(ToString::to_string),
    }
}

/// The image a fact asks for.
pub fn image_request(fact: &PublicationFact) -> ImageRequest {
    ImageRequest {
        result: announcement(fact),
        template: fact.template.to_string(),
        locale: fact.locale.to_string(),
    }
}

/// The post a fact asks for. Its key is the same in every round: what a network recognises stays recognised.
pub fn post_of(
    fact: &PublicationFact,
    title: &str,
    locale: &Locale,
    zone: &TimeZone,
    image: Option<Image>,
) -> Post {
    let result = announcement(fact);
    let lines = plain(&result, title, locale, zone);
    Post {
        key: key(fact).step,
        requested_at_ms: fact.at_ms,
        result,
        lines,
        locale: fact.locale.to_string(),
        image,
    }
}

/// What a channel's secret is called in the settings.
pub fn secret_name(tenant: &str, channel: &str) -> String {
    format!("{}/{}", escaped(tenant), escaped(channel))
}
