//! Keeps the house style: measures every source file of the workspace and fails on the hard figures.
//!
//! | figure | aim | fails |
//! |---|---|---|
//! | lines of a function's body | median 8, 90th percentile 30 | above 70 |
//! | lines of a file | | 500 or more |
//! | `//!` at the head of a file | | absent |
//! | an arrow between crates | as drawn in ARCHITECTURE.md | any other |
//! | words that don't belong | | any |
//!
//! Run it alone with `cargo test -p tombola --test tidy -- --nocapture` to read the figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use syn::visit::Visit;

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 499;

/// Which workspace crates a crate may depend on, tests included.
const ARROWS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("runtime", &[]),
    ("operators", &["runtime", "schemas"]),
    ("connectors", &["runtime", "schemas"]),
    ("sinks", &["runtime", "schemas"]),
    ("api", &["runtime", "schemas"]),
    ("pipelines", &["connectors", "operators", "sinks", "api", "runtime", "schemas"]),
    ("benches", &["pipelines", "connectors", "operators", "sinks", "runtime", "schemas"]),
];

/// Words that don't belong in the repository, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("artifactory", "a registry host: dependencies come from the default registry"),
    ("index.crates.io", "a registry host: dependencies come from the default registry"),
    ("registry.npmjs", "a registry host"),
    ("/work/", "a path of one machine"),
    ("/home/", "a path of one machine"),
    ("dbg!(", "left over from debugging"),
    ("todo!(", "unfinished"),
    ("unimplemented!(", "unfinished"),
    ("FIXME", "unfinished: open an issue"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the workspace has a root")
}

/// Every file below `dir` but hidden folders, build output and data folders.
fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> =
        std::fs::read_dir(dir).expect("readable folder").map(|e| e.expect("readable entry").path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let hidden = name.starts_with('.') && name != ".ci";
        if path.is_dir() && !hidden && name != "target" && !path.join("tombola.db").exists() {
            files_below(&path, found);
        } else if path.is_file() && name != ".git" {
            // A checkout of its own has `.git` as a file.
            found.push(path);
        }
    }
}

fn files(wanted: fn(&Path) -> bool) -> Vec<(String, String)> {
    let (root, mut found) = (root(), Vec::new());
    files_below(&root, &mut found);
    let relative = |path: &Path| path.strip_prefix(&root).expect("below the root").display().to_string();
    let read = |path: PathBuf| Some((relative(&path), std::fs::read_to_string(&path).ok()?));
    found.into_iter().filter(|path| wanted(path)).filter_map(read).collect()
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "rs")
}

/// Collects the length of every function's body.
struct Functions<'a> {
    file: &'a str,
    found: Vec<(usize, String)>,
}

impl Functions<'_> {
    fn add(&mut self, name: &syn::Ident, body: &syn::Block) {
        let (start, end) =
            (body.brace_token.span.open().start().line, body.brace_token.span.close().end().line);
        let lines = (end - start).saturating_sub(1).max(1);
        self.found.push((lines, format!("{}:{start} {name}", self.file)));
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.add(&item.sig.ident, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(body) = &item.default {
            self.add(&item.sig.ident, body);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

fn functions() -> Vec<(usize, String)> {
    let mut all = Vec::new();
    for (file, text) in files(is_rust) {
        let parsed = syn::parse_file(&text).unwrap_or_else(|e| panic!("{file}: not Rust: {e}"));
        let mut functions = Functions { file: &file, found: Vec::new() };
        functions.visit_file(&parsed);
        all.append(&mut functions.found);
    }
    all.sort();
    all
}

fn percentile(sorted: &[usize], percent: usize) -> usize {
    sorted.get((sorted.len().saturating_sub(1)) * percent / 100).copied().unwrap_or(0)
}

fn print_figures(what: &str, sorted: &[usize]) {
    let (p50, p90, max) = (percentile(sorted, 50), percentile(sorted, 90), percentile(sorted, 100));
    println!("{what}: {} of them, lines: median {p50}, 90th percentile {p90}, longest {max}", sorted.len());
}

fn fail_on(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let functions = functions();
    print_figures("functions", &functions.iter().map(|(lines, _)| *lines).collect::<Vec<_>>());
    let too_long = |(lines, place): &(usize, String)| {
        (*lines > FUNCTION_LINES_MAX)
            .then(|| format!("{place}: {lines} lines, at most {FUNCTION_LINES_MAX}: split it"))
    };
    fail_on(functions.iter().filter_map(too_long).collect());
}

#[test]
fn no_file_is_too_long_to_read_in_one_sitting() {
    let mut lengths: Vec<(usize, String)> =
        files(is_rust).into_iter().map(|(file, text)| (text.lines().count(), file)).collect();
    lengths.sort();
    print_figures("files", &lengths.iter().map(|(lines, _)| *lines).collect::<Vec<_>>());
    let too_long = |(lines, file): &(usize, String)| {
        (*lines > FILE_LINES_MAX)
            .then(|| format!("{file}: {lines} lines, at most {FILE_LINES_MAX}: split it"))
    };
    fail_on(lengths.iter().filter_map(too_long).collect());
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |(file, text): (String, String)| {
        (!text.starts_with("//!"))
            .then(|| format!("{file}: open it with `//!`: purpose, invariants, what a crash does"))
    };
    fail_on(files(is_rust).into_iter().filter_map(silent).collect());
}

fn manifest(path: &Path) -> toml::Table {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn member_dependencies(member: &str, members: &[String]) -> Vec<String> {
    let manifest = manifest(&root().join(member).join("Cargo.toml"));
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .iter()
        .filter_map(|table| manifest.get(*table)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .map(|name| if name == "tombola" { "pipelines".to_owned() } else { name })
        .filter(|name| members.contains(name) && name != member)
        .collect()
}

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let members: Vec<String> = manifest(&root().join("Cargo.toml"))["workspace"]["members"]
        .as_array()
        .expect("members is a list")
        .iter()
        .map(|m| m.as_str().expect("a member is a name").to_owned())
        .collect();
    let drawn: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut problems = Vec::new();
    for member in &members {
        let Some(allowed) = drawn.get(member.as_str()) else {
            problems.push(format!("{member}: a crate nobody drew: add it to ARCHITECTURE.md and to ARROWS"));
            continue;
        };
        for dependency in member_dependencies(member, &members) {
            if !allowed.contains(&dependency.as_str()) {
                problems.push(format!("{member} -> {dependency}: not drawn in ARCHITECTURE.md"));
            }
        }
    }
    fail_on(problems);
}

#[test]
fn no_word_stands_here_that_does_not_belong() {
    let is_text = |path: &Path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        !["tidy.rs", "Cargo.lock"].contains(&name) && std::fs::metadata(path).is_ok_and(|m| m.len() < 1 << 20)
    };
    let mut problems = Vec::new();
    for (file, text) in files(is_text) {
        for (number, line) in text.lines().enumerate() {
            for (word, why) in FORBIDDEN.iter().filter(|(word, _)| line.contains(word)) {
                problems.push(format!("{file}:{}: `{word}`: {why}", number + 1));
            }
        }
    }
    fail_on(problems);
}

#[test]
fn every_dependency_comes_from_the_default_registry() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).expect("Cargo.lock is committed");
    let plain = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let other = |line: &str| (line.starts_with("source = ") && line != plain).then(|| line.to_owned());
    fail_on(lock.lines().filter_map(other).collect());
}
