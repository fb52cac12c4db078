//! Refusals of mapping files: each names file, line, key and remedy. Every shipped one is good.

use super::*;

const GOOD: &str = "source = \"s\"
tenant = \"t\"
[rows]
format = \"csv\"
[date]
value = \"{day}\"
format = \"%Y-%m-%d\"
time_zone = \"Europe/London\"
[[draws]]
game = \"g\"
draw_id = \"{game}-{date}\"
time = \"20:00\"
main = { field = \"n\", items = 1 }
";

#[test]
fn every_refusal_names_file_line_key_and_remedy() {
    assert!(Mapping::parse(Path::new("m.toml"), GOOD).is_ok());
    for (from, to, wanted) in [
        (
            "source = \"s\"",
            "source = \"a b\"",
            "m.toml:1: `source`: \"a b\" can't be a name; use 1 to 40 letters",
        ),
        ("tenant", "tenent", "m.toml:2: `tenent`: unknown field `tenent`"),
        ("\"csv\"", "\"xml\"", "m.toml:4: `format`: unknown variant `xml`, expected `csv` or `json`"),
        ("\"csv\"", "\"csv\"\nkey = \"k\"", "m.toml:3: `at` and `key` are of JSON; leave them out"),
        ("\"csv\"", "\"csv\"\nskip_files = [\"k\"]", "m.toml:3: `skip_files` needs `archive`"),
        ("{day}", "{day", "m.toml:6: `value`: \"{day\" has a { without its }"),
        ("%Y-%m-%d", "%Y-%m", "m.toml:7: `format`: \"%Y-%m\" is no format of dates"),
        ("%Y-%m-%d", "%y-%m-%Q!", "m.toml:7: `format`: "),
        ("Europe/London", "Europe/Londn", "m.toml:8: `time_zone`: "),
        ("game = \"g\"", "", "m.toml:9: "),
        ("{game}-{date}", "{game}", "m.toml:9: `draw_id` is the same for every draw: put {date} into it"),
        ("20:00", "8 pm", "m.toml:12: `time`: \"8 pm\" is no time of day; write it as in \"22:59\""),
        ("items = 1", "", "m.toml:9: `main` doesn't say how many numbers there are: set `items`"),
        ("items = 1", "items = 1, take = [2]", "m.toml:9: `main` takes a position that `items` doesn't have"),
        ("items = 1", "take = [1, 1]", "m.toml:9: `main` takes a position twice"),
        ("field = \"n\", ", "", "m.toml:9: `main` needs either `field`"),
        ("main = { field = \"n\", items = 1 }", "", "m.toml:9: a draw has neither `main` nor `prizes`"),
        (
            "tenant = \"t\"",
            "tenant = \"t\"\n[poll]\nurl = \"ftp://a/b\"",
            "m.toml:4: `url`: \"ftp://a/b\" is of ftp",
        ),
        (
            "tenant = \"t\"",
            "tenant = \"t\"\n[poll]\ninterval_ms = 0",
            "m.toml:4: `interval_ms`: must be at least 1",
        ),
    ] {
        let text = GOOD.replacen(from, to, 1);
        let error = Mapping::parse(Path::new("m.toml"), &text).expect_err(&text).to_string();
        assert!(error.starts_with(wanted), "{from} -> {to}: {error}");
        assert!(error.ends_with("docs/feeds.md explains every key"), "{error}");
    }
}

#[test]
fn a_mapping_without_draws_is_refused() {
    let text = GOOD.split("[[draws]]").next().unwrap();
    let error = Mapping::parse(Path::new("m.toml"), text).unwrap_err().to_string();
    assert!(error.contains("missing field `draws`"), "{error}");
}

#[test]
fn an_absent_file_is_refused_with_a_remedy() {
    let error = Mapping::load(Path::new("nowhere.toml")).unwrap_err().to_string();
    assert!(error.contains("name a mapping file, such as those in deploy/feeds"), "{error}");
}

#[test]
fn every_mapping_that_is_shipped_is_good_and_has_a_source_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/feeds");
    let mut sources = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let mapping = Mapping::load(&entry.unwrap().path()).unwrap();
        assert!(sources.insert(mapping.source.0.clone()), "{} is there twice", mapping.source.0);
    }
    assert!(sources.len() >= 10, "{sources:?}");
}
