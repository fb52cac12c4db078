//! What becomes of reports and publications, as text tables: each story is told at one worker and at three, in one
//! epoch and in one epoch a line with a crash between any two, and must end the same.

mod rows;
mod steps;
mod words;

use super::*;
use crate::fixtures::{TENANT, delete, draw, record, settings, upsert};
use crate::harness::Course;
use runtime::{Class, Envelope};
use schemas::draws::*;
use schemas::{Command, Fact, Row, Text};

fn operator() -> Draws {
    Draws::new(Settings { publish_max_age_ms: 500, ..settings() })
}

fn numbers(text: &str) -> Vec<i32> {
    text.split(',').map(|number| number.parse().unwrap()).collect()
}

fn message(time: i64, command: Command, retried: bool) -> DrawsIn {
    let raw = Some(Box::from(command.record_name().as_bytes()));
    let retry_of = retried.then(|| Box::new(Text::from("commands/0/1")));
    let payload_hash = time as u64;
    DrawsIn::Command(CommandMsg { command, payload_hash, raw, retry_of })
}

const ENDPOINT: &str = "http://127.0.0.1/";

fn a_channel(id: &str) -> Channel {
    Channel {
        tenant: TENANT.into(),
        channel_id: id.into(),
        network: Network::Webhook,
        endpoint: ENDPOINT.into(),
        target: "all".into(),
        template: "result".into(),
        locale: "en".into(),
        games: "lotto".into(),
        status: ChannelStatus::Active,
    }
}

fn channel(channel: Channel) -> DrawsIn {
    DrawsIn::Channel(upsert(Reference::Channel(Box::new(channel))))
}

fn base(time: i64) -> (Text, Text, Text) {
    (format!("c{time}").into(), TENANT.into(), "d".into())
}

fn result(time: i64, words: &[&str]) -> Option<Command> {
    let (command_id, tenant, draw_id) = base(time);
    let (bonus, prizes, currency) = (Vec::new(), Vec::new(), None);
    Some(match words {
        ["report", source, drawn] => Command::ReportResult(Box::new(ReportResult {
            command_id,
            tenant,
            draw_id,
            source: (*source).into(),
            numbers: numbers(drawn),
            bonus,
            prizes,
            jackpot_minor: None,
            currency,
            drawn_at_ms: 100,
            reported_at_ms: time,
        })),
        ["correct", drawn, jackpot @ ..] => Command::CorrectResult(Box::new(CorrectResult {
            command_id,
            tenant,
            draw_id,
            numbers: numbers(drawn),
            bonus,
            prizes,
            jackpot_minor: jackpot.first().map(|minor| minor.parse().unwrap()),
            currency: jackpot.get(1).map(|&currency| currency.into()),
            reason: "typo".into(),
            requested_at_ms: time,
        })),
        ["republish", channel @ ..] => Command::RepublishDraw(Box::new(RepublishDraw {
            command_id,
            tenant,
            draw_id,
            channel: channel.first().map(|&channel| channel.into()),
            requested_at_ms: time,
        })),
        _ => return None,
    })
}

/// Of an image, `channel` is its template, or `-`.
fn outcome(time: i64, what: &str, revision: i32, channel: &str, round: i32) -> Command {
    let (command_id, tenant, draw_id) = base(time);
    let (template, locale) = (if channel == "-" { "result" } else { channel }.into(), "en".into());
    let reason = Text::from(if what == "lost" { "unknown: it may have been posted" } else { "broken" });
    let (channel, attempts, at_ms) = (channel.into(), 3, time);
    match what {
        "rendered" => Command::ImageRendered(Box::new(ImageRendered {
            command_id,
            tenant,
            draw_id,
            revision,
            template,
            locale,
            round,
            path: format!("p{revision}").into(),
            sha256: "s".into(),
            bytes: 9,
            at_ms,
        })),
        "unrendered" => Command::ImageFailed(Box::new(ImageFailed {
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
        })),
        "posted" => Command::PostSucceeded(Box::new(PostSucceeded {
            command_id,
            tenant,
            draw_id,
            revision,
            channel,
            round,
            external_id: "x".into(),
            attempts,
            at_ms,
        })),
        "unposted" | "lost" => Command::PostFailed(Box::new(PostFailed {
            command_id,
            tenant,
            draw_id,
            revision,
            channel,
            round,
            reason,
            attempts,
            at_ms,
        })),
        other => panic!("{other:?} is no outcome"),
    }
}

fn row(draw: Draw) -> DrawsIn {
    DrawsIn::Draw(upsert(Reference::Draw(Box::new(draw))))
}

/// A row of the draw: none, or its sources, highest number and closing.
fn event(line: &str) -> Envelope<DrawsIn> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let time: i64 = words[0].parse().unwrap();
    let input = match &words[1..] {
        ["draw"] => row(draw("d")),
        ["draw", "none"] => DrawsIn::Draw(delete(Reference::Draw(Box::new(draw("d"))).key())),
        ["draw", sources, main_max, closes_at_ms] => row(Draw {
            sources_required: sources.parse().unwrap(),
            main_max: main_max.parse().unwrap(),
            closes_at_ms: closes_at_ms.parse().unwrap(),
            ..draw("d")
        }),
        ["channel", id] => channel(a_channel(id)),
        ["channel", id, "none"] => {
            DrawsIn::Channel(delete(Reference::Channel(Box::new(a_channel(id))).key()))
        }
        ["channel", id, "at", endpoint] => channel(Channel { endpoint: (*endpoint).into(), ..a_channel(id) }),
        ["channel", id, "games", games] => channel(Channel { games: (*games).into(), ..a_channel(id) }),
        ["channel", id, template] => channel(Channel { template: (*template).into(), ..a_channel(id) }),
        ["telegram", id] => channel(Channel { network: Network::Telegram, ..a_channel(id) }),
        ["pause", id] => channel(Channel { status: ChannelStatus::Paused, ..a_channel(id) }),
        ["retry", "report", source, drawn, "of", reported_at_ms] => {
            let Some(Command::ReportResult(report)) = result(time, &["report", source, drawn]) else {
                unreachable!("it is one")
            };
            let reported_at_ms = reported_at_ms.parse().unwrap();
            message(time, Command::ReportResult(Box::new(ReportResult { reported_at_ms, ..*report })), true)
        }
        ["retry", what, revision, channel, round] => message(
            time,
            outcome(time, what, revision.parse().unwrap(), channel, round.parse().unwrap()),
            true,
        ),
        words @ ["correct", _, _, _] => message(time, result(time, words).unwrap(), false),
        [what, revision, channel, round] => message(
            time,
            outcome(time, what, revision.parse().unwrap(), channel, round.parse().unwrap()),
            false,
        ),
        other => message(time, result(time, other).unwrap_or_else(|| panic!("{line:?}")), false),
    };
    let class = if matches!(input, DrawsIn::Command(_)) { Class::Command } else { Class::Reference };
    record(time, class, time as u64, input)
}

fn told(out: DrawsOut) -> String {
    match out {
        DrawsOut::Settle(settle) => format!("settle r{}", settle.revision),
        DrawsOut::Out(Output::DeadLetter(letter)) => {
            format!("letter {}", letter.reason.split(':').next().unwrap())
        }
        DrawsOut::Out(Output::Fact(Fact::Draw(fact))) => {
            let who = fact.source.map_or_else(|| fact.sources.join("+"), |source| source.to_string());
            let said: Vec<String> =
                fact.said.iter().map(|said| format!("{}={:?}", said.source, said.numbers)).collect();
            let jackpot = fact.jackpot_minor.map(|minor| format!(" jackpot {minor}")).unwrap_or_default();
            format!("{} r{} {:?}{jackpot} {who}{}", fact.event, fact.revision, fact.numbers, said.join(" "))
        }
        DrawsOut::Out(Output::Fact(Fact::Publication(fact))) => {
            let what = fact.channel.map_or("image".to_owned(), |channel| format!("post {channel}"));
            let elsewhere = fact.endpoint.filter(|endpoint| endpoint != ENDPOINT);
            let at = elsewhere.map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
            format!("{what} {} r{} #{} {}{at}", fact.event, fact.revision, fact.round, fact.image)
        }
        DrawsOut::Out(Output::Row(Row::Draw(row))) => format!("row {} {}", row.status, row.sources),
        DrawsOut::Out(Output::Row(Row::Publication(row))) => {
            let found = row.external_id.iter().chain(&row.reason).map(|text| format!(" {text}"));
            format!("row {} r{} {}{}", row.channel, row.revision, row.status, found.collect::<String>())
        }
        other => format!("{other:?}"),
    }
}

/// A story: a line of what comes, `=` before what is told of it.
fn story(text: &str) {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let log: Vec<Envelope<DrawsIn>> =
        lines.iter().filter(|line| !line.starts_with('=')).map(|line| event(line)).collect();
    let wanted: Vec<String> =
        lines.iter().filter_map(|line| line.strip_prefix('=')).map(|line| line.trim().to_owned()).collect();
    let cuts: Vec<i64> = log.iter().map(|record| record.at.time()).collect();
    let crashes = (0..cuts.len()).map(|epoch| (epoch, 1 + epoch % 3)).collect();
    let straight = Course::straight(10_000);
    for course in
        [straight.clone(), Course { workers: 3, ..straight.clone() }, Course { cuts, crashes, ..straight }]
    {
        let out: Vec<String> =
            course.run(operator, &log).into_iter().map(|out| told(out.body).trim_end().to_owned()).collect();
        assert_eq!(out, wanted, "{course:?}");
    }
}

#[test]
fn a_result_is_published_once_enough_sources_agree() {
    story(
        "1 draw
         150 report a 3,1
         = reported r0 [1, 3] a
         = row waiting a
         160 report a 1,3
         170 report b 1,3
         = reported r0 [1, 3] b
         = published r1 [1, 3] a+b
         = row published a,b
         = settle r1
         180 report c 3,1
         = reported r1 [1, 3] c",
    );
}

#[test]
fn a_disagreement_waits_and_the_newest_word_counts() {
    story(
        "1 draw
         150 report a 3,1
         = reported r0 [1, 3] a
         = row waiting a
         160 report b 4,1
         = reported r0 [1, 4] b
         = disagreement r0 [] a=[1, 3] b=[1, 4]
         = row disagreement a,b
         170 report a 1,4
         = reported r0 [1, 4] a
         = published r1 [1, 4] a+b
         = row published a,b
         = settle r1",
    );
}

#[test]
fn a_report_that_can_not_be_is_refused_and_kept() {
    story(
        "1 draw
         10 report a 3,1
         = refused r0 [3, 1] a
         = letter draw_open
         50 report a 3,1
         = reported r0 [1, 3] a
         = row waiting a
         150 report b 3,10
         = refused r0 [3, 10] b
         = letter does_not_fit
         160 report b 3,3
         = refused r0 [3, 3] b
         = letter does_not_fit
         170 correct 3
         = refused r0 [3]
         = letter does_not_fit
         180 republish
         = refused r0 []
         = letter unpublished",
    );
}

#[test]
fn a_report_waits_for_its_draw_as_long_as_the_grace() {
    story(
        "150 report a 3,1
         170 report b 3,1
         180 draw
         = reported r0 [1, 3] a
         = row waiting a
         = reported r0 [1, 3] b
         = published r1 [1, 3] a+b
         = row published a,b
         = settle r1",
    );
    story("150 report a 3,1\n = letter unknown_draw\n 201 draw");
}

#[test]
fn sources_correct_a_result_only_once_it_has_lost_its_quorum() {
    story(
        "1 draw
         150 report a 1,2
         = reported r0 [1, 2] a
         = row waiting a
         151 report b 1,2
         = reported r0 [1, 2] b
         = published r1 [1, 2] a+b
         = row published a,b
         = settle r1
         152 report c 1,3
         = reported r1 [1, 3] c
         = disagreement r1 [] a=[1, 2] b=[1, 2] c=[1, 3]
         153 report d 1,3
         = reported r1 [1, 3] d
         = disagreement r1 [] a=[1, 2] b=[1, 2] c=[1, 3] d=[1, 3]
         154 report b 1,3
         = reported r1 [1, 3] b
         = corrected r2 [1, 3] b+c+d
         = row published b,c,d
         = settle r2
         = disagreement r2 [] a=[1, 2] b=[1, 3] c=[1, 3] d=[1, 3]",
    );
}

#[test]
fn an_operators_word_stands_until_a_quorum_speaks_after_it() {
    story(
        "1 draw
         150 report a 1,2
         = reported r0 [1, 2] a
         = row waiting a
         151 report b 1,2
         = reported r0 [1, 2] b
         = published r1 [1, 2] a+b
         = row published a,b
         = settle r1
         152 correct 5,4
         = corrected r2 [4, 5]
         = row published
         = settle r2
         153 correct 4,5
         = refused r2 [4, 5]
         = letter nothing_to_correct
         154 report a 2,1
         155 report b 1,2
         156 report a 1,3
         = reported r2 [1, 3] a
         = disagreement r2 [] a=[1, 3]
         157 report b 1,2
         158 report c 1,3
         = reported r2 [1, 3] c
         = corrected r3 [1, 3] a+c
         = row published a,c
         = settle r3
         1158 correct 6,7
         = refused r3 [6, 7]
         = letter result_final",
    );
}

#[test]
fn a_source_that_repeats_what_an_operator_overruled_is_no_news_until_it_has_said_something_else() {
    story(
        "1 draw 1 9 100
         150 report a 1,2
         = reported r0 [1, 2] a
         = published r1 [1, 2] a
         = row published a
         = settle r1
         151 correct 5,4
         = corrected r2 [4, 5]
         = row published
         = settle r2
         152 report a 2,1
         153 draw 1 8 100
         154 report a 1,2
         155 correct 5,6
         = corrected r3 [5, 6]
         = row published
         = settle r3
         156 report a 1,2
         157 report a 5,6
         = reported r3 [5, 6] a
         158 report a 1,2
         = reported r3 [1, 2] a
         = corrected r4 [1, 2] a
         = row published a
         = settle r4",
    );
    // Whoever speaks for the first time says something new.
    story(
        "1 draw 1 9 100
         150 correct 5,4
         = published r1 [4, 5]
         = row published
         = settle r1
         152 report a 2,1
         = reported r1 [1, 2] a
         = corrected r2 [1, 2] a
         = row published a
         = settle r2",
    );
}
