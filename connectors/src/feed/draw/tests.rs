//! What rows become, and which are refused and why.

use super::*;
use std::path::Path;

/// A mapping of CSV with these further lines.
fn csv(draw: &str) -> Mapping {
    let text = format!(
        "source = \"s\"\ntenant = \"t\"\n[rows]\nformat = \"csv\"\nignore = [\"note\"]\n\
         [date]\nvalue = \"{{day}}\"\nformat = \"%Y-%m-%d\"\ntime_zone = \"America/New_York\"\n\
         [[draws]]\ngame = \"g\"\ndraw_id = \"{{game}}-{{date}}\"\ntime = \"22:59\"\n{draw}\n"
    );
    Mapping::parse(Path::new("m.toml"), &text).unwrap()
}

const SIX: &str = "main = { field = \"balls\", split = \" \", items = 6, take = [1, 2, 3, 4, 5] }\n\
                   bonus = { field = \"balls\", split = \" \", items = 6, take = [6] }";

/// Results as text, then problems as `place: reason`.
fn told(mapping: &Mapping, document: &str) -> Vec<String> {
    let Mapped { results, problems } = map(mapping, document.as_bytes());
    let results =
        results.iter().map(|r| format!("{} {:?} {:?} {}", r.draw_id, r.numbers, r.bonus, r.drawn_at_ms));
    let problems = problems.iter().map(|p| format!("{}: {}", p.place, p.reason));
    results.chain(problems).collect()
}

#[test]
fn numbers_come_from_the_lowest_to_the_highest_and_draws_in_their_order() {
    let document = "day,balls\n2024-07-03,5 4 3 2 1 9\n2024-01-03, 01 02  03 04 05 06 \n";
    assert_eq!(
        told(&csv(SIX), document),
        [
            "g-2024-01-03 [1, 2, 3, 4, 5] [6] 1704340740000", // 22:59 is 03:59 UTC in winter
            "g-2024-07-03 [1, 2, 3, 4, 5] [9] 1720061940000", // and 02:59 in summer
        ]
    );
}

#[test]
fn a_row_that_does_not_fit_says_why_and_the_others_are_taken() {
    for (row, wanted) in [
        ("2024-01-03,1 2 3 4 5", "line 2: balls holds 5 numbers, not 6"),
        ("2024-01-03,1 2 3 4 5 6 7", "line 2: balls holds 7 numbers, not 6"),
        ("2024-01-03,", "line 2: balls holds 0 numbers, not 6"),
        ("2024-01-03,1 2 3 4 5 x", "holds \"x\", which is no number"),
        ("2024-01-03,1 2 3 4 +5 6", "holds \"+5\", which is no number"),
        ("2024-01-03,1 2 3 4 5 99999999999", "holds \"99999999999\", which is no number"),
        ("2024-02-30,1 2 3 4 5 6", "the date \"2024-02-30\" is not \"%Y-%m-%d\""),
        ("2024-01-03", "line 2: it has 1 fields, the first line has 2"),
        ("2024-01-03,1 2 3 4 5 6,7", "line 2: it has 3 fields, the first line has 2"),
    ] {
        let told = told(&csv(SIX), &format!("day,balls\n{row}\n2024-01-06,1 2 3 4 5 6\n"));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("g-2024-01-06") && told[1].contains(wanted), "{row}: {told:?}");
    }
}

/// A quote that is opened by mistake in a column that nobody needs takes the lines up to the next quote, or all of them.
#[test]
fn lines_that_a_stray_quote_holds_together_are_a_problem_with_all_their_bytes() {
    let row = |day: u8, note: &str| format!("2024-01-{day:02},1 2 3 4 5 6,{note}\n");
    let swallowed = [row(4, "\"oops"), row(5, "none"), row(6, "see \"above\"")].concat();
    let document =
        ["day,balls,note\n".to_owned(), row(3, "\"fine\""), swallowed.clone(), row(7, "x")].concat();
    let mapping = csv(SIX);
    let told = told(&mapping, &document);
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(told[0].starts_with("g-2024-01-03") && told[1].starts_with("g-2024-01-07"), "{told:?}");
    assert!(told[2].starts_with("line 3: lines 3 to 5 are held together by a quote"), "{told:?}");
    let problems = map(&mapping, document.as_bytes()).problems;
    assert_eq!(problems[0].original, swallowed.trim().as_bytes());
    // To the end of the document, however long that is.
    let rest = [row(4, "\"oops"), row(5, "none").repeat(10_000)].concat();
    let Mapped { results, problems } = map(&mapping, format!("day,balls,note\n{rest}").as_bytes());
    assert!(results.is_empty() && problems.len() == 1 && problems[0].original.len() == 65_536);
    let reason = &problems[0].reason;
    assert!(reason.contains("lines 2 to 10002") && reason.contains("the first 65536 of its"), "{reason}");
}

#[test]
fn a_problem_keeps_the_row_as_it_was_written() {
    let document = "day,balls,note\r\n2024-01-03,\"1 2\",\"a \"\"b\"\",\nc\"\r\n2024-01-06,1 2 3 4 5 6,\r\n";
    let mapped = map(&csv(SIX), document.as_bytes());
    assert_eq!(mapped.problems[0].original, b"2024-01-03,\"1 2\",\"a \"\"b\"\",\nc\"");
    assert_eq!((mapped.problems.len(), mapped.results.len()), (1, 1));
}

#[test]
fn a_document_with_columns_nobody_knows_is_refused_whole() {
    for (head, wanted) in [
        ("day,balls,extra", "doesn't know the column \"extra\"; use it, list it in rows.ignore"),
        ("day,ball", "doesn't know the column \"ball\""),
        ("day", "the column \"balls\" is missing; there are day"),
        ("day,balls, balls", "two columns are called \"balls\""),
        ("", "the document is empty"),
    ] {
        let told = told(&csv(SIX), &format!("{head}\n"));
        assert!(told.len() == 1 && told[0].contains(wanted), "{head}: {told:?}");
    }
    assert_eq!(
        told(&csv(SIX), " day ,note, balls\n2024-01-03,x,1 2 3 4 5 6\n").len(),
        1,
        "padded and ignored"
    );
}

#[test]
fn a_draw_told_twice_counts_once_if_alike_and_not_at_all_if_not() {
    let twice = "day,balls\n2024-01-03,1 2 3 4 5 6\n2024-01-03,5 4 3 2 1 6\n";
    assert_eq!(told(&csv(SIX), twice).len(), 1);
    let told = told(&csv(SIX), "day,balls\n2024-01-03,1 2 3 4 5 6\n2024-01-03,1 2 3 4 7 6\n");
    let reason = "the draw g-2024-01-03 is told 2 times, not always alike";
    assert_eq!(told, [format!("line 2: {reason}"), format!("line 3: {reason}")]);
}

#[test]
fn optional_numbers_may_be_absent_and_a_row_without_a_draw_is_a_problem() {
    let mapping = csv("present = \"a\"\nmain = { field = \"a\", items = 1 }\n\
                       bonus = { field = \"b\", items = 1, optional = true }");
    let told = told(&mapping, "day,a,b\n2024-01-03,7,\n2024-01-04,8,9\n2024-01-05,,\n");
    assert!(told[0].contains("[7] []") && told[1].contains("[8] [9]"), "{told:?}");
    assert_eq!(told[2], "line 4: the row holds none of the mapping's draws");
}

#[test]
fn amounts_become_minor_units_without_floats() {
    let main = "main = { field = \"a\", items = 1 }\njackpot = { field = \"j\", currency = \"GBP\" }";
    for (text, wanted) in
        [("13137760", Some(1_313_776_000)), ("0.5", Some(50)), ("12.34", Some(1_234)), ("7", Some(700))]
    {
        let mapped = map(&csv(main), format!("day,a,j\n2024-01-03,1,{text}\n").as_bytes());
        assert_eq!(mapped.results[0].jackpot, wanted.map(|minor| (minor, "GBP".to_owned())), "{text}");
    }
    for text in ["", "1.234", "-1", "1e3", "1.", ".5", "£5", "99999999999999999999"] {
        let mapped = map(&csv(main), format!("day,a,j\n2024-01-03,1,{text}\n").as_bytes());
        assert_eq!((mapped.results.len(), mapped.problems.len()), (0, 1), "{text:?} must be refused");
    }
}

#[test]
fn a_moment_that_clocks_show_twice_or_never_is_not_guessed() {
    let mapping = Mapping { ..csv("main = { field = \"a\", items = 1 }") };
    let mut night = mapping;
    night.draws[0].time = super::super::mapping::TimeOfDay(jiff::civil::time(2, 30, 0, 0));
    let told = told(&night, "day,a\n2024-03-10,1\n2024-03-11,1\n");
    assert!(told.len() == 2 && told[1].contains("names no one moment"), "{told:?}");
}

fn json(rows: &str, draw: &str) -> Mapping {
    let text = format!(
        "source = \"s\"\ntenant = \"t\"\n[rows]\nformat = \"json\"\n{rows}\n\
         [date]\nvalue = \"{{day}}\"\nformat = \"%Y-%m-%d\"\ntime_zone = \"UTC\"\n\
         [[draws]]\ngame = \"g\"\ndraw_id = \"{{game}}-{{date}}\"\ntime = \"12:00\"\n{draw}\n"
    );
    Mapping::parse(Path::new("m.toml"), &text).unwrap()
}

#[test]
fn members_of_a_json_object_are_rows_and_a_key_that_stands_twice_is_two() {
    let mapping = json("key = \"day\"", "main = { field = \"n\", items = 2 }");
    let told_once = told(&mapping, r#"{"2024-01-03": {"n": [2, 1]}}"#);
    assert_eq!(told_once, ["g-2024-01-03 [1, 2] [] 1704283200000"]);
    let document = r#"{"2024-01-03": {"n": [1, 2]}, "2024-01-03": {"n": [1, 3]}, "x": {"n": [1, 2.0]}, "2024-01-04": 7}"#;
    let mapped = map(&mapping, document.as_bytes());
    assert!(mapped.results.is_empty());
    assert_eq!(mapped.problems.len(), 4, "{:?}", mapped.problems);
    let kept: Vec<&[u8]> = mapped.problems.iter().map(|p| p.original.as_slice()).collect();
    assert!(kept.contains(&br#"{"2024-01-03":{"n": [1, 3]}}"#.as_slice()), "{kept:?}");
}

#[test]
fn prizes_keep_their_zeros_and_must_be_complete() {
    let mapping = json(
        "at = \"data.results\"",
        "prizes = [{ tier = \"special\", field = \"p.s\", count = 1, digits = 3 }, \
         { tier = \"first\", field = \"p.f\", count = 2, digits = 2 }]",
    );
    let document = |s: &str, f: &str| {
        format!(
            r#"{{"other": 1, "data": {{"results": [{{"day": "2024-01-03", "p": {{"s": {s}, "f": {f}}}}}]}}}}"#
        )
    };
    let good = map(&mapping, document("\"007\"", "[\"00\", \"10\"]").as_bytes());
    assert_eq!(good.results[0].prizes[0].numbers, ["007"]);
    assert_eq!(good.results[0].prizes[1].numbers, ["00", "10"]);
    for (s, f, wanted) in [
        ("\"07\"", "[\"00\", \"10\"]", "prize special has \"07\", which is not of 3 digits"),
        ("7", "[\"00\", \"10\"]", "prize special has \"7\""),
        ("\"007\"", "[\"00\"]", "prize first has 1 numbers, not 2"),
        ("\"\"", "[\"00\", \"10\"]", "prize special has 0 numbers, not 1"),
        ("\"007\"", "[\"00\", \"1x\"]", "prize first has \"1x\""),
        ("\"007\"", "[\"00\", [1]]", "the list \"p.f\" holds more than plain values"),
        ("null", "[\"00\", \"10\"]", "prize special has 0 numbers, not 1"),
    ] {
        let mapped = map(&mapping, document(s, f).as_bytes());
        let reason = &mapped.problems[0].reason;
        assert!(mapped.results.is_empty() && reason.contains(wanted), "{s} {f}: {reason}");
    }
}

#[test]
fn a_document_that_is_no_document_is_one_problem() {
    let mapping = json("at = \"data\"", "main = { field = \"n\", items = 1 }");
    for (document, wanted) in [
        (&b"<html>"[..], "it is not JSON"),
        (b"{\"data\": [", "it is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"{}", "there is no \"data\""),
        (b"{\"data\": 7}", "it is no list of rows"),
        (b"{\"data\": [], \"data\": []}", "stands there twice"),
    ] {
        let mapped = map(&mapping, document);
        assert_eq!((mapped.results.len(), mapped.problems.len()), (0, 1));
        let problem = &mapped.problems[0];
        assert!(problem.reason.contains(wanted), "{}: {}", String::from_utf8_lossy(document), problem.reason);
        assert_eq!(problem.original, document);
    }
}
