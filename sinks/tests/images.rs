//! Images of results: byte for byte the same, in this process and in another, and never more than a template says.

#![allow(clippy::unwrap_used)] // a test helper is a test too

use sinks::announcement::{Announcement, PrizeTier};
use sinks::images::{Drawing, ImageRequest, ImageStore, Templates, draw};
use std::path::Path;

/// One result of each kind of game.
fn results() -> Vec<Announcement> {
    let base = |game: &str, draw_id: &str| Announcement {
        tenant: "Lucky & Sons".into(),
        draw_id: draw_id.into(),
        revision: 1,
        supersedes: None,
        game: game.into(),
        numbers: Vec::new(),
        bonus: Vec::new(),
        prizes: Vec::new(),
        drawn_at_ms: 1_795_319_940_000,
        jackpot_minor: None,
        currency: None,
    };
    let tier = |tier: &str, numbers: &[&str]| PrizeTier {
        tier: tier.into(),
        numbers: numbers.iter().map(|&n| n.into()).collect(),
    };
    vec![
        Announcement {
            numbers: vec![7, 19, 28, 41, 66],
            bonus: vec![23],
            jackpot_minor: Some(24_300_000_000),
            currency: Some("USD".into()),
            ..base("powerball", "PB-2026-11-21")
        },
        Announcement {
            numbers: vec![4, 11, 23, 35, 48, 60],
            jackpot_minor: Some(4_531_825_075),
            currency: Some("BRL".into()),
            supersedes: Some(1),
            revision: 2,
            ..base("mega-sena", "2945")
        },
        Announcement { numbers: (1..=20).map(|n| n * 4 - 1).collect(), ..base("keno", "K-100") },
        Announcement {
            prizes: vec![
                tier("special", &["83274"]),
                tier("1", &["19203"]),
                tier("2", &["55817", "02649"]),
                tier("3", &["71930", "44812", "90155", "38267", "60421", "17789"]),
                tier("4", &["2231", "9084", "5567", "1402"]),
                tier("5", &["8830", "4419", "0276", "7714", "3905", "6128"]),
                tier("6", &["118", "903", "547"]),
                tier("7", &["06", "41", "78", "93"]),
            ],
            ..base("xsmb", "XSMB-2026-11-22")
        },
    ]
}

fn request(result: Announcement, template: &str, locale: &str) -> ImageRequest {
    ImageRequest { result, template: template.into(), locale: locale.into() }
}

fn all() -> Vec<(String, Drawing)> {
    let templates = Templates::new(None).unwrap();
    let mut drawings = Vec::new();
    for result in results() {
        for (template, locale) in
            [("card", "en"), ("card", "vi"), ("square", "pt"), ("story", "vi"), ("banner", "pt")]
        {
            let request = request(result.clone(), template, locale);
            drawings.push((request.path(), draw(&request, &templates).unwrap()));
        }
    }
    drawings
}

fn digests() -> String {
    all().iter().map(|(path, drawing)| format!("{} {path}\n", drawing.sha256)).collect()
}

const RECORDED: &str = include_str!("images.sha256");

/// The name under which the test program calls itself to draw in a process of its own.
const CHILD: &str = "drawn_in_a_process_of_its_own";

#[test]
#[ignore = "run by `the_same_result_is_drawn_to_the_same_bytes`"]
fn drawn_in_a_process_of_its_own() {
    print!("<<<{}>>>", digests());
}

#[test]
fn the_same_result_is_drawn_to_the_same_bytes() {
    let first = digests();
    assert_eq!(first, digests(), "twice in one process");
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let drawn = said.split_once("<<<").and_then(|(_, rest)| rest.split_once(">>>")).unwrap().0;
    assert_eq!(first, drawn, "in another process");
    assert_eq!(first, RECORDED, "as recorded: look at the images before you record others");
}

#[test]
#[ignore = "writes the images into the folder TOMBOLA_IMAGES_OUT, to be looked at"]
fn images_to_look_at() {
    let Ok(out) = std::env::var("TOMBOLA_IMAGES_OUT") else { return };
    for (path, drawing) in all() {
        std::fs::write(Path::new(&out).join(path.replace('/', "_")), &drawing.png).unwrap();
    }
    print!("{}", digests());
}

#[test]
fn what_a_result_says_is_never_markup() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("plain")).unwrap();
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'><text a=\"{{ draw_id }}\">{{ brand }}</text></svg>";
    std::fs::write(dir.path().join("plain/default.svg"), svg).unwrap();
    let templates = Templates::new(Some(dir.path())).unwrap();
    let mut result = results().remove(0);
    result.tenant = "<image href='x'/>&\u{1}".into();
    result.draw_id = "\"><script>".into();
    let (name, svg) = templates.svg(&request(result, "plain", "en")).unwrap();
    assert_eq!(name, "plain/default.svg");
    assert!(svg.contains("&lt;image") && svg.contains("&amp;"), "{svg}");
    assert!(!svg.contains("<image") && !svg.contains("<script") && !svg.contains('\u{1}'), "{svg}");
}

#[test]
fn the_most_particular_template_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("card")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let svg = "<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>";
    write("card/powerball.svg", svg);
    write("card/powerball.vi.svg", svg);
    write("card/mega-sena.svg", "{% for %}");
    let templates = Templates::new(Some(dir.path())).unwrap();
    let name = |result: usize, template: &str, locale: &str| {
        let request = request(results().remove(result), template, locale);
        templates.svg(&request).map(|(name, _)| name).map_err(|e| e.to_string())
    };
    assert_eq!(name(0, "card", "vi").unwrap(), "card/powerball.vi.svg");
    assert_eq!(name(0, "card", "en").unwrap(), "card/powerball.svg");
    assert_eq!(name(2, "card", "en").unwrap(), "card/default.svg");
    assert!(name(1, "card", "en").unwrap_err().contains("template card/mega-sena.svg: syntax error"));
    assert!(name(0, "../card", "en").unwrap_err().contains("there is no template"));
    assert!(name(0, "poster", "en").unwrap_err().contains("there is no template \"poster\""));
    assert!(name(0, "square", "xx").unwrap_err().contains("there is no locale \"xx\""));
}

#[test]
fn a_brand_has_its_name_and_colours() {
    let dir = tempfile::tempdir().unwrap();
    let brands = r##"{ "Lucky & Sons": { "name": "LUCKY!", "from": "#010203" } }"##;
    std::fs::write(dir.path().join("brands.json"), brands).unwrap();
    let (_, svg) =
        Templates::new(Some(dir.path())).unwrap().svg(&request(results().remove(0), "card", "en")).unwrap();
    assert!(svg.contains("LUCKY!") && svg.contains("#010203") && svg.contains("#8f1022"), "{svg}");
    std::fs::write(dir.path().join("brands.json"), "{").unwrap();
    let refused = Templates::new(Some(dir.path())).err().unwrap().to_string();
    assert!(refused.contains("brands.json: EOF"), "{refused}");
}

#[test]
fn an_image_is_stored_under_its_revision_and_comes_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = ImageStore::local(dir.path()).unwrap();
    let request = request(results().remove(1), "card", "pt");
    let drawing = draw(&request, &Templates::new(None).unwrap()).unwrap();
    let path = request.path();
    assert_eq!(path, "Lucky%20%26%20Sons/mega-sena/2945/card/pt/r2.png");
    let stored = runtime.block_on(store.put(&path, &drawing)).unwrap();
    assert_eq!(stored.bytes, drawing.png.len() as u64);
    runtime.block_on(store.put(&path, &drawing)).unwrap();
    let back = runtime.block_on(store.get(&path, Some(&stored.sha256))).unwrap();
    assert_eq!(back, drawing.png);
    let changed = runtime.block_on(store.get(&path, Some("00"))).unwrap_err();
    assert!(changed.to_string().contains("and not 00"), "{changed}");
    let absent = runtime.block_on(store.get("a/b.png", None)).unwrap_err();
    assert!(absent.may_pass(), "{absent}");
}
