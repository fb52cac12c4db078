//! The columns of draws and channels.

use super::change::{Columns, FLAG, INT, INT32, TEXT, TIME_MS};
use crate::Text;
use crate::draws::{Channel, Draw};

pub(super) fn draw(columns: &Columns<'_>) -> Result<Draw, String> {
    Ok(Draw {
        tenant: columns.text("tenant")?,
        draw_id: columns.text("draw_id")?,
        game: columns.text("game")?,
        main_count: columns.required("main_count", INT32)?,
        main_min: columns.optional("main_min", INT32)?.unwrap_or(1),
        main_max: columns.required("main_max", INT32)?,
        bonus_count: columns.optional("bonus_count", INT32)?.unwrap_or(0),
        bonus_max: columns.optional("bonus_max", INT32)?.unwrap_or(0),
        bonus_in_main: columns.optional("bonus_in_main", FLAG)?.unwrap_or(false),
        repeats: columns.optional("repeats", FLAG)?.unwrap_or(false),
        closes_at_ms: columns.required("closes_at_ms", TIME_MS)?,
        sources_required: columns.required("sources_required", INT32)?,
        currency: columns.text("currency")?,
        pool_minor: columns.optional("pool_minor", INT)?,
        prize_tiers: columns.text("prize_tiers")?,
    })
}

pub(super) fn channel(columns: &Columns<'_>) -> Result<Channel, String> {
    let or_empty = |column| columns.optional(column, TEXT).map(|text: Option<Text>| text.unwrap_or_default());
    Ok(Channel {
        tenant: columns.text("tenant")?,
        channel_id: columns.text("channel_id")?,
        network: columns.word("network")?,
        endpoint: columns.text("endpoint")?,
        target: or_empty("target")?,
        template: columns.text("template")?,
        locale: columns.text("locale")?,
        games: or_empty("games")?,
        status: columns.word("status")?,
    })
}
