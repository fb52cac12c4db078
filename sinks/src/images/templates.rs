//! Templates, themes and brands: files that ship with the program, each of which a folder may replace.
//!
//! ```text
//!   FOLDER/<template>/<game>.<locale>.svg   ┐
//!   FOLDER/<template>/<game>.svg            │ the first there is; the folder's before a shipped one of the same name
//!   FOLDER/<template>/default.<locale>.svg  │
//!   FOLDER/<template>/default.svg           ┘
//!   FOLDER/themes.json    by game: title, colours, time zone     FOLDER/brands.json    by tenant: name, colours
//! ```
//!
//! A template is SVG with `{{ … }}` for values and `{% … %}` for repetition (Jinja, through `minijinja`). It sees
//! what [`View`] holds and nothing else; every value is escaped. Files are read once, when first asked for.

use super::layout::{Frame, balls, fit, prize_lines};
use super::{ImageError, ImageRequest};
use crate::announcement::{Announcement, Locale, Locales, PrizeTier};
use jiff::tz::TimeZone;
use minijinja::value::{Rest, Serde};
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SHIPPED: &[(&str, &str)] = &[
    ("parts.svg", include_str!("../../assets/templates/parts.svg")),
    ("card/default.svg", include_str!("../../assets/templates/card.svg")),
    ("square/default.svg", include_str!("../../assets/templates/square.svg")),
    ("story/default.svg", include_str!("../../assets/templates/story.svg")),
    ("banner/default.svg", include_str!("../../assets/templates/banner.svg")),
];
const THEMES: &str = include_str!("../../assets/templates/themes.json");

/// Steps a template may take: one that never ends is a mistake in a file.
const STEPS_MAX: u64 = 1_000_000;

/// How a game looks. What a game doesn't say, the theme `default` does.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Theme {
    title: Option<String>,
    /// Where it is drawn, as the time zone database calls it: its dates are meant.
    zone: Option<String>,
    from: Option<String>,
    to: Option<String>,
    accent: Option<String>,
    ball: Option<String>,
    ball_ink: Option<String>,
    bonus: Option<String>,
    bonus_ink: Option<String>,
}

/// Whose image it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Brand {
    name: Option<String>,
    /// Replaces the theme's colours.
    from: Option<String>,
    to: Option<String>,
    accent: Option<String>,
}

/// What a template sees.
#[derive(Serialize)]
struct View<'a> {
    brand: String,
    title: String,
    theme: Theme,
    game: &'a str,
    draw_id: String,
    revision: i64,
    corrected: bool,
    numbers: &'a [i64],
    bonus: &'a [i64],
    prizes: bool,
    date: String,
    time: String,
    jackpot: Option<String>,
    locale: &'a str,
    words: &'a BTreeMap<String, String>,
}

/// Every template there is, with themes and brands.
#[derive(Clone)]
pub struct Templates {
    environment: Arc<Environment<'static>>,
    locales: Locales,
    themes: Arc<BTreeMap<String, Theme>>,
    brands: Arc<BTreeMap<String, Brand>>,
}

impl Templates {
    /// Those of a folder, and behind them those that ship with the program.
    ///
    /// # Errors
    /// Where themes or brands of the folder can't be read.
    pub fn new(folder: Option<&Path>) -> Result<Self, ImageError> {
        let mut themes: BTreeMap<String, Theme> =
            serde_json::from_str(THEMES).expect("the shipped themes are whole");
        themes.extend(json_of(folder, "themes.json")?);
        let mut environment = Environment::new();
        let its_folder = folder.map(Path::to_owned);
        environment.set_loader(move |name| load(its_folder.as_deref(), name));
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(STEPS_MAX));
        environment.add_function("fit", |text: String, size: f64, width: f64| fit(&text, size, width));
        Ok(Templates {
            environment: Arc::new(environment),
            locales: Locales::new(folder),
            themes: Arc::new(themes),
            brands: Arc::new(json_of(folder, "brands.json")?),
        })
    }

    /// The locales that go with them.
    pub fn locales(&self) -> &Locales {
        &self.locales
    }

    /// What a game is called.
    pub fn title(&self, result: &Announcement) -> String {
        let theme = self.themes.get(&result.game);
        theme.and_then(|theme| theme.title.clone()).unwrap_or_else(|| result.game_title())
    }

    /// The time zone in which a game's dates are meant.
    pub fn zone(&self, game: &str) -> TimeZone {
        let named = |name: &str| self.themes.get(name).and_then(|theme| theme.zone.clone());
        let zone = named(game).or_else(|| named("default"));
        zone.and_then(|zone| TimeZone::get(&zone).ok()).unwrap_or(TimeZone::UTC)
    }

    /// The template's name and the SVG of a request.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn svg(&self, request: &ImageRequest) -> Result<(String, String), ImageError> {
        let ImageRequest { result, template, locale } = request;
        let name = self.choose(template, &result.game, locale)?;
        let language = self.locales.get(locale)?;
        let view = self.view(request, &language);
        let failed = |e: minijinja::Error| ImageError::Template { name: name.clone(), problem: told(&e) };
        // The functions of the layout know the result, so that a template only names the frame.
        let mut environment = (*self.environment).clone();
        let (numbers, bonus) = (result.numbers.clone(), result.bonus.clone());
        environment.add_function("balls", move |frame: Rest<f64>| {
            frame_of(&frame).map(|frame| Value::from(Serde(balls(&numbers, &bonus, frame))))
        });
        let prizes: Vec<PrizeTier> = result.prizes.iter().map(clean_tier).collect();
        let words = language.clone();
        environment.add_function("prize_lines", move |frame: Rest<f64>| {
            frame_of(&frame).map(|frame| Value::from(Serde(prize_lines(&prizes, &words, frame))))
        });
        let svg =
            environment.get_template(&name).and_then(|found| found.render(Serde(&view))).map_err(failed)?;
        Ok((name, svg))
    }

    fn choose(&self, template: &str, game: &str, locale: &str) -> Result<String, ImageError> {
        let unknown = || ImageError::UnknownTemplate { name: template.to_owned() };
        if !is_plain(template) {
            return Err(unknown());
        }
        let games = if is_plain(game) { vec![game, "default"] } else { vec!["default"] };
        let locale = Some(locale).filter(|locale| is_plain(locale));
        for game in games {
            let localised = locale.map(|locale| format!("{template}/{game}.{locale}.svg"));
            for name in localised.into_iter().chain([format!("{template}/{game}.svg")]) {
                match self.environment.get_template(&name) {
                    Ok(_) => return Ok(name),
                    Err(e) if e.kind() == ErrorKind::TemplateNotFound => {}
                    Err(e) => return Err(ImageError::Template { name, problem: told(&e) }),
                }
            }
        }
        Err(unknown())
    }

    fn view<'a>(&self, request: &'a ImageRequest, locale: &'a Locale) -> View<'a> {
        let result = &request.result;
        let brand = self.brands.get(&result.tenant).cloned().unwrap_or_default();
        let zone = self.zone(&result.game);
        View {
            brand: clean(&brand.name.clone().unwrap_or_else(|| result.tenant.clone())),
            title: clean(&self.title(result)),
            theme: self.theme(&result.game, &brand),
            game: &result.game,
            draw_id: clean(&result.draw_id),
            revision: result.revision,
            corrected: result.supersedes.is_some(),
            numbers: &result.numbers,
            bonus: &result.bonus,
            prizes: !result.prizes.is_empty(),
            date: locale.date(result.drawn_at_ms, &zone),
            time: locale.time(result.drawn_at_ms, &zone),
            jackpot: result
                .jackpot_minor
                .zip(result.currency.as_deref())
                .map(|(minor, currency)| clean(&locale.money(minor, currency))),
            locale: &request.locale,
            words: locale.words(),
        }
    }

    fn theme(&self, game: &str, brand: &Brand) -> Theme {
        let (base, own) =
            (self.themes.get("default").cloned().unwrap_or_default(), self.themes.get(game).cloned());
        let own = own.unwrap_or_default();
        Theme {
            title: own.title,
            zone: own.zone,
            from: brand.from.clone().or(own.from).or(base.from),
            to: brand.to.clone().or(own.to).or(base.to),
            accent: brand.accent.clone().or(own.accent).or(base.accent),
            ball: own.ball.or(base.ball),
            ball_ink: own.ball_ink.or(base.ball_ink),
            bonus: own.bonus.or(base.bonus),
            bonus_ink: own.bonus_ink.or(base.bonus_ink),
        }
    }
}

/// What may stand in a file's name.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn load(folder: Option<&Path>, name: &str) -> Result<Option<String>, minijinja::Error> {
    let inside = name.split('/').all(|part| !part.is_empty() && !part.starts_with('.'));
    if let Some(path) = folder.map(|folder| folder.join(name)).filter(|path| inside && path.is_file()) {
        let problem = |e: std::io::Error| {
            minijinja::Error::new(ErrorKind::InvalidOperation, format!("{}: {e}", path.display()))
        };
        return std::fs::read_to_string(&path).map(Some).map_err(problem);
    }
    Ok(SHIPPED.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned()))
}

fn json_of<T: for<'de> Deserialize<'de>>(
    folder: Option<&Path>,
    name: &str,
) -> Result<BTreeMap<String, T>, ImageError> {
    let Some(path) = folder.map(|folder| folder.join(name)).filter(|path| path.exists()) else {
        return Ok(BTreeMap::new());
    };
    let problem = |path: PathBuf, problem: String| ImageError::File { path, problem };
    let text = std::fs::read_to_string(&path).map_err(|e| problem(path.clone(), e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| problem(path, e.to_string()))
}

fn frame_of(numbers: &[f64]) -> Result<Frame, minijinja::Error> {
    match *numbers {
        [x, y, width, height] => Ok(Frame { x, y, width, height }),
        _ => Err(minijinja::Error::new(ErrorKind::MissingArgument, "a frame is x, y, width, height")),
    }
}

/// XML has no place for control characters, not even escaped.
fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')).collect()
}

fn clean_tier(tier: &PrizeTier) -> PrizeTier {
    PrizeTier { tier: clean(&tier.tier), numbers: tier.numbers.iter().map(|text| clean(text)).collect() }
}

/// The message with its place.
fn told(error: &minijinja::Error) -> String {
    match (error.name(), error.line()) {
        (Some(name), Some(line)) => format!("{error} (in {name}, line {line})"),
        _ => error.to_string(),
    }
}
