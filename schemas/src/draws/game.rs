//! The reference tables `draws` and `channels`, and the prize tiers of a draw.

use crate::Text;
use crate::names::words;
use serde::{Deserialize, Serialize};

/// The highest number that can be drawn.
pub const MAIN_MAX: i32 = 255;

/// The highest fixed prize: what 2^32 tickets win is still money.
pub const FIXED_MINOR_MAX: i64 = i64::MAX >> 32;

/// One draw of a game: what can be drawn and what it pays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draw {
    pub tenant: Text,
    pub draw_id: Text,
    pub game: Text,
    /// How many main numbers are drawn; digits of a ticket, in a game of digits.
    pub main_count: i32,
    #[serde(default = "one")]
    pub main_min: i32,
    pub main_max: i32,
    #[serde(default)]
    pub bonus_count: i32,
    /// The lowest is 1.
    #[serde(default)]
    pub bonus_max: i32,
    /// Bonus numbers come from the main drum: then a ticket has main numbers only.
    #[serde(default)]
    pub bonus_in_main: bool,
    #[serde(default)]
    pub repeats: bool,
    pub closes_at_ms: i64,
    pub sources_required: i32,
    pub currency: Text,
    pub pool_minor: Option<i64>,
    /// JSON: see [`prize_tiers`].
    pub prize_tiers: Text,
}

fn one() -> i32 {
    1
}

/// What a tier asks of a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TierRule {
    /// At least so many main and bonus numbers.
    Hits { main: u8, bonus: u8 },
    /// The last digits of the ticket are one of the tier's `numbers` numbers of `digits` digits.
    Digits { digits: u8, numbers: u8 },
}

/// What a tier pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Prize {
    /// This much to each ticket.
    Fixed { minor: i64 },
    /// This share of the pool to all of them, in equal parts.
    Pool { bps: i32 },
}

/// One prize tier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PrizeTier {
    pub tier: Text,
    pub rule: TierRule,
    pub prize: Prize,
}

/// The tiers as a row tells them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    tier: Text,
    main: Option<u8>,
    bonus: Option<u8>,
    digits: Option<u8>,
    numbers: Option<u8>,
    fixed_minor: Option<i64>,
    pool_bps: Option<i32>,
}

/// Reads a draw's tiers, highest first:
/// `[{"tier":"1","main":5,"bonus":1,"pool_bps":4000},{"tier":"2","main":5,"fixed_minor":1000000}]`, or, in a game of
/// digits, `[{"tier":"special","digits":6,"fixed_minor":…},{"tier":"8","digits":2,"numbers":3,"fixed_minor":…}]`.
///
/// # Errors
/// What is wrong with them.
pub fn prize_tiers(json: &str) -> Result<Vec<PrizeTier>, String> {
    let written: Vec<Written> = serde_json::from_str(json).map_err(|e| format!("`prize_tiers`: {e}"))?;
    let mut tiers: Vec<PrizeTier> = Vec::with_capacity(written.len());
    for tier in written {
        let read = read(tier).map_err(|why| format!("`prize_tiers`: {why}"))?;
        if tiers.iter().any(|known| known.tier == read.tier) {
            return Err(format!("`prize_tiers`: tier {:?} is there twice", read.tier));
        }
        tiers.push(read);
    }
    Ok(tiers)
}

fn read(written: Written) -> Result<PrizeTier, String> {
    let tier = written.tier;
    crate::checks::id("tier", &tier)?;
    let rule = match (written.main, written.bonus, written.digits, written.numbers) {
        (None, None, Some(digits @ 1..), numbers) => {
            TierRule::Digits { digits, numbers: numbers.unwrap_or(1).max(1) }
        }
        (main, bonus, None, None) if main.is_some() || bonus.is_some() => {
            TierRule::Hits { main: main.unwrap_or(0), bonus: bonus.unwrap_or(0) }
        }
        _ => return Err(format!("tier {tier:?}: say `main` and `bonus`, or `digits` and `numbers`")),
    };
    let prize = match (written.fixed_minor, written.pool_bps) {
        (Some(minor @ 0..=FIXED_MINOR_MAX), None) => Prize::Fixed { minor },
        (Some(minor @ 0..), None) => {
            return Err(format!(
                "tier {tier:?}: `fixed_minor` is {minor}; it must be at most {FIXED_MINOR_MAX}: a higher prize is a share of the pool"
            ));
        }
        (None, Some(bps @ 0..=10_000)) => Prize::Pool { bps },
        _ => {
            return Err(format!(
                "tier {tier:?}: say one of `fixed_minor`, 0 or more, and `pool_bps`, 0 to 10000"
            ));
        }
    };
    Ok(PrizeTier { tier, rule, prize })
}

/// Where a channel posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    Mastodon,
    Telegram,
    Webhook,
}

words!(Network {
    Mastodon => "mastodon",
    Telegram => "telegram",
    Webhook => "webhook",
});

/// Whether a channel is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelStatus {
    Active,
    Paused,
}

words!(ChannelStatus {
    Active => "active",
    Paused => "paused",
});

/// Where results are posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    pub tenant: Text,
    pub channel_id: Text,
    pub network: Network,
    pub endpoint: Text,
    /// Chat id, visibility and the like.
    pub target: Text,
    pub template: Text,
    pub locale: Text,
    /// Only results of these games, separated by commas; empty for all.
    pub games: Text,
    pub status: ChannelStatus,
}

impl Channel {
    /// Whether results of a game go there.
    pub fn takes(&self, game: &str) -> bool {
        self.status == ChannelStatus::Active
            && (self.games.trim().is_empty() || self.games.split(',').any(|known| known.trim() == game))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_read_or_explained() {
        let hits = prize_tiers(r#"[{"tier":"1","main":5,"bonus":1,"pool_bps":4000}]"#).unwrap();
        assert_eq!(hits[0].rule, TierRule::Hits { main: 5, bonus: 1 });
        assert_eq!(hits[0].prize, Prize::Pool { bps: 4000 });
        let digits = prize_tiers(r#"[{"tier":"db","digits":6,"fixed_minor":9}]"#).unwrap();
        assert_eq!(digits[0].rule, TierRule::Digits { digits: 6, numbers: 1 });
        let highest = prize_tiers(r#"[{"tier":"1","main":5,"fixed_minor":2147483647}]"#).unwrap();
        assert_eq!(highest[0].prize, Prize::Fixed { minor: FIXED_MINOR_MAX });
        for (json, expected) in [
            ("{}", "invalid type"),
            (r#"[{"tier":"1","main":5}]"#, "say one of `fixed_minor`"),
            (r#"[{"tier":"1","main":5,"fixed_minor":1,"pool_bps":1}]"#, "say one of `fixed_minor`"),
            (r#"[{"tier":"1","main":5,"fixed_minor":-1}]"#, "say one of `fixed_minor`"),
            (r#"[{"tier":"1","main":5,"pool_bps":10001}]"#, "say one of `fixed_minor`"),
            (r#"[{"tier":"1","main":5,"digits":2,"fixed_minor":1}]"#, "say `main` and `bonus`"),
            (r#"[{"tier":"1","fixed_minor":1}]"#, "say `main` and `bonus`"),
            (r#"[{"tier":"1","main":5,"fixed_minor":2147483648}]"#, "it must be at most 2147483647"),
            (r#"[{"tier":"1","main":5,"fixed_minor":9223372036854775807}]"#, "it must be at most 2147483647"),
            (r#"[{"tier":"1","main":5,"fixed_minor":1},{"tier":"1","main":4,"fixed_minor":1}]"#, "twice"),
            (r#"[{"tier":"1","mian":5,"fixed_minor":1}]"#, "mian"),
        ] {
            let why = prize_tiers(json).unwrap_err();
            assert!(why.contains(expected), "{json}: {why}");
        }
    }

    #[test]
    fn a_channel_takes_its_games_while_it_is_active() {
        let text = Text::const_new;
        let mut channel = Channel {
            tenant: text("t"),
            channel_id: text("c"),
            network: Network::Webhook,
            endpoint: text("e"),
            target: text(""),
            template: text("result"),
            locale: text("en"),
            games: text("lotto, keno"),
            status: ChannelStatus::Active,
        };
        assert!(channel.takes("lotto") && channel.takes("keno") && !channel.takes("ken"));
        channel.games = text("");
        assert!(channel.takes("anything"));
        channel.status = ChannelStatus::Paused;
        assert!(!channel.takes("anything"));
    }
}
