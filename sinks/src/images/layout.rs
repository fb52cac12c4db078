//! Where balls and prizes go: geometry that a template asks for, so that it needs none of its own.

use crate::announcement::{Locale, PrizeTier};
use serde::Serialize;

/// A rectangle of the template.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// One ball.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ball {
    pub cx: f64,
    pub cy: f64,
    pub r: f64,
    /// Size of the number's letters.
    pub size: f64,
    /// Where the number's baseline is.
    pub base: f64,
    pub text: String,
    pub bonus: bool,
}

/// One line of a table of prizes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrizeLine {
    pub y: f64,
    pub height: f64,
    pub base: f64,
    pub size: f64,
    /// On the first line of a tier.
    pub label: String,
    pub first: bool,
    /// Every second tier, for stripes.
    pub odd: bool,
    /// The first tier of all.
    pub top: bool,
    pub numbers: Vec<PrizeNumber>,
}

/// One number of a prize.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PrizeNumber {
    pub cx: f64,
    pub text: String,
}

const GAP: f64 = 0.16;
/// Room for the sign between main and bonus numbers, in diameters.
const PLUS: f64 = 0.45;
/// How far below its middle a digit's baseline is, in sizes: half of a capital's height.
const HALF_CAPITAL: f64 = 0.36;
/// Most numbers of a prize on a line.
const NUMBERS_MAX: usize = 4;

/// Balls as large as fit into the frame, in rows, main numbers before bonus ones.
pub fn balls(numbers: &[i64], bonus: &[i64], frame: Frame) -> Vec<Ball> {
    let count = numbers.len() + bonus.len();
    if count == 0 {
        return Vec::new();
    }
    let plus = if bonus.is_empty() || numbers.is_empty() { 0.0 } else { PLUS };
    let diameter = |rows: usize| {
        let columns = count.div_ceil(rows) as f64;
        let wide = frame.width / (columns + (columns - 1.0) * GAP + plus);
        wide.min(frame.height / (rows as f64 + (rows as f64 - 1.0) * GAP))
    };
    // The fewest rows among the largest balls.
    let rows = (1..=count).rev().max_by(|a, b| diameter(*a).total_cmp(&diameter(*b))).unwrap_or(1);
    let (d, columns) = (diameter(rows), count.div_ceil(rows));
    let rows = count.div_ceil(columns);
    let all: Vec<(i64, bool)> =
        numbers.iter().map(|n| (*n, false)).chain(bonus.iter().map(|n| (*n, true))).collect();
    let tall = d * (rows as f64 + (rows as f64 - 1.0) * GAP);
    let top = frame.y + (frame.height - tall) / 2.0;
    let mut out = Vec::with_capacity(count);
    for (row, chunk) in all.chunks(columns).enumerate() {
        let turns = chunk.windows(2).any(|pair| !pair[0].1 && pair[1].1);
        let extra = if turns { plus } else { 0.0 };
        let wide = d * (chunk.len() as f64 + (chunk.len() as f64 - 1.0) * GAP + extra);
        let (mut x, cy) =
            (frame.x + (frame.width - wide) / 2.0, top + d / 2.0 + row as f64 * d * (1.0 + GAP));
        let mut before = None;
        for (number, is_bonus) in chunk {
            if before == Some(false) && *is_bonus {
                x += d * plus;
            }
            out.push(ball(*number, *is_bonus, x + d / 2.0, cy, d / 2.0));
            x += d * (1.0 + GAP);
            before = Some(*is_bonus);
        }
    }
    out
}

fn ball(number: i64, bonus: bool, cx: f64, cy: f64, r: f64) -> Ball {
    let text = number.to_string();
    let size = r * if text.len() <= 2 { 0.92 } else { 2.0 / text.len() as f64 };
    let round = |value: f64| (value * 100.0).round() / 100.0;
    Ball {
        cx: round(cx),
        cy: round(cy),
        r: round(r),
        size: round(size),
        base: round(cy + size * HALF_CAPITAL),
        text,
        bonus,
    }
}

/// A table of prizes that fills the frame's height; the first tier stands taller.
pub fn prize_lines(prizes: &[PrizeTier], locale: &Locale, frame: Frame) -> Vec<PrizeLine> {
    let lines_of = |tier: &PrizeTier| tier.numbers.len().div_ceil(NUMBERS_MAX).max(1);
    let weight = |at: usize, tier: &PrizeTier| lines_of(tier) as f64 * if at == 0 { 1.5 } else { 1.0 };
    let total: f64 = prizes.iter().enumerate().map(|(at, tier)| weight(at, tier)).sum();
    let unit = (frame.height / total.max(1.0)).min(frame.height / 5.0);
    let (label_width, mut y) = (frame.width * 0.26, frame.y);
    let mut out = Vec::new();
    for (at, tier) in prizes.iter().enumerate() {
        let per_line = tier.numbers.len().div_ceil(lines_of(tier)).max(1);
        let height = unit * if at == 0 { 1.5 } else { 1.0 };
        let empty = [String::new()];
        let numbers = if tier.numbers.is_empty() { &empty[..] } else { &tier.numbers };
        for (line, chunk) in numbers.chunks(per_line).enumerate() {
            let cell = (frame.width - label_width) / chunk.len() as f64;
            let longest = chunk.iter().map(|text| text.chars().count()).max().unwrap_or(1).max(1) as f64;
            let size = (height * 0.62).min(cell * 0.86 / (longest * 0.62));
            let cx = |n: usize| ((frame.x + label_width + cell * (n as f64 + 0.5)) * 100.0).round() / 100.0;
            let number = |(n, text): (usize, &String)| PrizeNumber { cx: cx(n), text: text.clone() };
            out.push(PrizeLine {
                y,
                height,
                base: y + height / 2.0 + size * HALF_CAPITAL,
                size,
                label: locale.tier(&tier.tier),
                first: line == 0,
                odd: at % 2 == 1,
                top: at == 0,
                numbers: chunk.iter().enumerate().map(number).collect(),
            });
            y += height;
        }
    }
    out
}

/// A size at which the text is at most `width` wide, and never above `size`. Letters are taken for wide ones.
pub fn fit(text: &str, size: f64, width: f64) -> f64 {
    let letters = text.chars().count().max(1) as f64;
    size.min(width / (letters * 0.6)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame { x: 10.0, y: 20.0, width: 1000.0, height: 200.0 };

    #[test]
    fn balls_stay_in_their_frame_and_apart() {
        for (main, bonus) in [(6, 0), (5, 1), (1, 0), (20, 0), (7, 2), (3, 3), (80, 1)] {
            let numbers: Vec<i64> = (1..=main).collect();
            let extra: Vec<i64> = (1..=bonus).collect();
            let balls = balls(&numbers, &extra, FRAME);
            assert_eq!(balls.len() as i64, main + bonus);
            for (n, ball) in balls.iter().enumerate() {
                assert!(ball.cx - ball.r >= 9.9 && ball.cx + ball.r <= 1010.1, "{main}+{bonus}: {ball:?}");
                assert!(ball.cy - ball.r >= 19.9 && ball.cy + ball.r <= 220.1, "{main}+{bonus}: {ball:?}");
                for other in &balls[n + 1..] {
                    let distance = (ball.cx - other.cx).hypot(ball.cy - other.cy);
                    assert!(distance > ball.r * 2.0, "{main}+{bonus}: {ball:?} touches {other:?}");
                }
            }
            assert_eq!(balls.iter().filter(|ball| ball.bonus).count() as i64, bonus);
        }
        assert!(super::balls(&[], &[], FRAME).is_empty());
    }

    #[test]
    fn many_numbers_take_several_rows() {
        let numbers: Vec<i64> = (1..=20).collect();
        let rows: std::collections::BTreeSet<i64> =
            balls(&numbers, &[], FRAME).iter().map(|ball| ball.cy as i64).collect();
        assert_eq!(rows.len(), 2);
    }
}
