//! Generators of what is said of draws.

use super::{cause, currency, free, id, time};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use schemas::draws::*;
use schemas::{Command, Fact, Reference, Text};

fn prizes() -> impl Strategy<Value = Vec<DigitPrize>> {
    let digits = "[0-9]{1,6}".prop_map(Text::from);
    vec((id(), vec(digits, 0..3)).prop_map(|(tier, numbers)| DigitPrize { tier, numbers }), 0..3)
}

fn numbers() -> impl Strategy<Value = Vec<i32>> {
    vec(any::<i32>(), 0..8)
}

prop_compose! {
    fn report()(
        (command_id, tenant, draw_id, source) in (id(), id(), id(), id()),
        (numbers, bonus, prizes) in (numbers(), numbers(), prizes()),
        (jackpot_minor, currency, drawn_at_ms, reported_at_ms) in (any::<Option<i64>>(), of(currency()), time(), time()),
    ) -> ReportResult {
        ReportResult {
            command_id, tenant, draw_id, source, numbers, bonus, prizes, jackpot_minor, currency, drawn_at_ms,
            reported_at_ms,
        }
    }
}

prop_compose! {
    fn step()(
        (command_id, tenant, draw_id, template, locale) in (id(), id(), id(), id(), id()),
        (revision, round, attempts, bytes) in (1..i32::MAX, 1..i32::MAX, any::<i32>(), any::<i64>()),
        (path, sha256, reason, at_ms) in (free(), free(), free(), time()), failed in any::<bool>(),
    ) -> Command {
        if failed {
            return Command::ImageFailed(Box::new(ImageFailed {
                command_id, tenant, draw_id, revision, template, locale, round, reason, attempts, at_ms,
            }));
        }
        Command::ImageRendered(Box::new(ImageRendered {
            command_id, tenant, draw_id, revision, template, locale, round, path, sha256, bytes, at_ms,
        }))
    }
}

prop_compose! {
    fn post()(
        (command_id, tenant, draw_id, channel) in (id(), id(), id(), id()),
        (revision, round, attempts) in (1..i32::MAX, 1..i32::MAX, any::<i32>()),
        (external_id, reason, at_ms) in (free(), free(), time()), failed in any::<bool>(),
    ) -> Command {
        if failed {
            return Command::PostFailed(Box::new(PostFailed {
                command_id, tenant, draw_id, revision, channel, round, reason, attempts, at_ms,
            }));
        }
        Command::PostSucceeded(Box::new(PostSucceeded {
            command_id, tenant, draw_id, revision, channel, round, external_id, attempts, at_ms,
        }))
    }
}

pub fn command() -> BoxedStrategy<Command> {
    let corrected = (report(), free()).prop_map(|(c, reason)| {
        #[rustfmt::skip]
        let ReportResult {
            command_id, tenant, draw_id, numbers, bonus, prizes, jackpot_minor, currency, reported_at_ms, ..
        } = c;
        Command::CorrectResult(Box::new(CorrectResult {
            command_id,
            tenant,
            draw_id,
            numbers,
            bonus,
            prizes,
            jackpot_minor,
            currency,
            reason,
            requested_at_ms: reported_at_ms,
        }))
    });
    let again =
        (id(), id(), id(), of(id()), time()).prop_map(|(command_id, tenant, draw_id, channel, time)| {
            Command::RepublishDraw(Box::new(RepublishDraw {
                command_id,
                tenant,
                draw_id,
                channel,
                requested_at_ms: time,
            }))
        });
    prop_oneof![
        report().prop_map(|c| Command::ReportResult(Box::new(c))).boxed(),
        corrected.boxed(),
        again.boxed(),
        step().boxed(),
        post().boxed()
    ]
    .boxed()
}

prop_compose! {
    fn draw_fact()(
        (event, tenant, draw_id, revision, supersedes) in (select(DrawEvent::ALL), id(), id(), any::<i32>(), any::<Option<i32>>()),
        (game, numbers, bonus, prizes) in (of(id()), numbers(), numbers(), prizes()),
        (jackpot_minor, currency, drawn_at_ms, source, sources) in (any::<Option<i64>>(), of(currency()), of(time()), of(id()), vec(id(), 0..3)),
        said in vec((id(), numbers(), numbers(), prizes()), 0..3),
        tiers in vec((id(), any::<[i64; 3]>(), any::<Option<i64>>()), 0..3),
        (tickets, reason, at_ms, cause) in (any::<Option<i64>>(), of(free()), time(), cause()),
    ) -> Fact {
        let said = said.into_iter().map(|(source, numbers, bonus, prizes)| SourceSaid { source, numbers, bonus, prizes }).collect();
        let tiers = tiers.into_iter().map(|(tier, [winners, prize_minor, paid_minor], share_minor)| TierSettled { tier, winners, prize_minor, paid_minor, share_minor }).collect();
        Fact::Draw(Box::new(DrawFact {
            event, tenant, draw_id, revision, supersedes, game, numbers, bonus, prizes, jackpot_minor, currency,
            drawn_at_ms, source, sources, said, tiers, tickets, reason, at_ms, cause,
        }))
    }
}

prop_compose! {
    fn publication_fact()(
        (tenant, draw_id, revision, kind, template) in (id(), id(), any::<i32>(), select(PublicationKind::ALL), id()),
        (locale, channel, event, round, attempts) in (id(), of(id()), select(PublicationEvent::ALL), any::<i32>(), any::<i32>()),
        (game, numbers, bonus, prizes) in (id(), numbers(), numbers(), prizes()),
        (drawn_at_ms, jackpot_minor, currency, image, sha256) in (of(time()), any::<Option<i64>>(), of(currency()), id(), of(id())),
        (bytes, network, endpoint, target) in (any::<Option<i64>>(), of(select(Network::ALL)), of(id()), of(id())),
        (supersedes, external_id, reason, at_ms, cause) in (any::<Option<i32>>(), of(id()), of(free()), time(), cause()),
    ) -> Fact {
        Fact::Publication(Box::new(PublicationFact {
            tenant, draw_id, revision, kind, template, locale, channel, event, round, attempts, game, numbers, bonus,
            prizes, drawn_at_ms, jackpot_minor, currency, image, sha256, bytes, network, endpoint, target, supersedes,
            external_id, reason, at_ms, cause,
        }))
    }
}

prop_compose! {
    fn winning_fact()(
        (status, tenant, draw_id, revision) in (select(WinningStatus::ALL), id(), id(), any::<i32>()),
        (ticket_id, tier, order_id) in (id(), id(), id()),
        (amount_minor, currency, at_ms, cause) in (any::<i64>(), currency(), time(), cause()),
    ) -> Fact {
        Fact::Winning(Box::new(WinningFact {
            status, tenant, draw_id, revision, ticket_id, tier, order_id, amount_minor, currency, at_ms, cause,
        }))
    }
}

pub fn fact() -> BoxedStrategy<Fact> {
    // Boxed: what they make is large.
    prop_oneof![draw_fact().boxed(), publication_fact().boxed(), winning_fact().boxed()].boxed()
}

prop_compose! {
    fn draw()(
        (tenant, draw_id, game) in (id(), id(), id()),
        (main_count, main_min, main_max) in (0..=64_i32, 0..=10_i32, 10..=255_i32),
        (bonus_count, bonus_max, bonus_in_main, repeats) in (0..=64_i32, 0..=255_i32, any::<bool>(), any::<bool>()),
        (closes_at_ms, sources_required, currency, pool_minor) in (time(), 1..=64_i32, currency(), 0..i64::MAX),
        tiers in select(vec!["[]", r#"[{"tier":"1","main":5,"pool_bps":10}]"#, r#"[{"tier":"x","digits":6,"fixed_minor":5}]"#]),
    ) -> Reference {
        Reference::Draw(Box::new(Draw {
            tenant, draw_id, game, main_count, main_min, main_max, bonus_count, bonus_max, bonus_in_main, repeats,
            closes_at_ms, sources_required, currency, pool_minor: Some(pool_minor), prize_tiers: tiers.into(),
        }))
    }
}

prop_compose! {
    fn channel()(
        (tenant, channel_id, network, endpoint, target) in (id(), id(), select(Network::ALL), id(), free()),
        (template, locale, games, status) in (id(), id(), free(), select(ChannelStatus::ALL)),
    ) -> Reference {
        Reference::Channel(Box::new(Channel {
            tenant, channel_id, network, endpoint, target, template, locale, games, status,
        }))
    }
}

pub fn reference() -> BoxedStrategy<Reference> {
    prop_oneof![draw().boxed(), channel().boxed()].boxed()
}
