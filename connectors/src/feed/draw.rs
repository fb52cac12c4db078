//! From a row to the results it holds, or to the reason why it doesn't fit.

use super::fields::Fields;
use super::mapping::{DrawOf, Jackpot, Mapping, Numbers, Tier};
use super::result::{DrawResult, Prize};
use super::rows::{self, Row};
use std::collections::BTreeMap;

/// What doesn't fit, why, and as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub place: String,
    pub reason: String,
    pub original: Vec<u8>,
}

/// What a document says.
#[derive(Debug, Default)]
pub struct Mapped {
    /// By when they were drawn; each draw once.
    pub results: Vec<DrawResult>,
    /// Rows in the order of the document, then those that contradict each other.
    pub problems: Vec<Problem>,
}

/// Maps a document.
pub fn map(mapping: &Mapping, document: &[u8]) -> Mapped {
    let rows = rows::read(mapping, document);
    let mut problems = rows.problems;
    let mut found: BTreeMap<String, Vec<(&Row, DrawResult)>> = BTreeMap::new();
    for row in &rows.rows {
        match results(mapping, row) {
            Ok(results) => {
                for result in results {
                    found.entry(result.draw_id.clone()).or_default().push((row, result));
                }
            }
            Err(reason) => problems.push(problem(row, reason)),
        }
    }
    let mut results = Vec::with_capacity(found.len());
    for (draw_id, mut told) in found {
        if told.iter().all(|(_, result)| *result == told[0].1) {
            results.push(told.swap_remove(0).1);
            continue;
        }
        let reason = format!("the draw {draw_id} is told {} times, not always alike", told.len());
        problems.extend(told.iter().map(|(row, _)| problem(row, reason.clone())));
    }
    results.sort_by(|a, b| (a.drawn_at_ms, &a.draw_id).cmp(&(b.drawn_at_ms, &b.draw_id)));
    Mapped { results, problems }
}

fn problem(row: &Row, reason: String) -> Problem {
    Problem { place: row.place.clone(), reason, original: row.original.clone() }
}

/// All draws of a row, or none: a row that fits in part isn't understood.
fn results(mapping: &Mapping, row: &Row) -> Result<Vec<DrawResult>, String> {
    let fields = &row.fields;
    let date = date(mapping, fields)?;
    let mut results = Vec::new();
    for draw in &mapping.draws {
        if is_there(draw, fields)? {
            results.push(result(mapping, draw, date, fields)?);
        }
    }
    if results.is_empty() {
        return Err("the row holds none of the mapping's draws".to_owned());
    }
    Ok(results)
}

fn date(mapping: &Mapping, fields: &Fields) -> Result<jiff::civil::Date, String> {
    let text = mapping.date.value.fill(|name| fields.text(name))?;
    let format = &mapping.date.format.0;
    jiff::civil::Date::strptime(format, &text)
        .map_err(|e| format!("the date {text:?} is not {format:?}: {e}"))
}

fn is_there(draw: &DrawOf, fields: &Fields) -> Result<bool, String> {
    if let Some(name) = &draw.present
        && fields.items(name, None)?.is_empty()
    {
        return Ok(false);
    }
    for (name, wanted) in &draw.when {
        if fields.text(name)? != wanted {
            return Ok(false);
        }
    }
    Ok(true)
}

fn result(
    mapping: &Mapping,
    draw: &DrawOf,
    date: jiff::civil::Date,
    fields: &Fields,
) -> Result<DrawResult, String> {
    let day = date.to_string();
    let draw_id = draw.draw_id.fill(|name| match name {
        "game" => Ok(&draw.game.0),
        "date" => Ok(&day),
        other => {
            fields.text(other).and_then(|text| if text.is_empty() { Err(empty(other)) } else { Ok(text) })
        }
    })?;
    let zone = &mapping.date.time_zone.0;
    let drawn_at = zone.to_ambiguous_zoned(date.to_datetime(draw.time.0)).unambiguous();
    let drawn_at = drawn_at.map_err(|e| format!("{date} {} names no one moment: {e}", draw.time.0))?;
    let result = DrawResult {
        tenant: mapping.tenant.0.clone(),
        source: mapping.source.0.clone(),
        game: draw.game.0.clone(),
        draw_id,
        numbers: draw.main.as_ref().map_or(Ok(Vec::new()), |numbers| read_numbers(numbers, fields))?,
        bonus: draw.bonus.as_ref().map_or(Ok(Vec::new()), |numbers| read_numbers(numbers, fields))?,
        prizes: draw.prizes.iter().map(|tier| prize(tier, fields)).collect::<Result<_, _>>()?,
        jackpot: draw.jackpot.as_ref().map_or(Ok(None), |jackpot| amount(jackpot, fields))?,
        drawn_at_ms: drawn_at.timestamp().as_millisecond(),
    };
    // What the contract refuses would be a dead letter all the same, without its row.
    result.report(&result.command_id(None), result.drawn_at_ms).check().map(|()| result)
}

fn empty(field: &str) -> String {
    format!("the field {field:?} is empty")
}

fn read_numbers(numbers: &Numbers, fields: &Fields) -> Result<Vec<i32>, String> {
    let mut items = Vec::new();
    for name in numbers.fields() {
        items.extend(fields.items(name, numbers.split.as_deref())?.into_iter().map(|item| (name, item)));
    }
    if items.is_empty() && numbers.optional {
        return Ok(Vec::new());
    }
    let expected = numbers.expected();
    if items.len() != expected {
        let names: Vec<&str> = numbers.fields().collect();
        return Err(format!("{} holds {} numbers, not {expected}", names.join(", "), items.len()));
    }
    let all = items.iter().map(|(name, item)| number(name, item)).collect::<Result<Vec<i32>, _>>()?;
    let mut taken =
        if numbers.take.is_empty() { all } else { numbers.take.iter().map(|at| all[at - 1]).collect() };
    if !numbers.keep_order {
        taken.sort_unstable();
    }
    Ok(taken)
}

/// Digits only: `+5`, `5.0` and `5e0` may mean five, or something else.
fn number(field: &str, text: &str) -> Result<i32, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or_else(|| format!("the field {field:?} holds {text:?}, which is no number of digits only"))
}

fn prize(tier: &Tier, fields: &Fields) -> Result<Prize, String> {
    let numbers = fields.items(&tier.field, tier.split.as_deref())?;
    let (name, count, digits) = (&tier.tier.0, tier.count, tier.digits);
    if numbers.len() != count {
        return Err(format!("prize {name} has {} numbers, not {count}", numbers.len()));
    }
    for number in &numbers {
        if number.len() != digits || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("prize {name} has {number:?}, which is not of {digits} digits"));
        }
    }
    Ok(Prize { tier: name.clone(), numbers: numbers.into_iter().map(str::to_owned).collect() })
}

/// An amount in major units, such as `13137760` or `1250.50`, in minor ones.
fn amount(jackpot: &Jackpot, fields: &Fields) -> Result<Option<(i64, String)>, String> {
    let text = fields.text(&jackpot.field)?;
    if text.is_empty() {
        return if jackpot.optional { Ok(None) } else { Err(empty(&jackpot.field)) };
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = jackpot.minor_digits as usize;
    let plain = !whole.is_empty() && whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    let fits = plain && fraction.len() <= digits && !text.ends_with('.');
    let minor = format!("{whole}{fraction:0<digits$}").parse::<i64>().ok().filter(|_| fits);
    let minor =
        minor.ok_or_else(|| format!("the field {:?} holds {text:?}, which is no amount", jackpot.field))?;
    Ok(Some((minor, jackpot.currency.0.clone())))
}

#[cfg(test)]
mod tests;
