//! What other vendors have to say of a trace: W3C's `tracestate`, passed on as it came.
//!
//! ```text
//!   header ─ well-formed, at most 32 members ─> members without the spaces around them, at most 512 characters
//!          └ not ────────────────────────────> nothing; its `traceparent` counts all the same
//! ```
//!
//! Where it is longer, whole members go, as W3C has it: those above 128 characters first, and the last of them before
//! the others. Nothing of our own is added. Where there is none, it costs nothing, and a copy of it is a pointer.

use std::fmt;
use std::sync::Arc;

/// The header that carries it, in HTTP and in the log.
pub const TRACESTATE: &str = "tracestate";

/// Members of a header; of one that has more, none can be believed.
const MEMBERS_MAX: usize = 32;
/// Characters that are passed on.
const LENGTH_MAX: usize = 512;
/// Members longer than that are the first to go.
const MEMBER_LONG: usize = 128;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceState(Option<Arc<str>>);

impl TraceState {
    /// Reads a header; where there were several, their values after each other with a comma in between. None where it
    /// isn't well-formed.
    pub fn parse(header: &[u8]) -> TraceState {
        if header.is_empty() {
            return TraceState::default();
        }
        let members = std::str::from_utf8(header).ok().and_then(members);
        let members = members.map(cut).filter(|members| !members.is_empty());
        TraceState(members.map(|members| members.join(",").into()))
    }

    /// As the header says it, if there is anything to say.
    pub fn header(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl fmt::Display for TraceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.header().unwrap_or_default())
    }
}

fn members(text: &str) -> Option<Vec<&str>> {
    let spaces = [' ', '\t'];
    let members: Vec<&str> = text
        .split(',')
        .map(|member| member.trim_matches(spaces))
        .filter(|member| !member.is_empty())
        .collect();
    let well_formed = |member: &&str| {
        member
            .split_once('=')
            .is_some_and(|(key, value)| is_key(key.as_bytes()) && is_value(value.as_bytes()))
    };
    (members.len() <= MEMBERS_MAX && members.iter().all(well_formed)).then_some(members)
}

/// Leaves out whole members until the rest is short enough.
fn cut(mut members: Vec<&str>) -> Vec<&str> {
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>();
    // The last has no comma behind it.
    while length(&members) > LENGTH_MAX + 1 {
        let long = members.iter().rposition(|member| member.len() > MEMBER_LONG);
        members.remove(long.unwrap_or(members.len() - 1));
    }
    members
}

/// A letter or a digit, then what keys may have.
fn is_key(key: &[u8]) -> bool {
    let small = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let rest = |byte: &u8| small(byte) || b"_-*/@".contains(byte);
    key.len() <= 256 && key.first().is_some_and(small) && key.iter().all(rest)
}

/// Printable, without commas and equals signs; it doesn't end with a space.
fn is_value(value: &[u8]) -> bool {
    let printable = |byte: &u8| (b' '..=b'~').contains(byte) && !b",=".contains(byte);
    (1..=256).contains(&value.len()) && value.iter().all(printable) && value.last() != Some(&b' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, wanted: Option<&str>) {
        assert_eq!(TraceState::parse(header.as_bytes()).header(), wanted, "{header:?}");
    }

    #[test]
    fn a_header_is_passed_on_where_it_is_well_formed() {
        check("congo=t61rcWkgMzE", Some("congo=t61rcWkgMzE"));
        check("rojo=00f067aa0ba902b7,congo=t61 rc", Some("rojo=00f067aa0ba902b7,congo=t61 rc"));
        check("a=1 ,\t b=2,, ,c@d/e*f-g_h=3", Some("a=1,b=2,c@d/e*f-g_h=3"));
        check("1a=1", Some("1a=1"));
        for wrong in
            ["", " ", ",", "a", "a=", "=1", "A=1", "a=1,b", "a=1=2", "a b=1", "_a=1", "a=\u{e9}", "a=1\u{7}"]
        {
            check(wrong, None);
        }
        assert_eq!(TraceState::parse(b"a=\xff"), TraceState::default());
        check(&format!("{}=1", "k".repeat(256)), Some(&format!("{}=1", "k".repeat(256))));
        check(&format!("{}=1", "k".repeat(257)), None);
        check(&format!("a={}", "v".repeat(257)), None);
    }

    #[test]
    fn thirty_two_members_are_kept_and_of_more_none() {
        let of = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        check(&of(32), Some(&of(32)));
        check(&of(33), None);
    }

    #[test]
    fn at_512_characters_it_is_whole_and_beyond_members_go_whole_the_long_ones_first() {
        let member = |key: char, length: usize| format!("{key}={}", "v".repeat(length - 2));
        let whole = [member('a', 128), member('b', 128), member('c', 128), member('d', 125)].join(",");
        assert_eq!(whole.len(), 512);
        check(&whole, Some(&whole));
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(|key| member(key, 128));
        check(&[&a[..], &b, &c, &d].join(","), Some(&[&a[..], &b, &c].join(",")));
        let long = member('l', 200);
        check(&[&a[..], &long, &b, &c].join(","), Some(&[&a[..], &b, &c].join(",")));
    }
}
