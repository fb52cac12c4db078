//! Printing: aligned tables, JSON, times, and a stdout that may be closed at any moment (`| head`).

use schemas::Value;
use std::io::Write as _;

/// Prints to stdout. A reader that has gone away is no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Prints a value as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) {
    let text = serde_json::to_string(value).expect("what commands print is plain data");
    print(&format!("{text}\n"));
}

/// Lays rows out in columns; numbers to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(|&h| h.to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let lines = [&head, &rule].into_iter().chain(rows);
    lines.map(|cells| line(cells, &widths)).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let cell = |(cell, &width): (&String, &usize)| {
        let digits = cell.trim_start_matches(['-', '+']);
        let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit() || b == b',');
        if number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
    };
    let cells: Vec<String> = cells.iter().zip(widths).map(cell).collect();
    format!("{}\n", cells.join("  ").trim_end())
}

/// A column's value as text.
pub fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Int(int) => int.to_string(),
        Value::Text(text) => text.replace('\n', "\\n"),
        Value::Bytes(bytes) => readable(bytes),
    }
}

/// A column's value as JSON; bytes that are no text as hexadecimal digits after `\x`.
pub fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Int(int) => (*int).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Bytes(bytes) => readable(bytes).into(),
    }
}

/// Bytes as text where they are text, else as hexadecimal digits after `\x`.
pub fn readable(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("\\x{}", sinks::embedded::hex(bytes)),
    }
}

/// A moment in UTC, to the millisecond.
pub fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| format!("{at:.3}"))
}

/// 1234567 as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_they_hold_and_numbers_stand_right() {
        let rows = vec![vec!["a".to_owned(), "7".to_owned()], vec!["bcd".to_owned(), "-1234".to_owned()]];
        assert_eq!(table(&["k", "n"], &rows), "k    n\n---  -----\na        7\nbcd  -1234\n");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, wanted) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(thousands(number), wanted);
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_as_digits() {
        assert_eq!(readable(b"text"), "text");
        assert_eq!(readable(&[0, 255]), "\\x00ff");
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(1_499_637_425_000), "2017-07-09T21:57:05.000Z");
    }
}
