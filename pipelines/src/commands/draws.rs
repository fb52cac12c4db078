//! `tombola draws`: results, what they paid and where they were published; and an operator's word on them.

use super::place::Place;
use super::{Failure, output};
use connectors::embedded::NewRecord;
use schemas::draws::{CorrectResult, DigitPrize, RepublishDraw};
use schemas::{Command, Text, encode_command};
use sinks::embedded::Found;

/// Longest a question to the tables may take.
const QUERY_MS_MAX: u64 = 30_000;

/// Look at draws, publish one once more, or correct its result.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  tombola draws list
  tombola draws show 2026-11-21 --json
  tombola draws republish 2026-11-21 --channel mastodon-en
  tombola draws correct 2026-11-21 --numbers 3,9,21,30,41,48 --bonus 7 --reason 'misread the sixth ball'
  tombola draws correct 2026-11-21 --numbers 3,9,21,30,41,48 --bonus 7 --jackpot 4200000000 --reason 'misprint'

Exit codes: 0 done; 1 it failed; 2 no such draw, or bad arguments.")]
pub struct Draws {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List draws that something was reported of, newest first.
    List {
        /// Only those that stand so: waiting, disagreement, published or settled.
        #[arg(long)]
        status: Option<String>,
        #[command(flatten)]
        place: Place,
        /// Print one JSON object per draw.
        #[arg(long)]
        json: bool,
        /// Most draws listed.
        #[arg(long, default_value_t = 1_000, value_name = "ROWS")]
        limit: usize,
    },
    /// Show one: its result, prizes by tier, publications.
    Show {
        #[command(flatten)]
        draw: Which,
        #[command(flatten)]
        place: Place,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Ask for every image and post of it that failed or was skipped once more, and for channels added since.
    Republish {
        #[command(flatten)]
        draw: Which,
        /// Only this channel.
        #[arg(long)]
        channel: Option<String>,
        #[command(flatten)]
        place: Place,
    },
    /// Say what was drawn, whatever sources say or before any has: a new revision is settled and published. The numbers are
    /// always said, those of a result whose jackpot alone was wrong, too. Of a draw that no source has reported yet, name
    /// the tenant, too.
    Correct {
        #[command(flatten)]
        draw: Which,
        /// The main numbers, separated by commas.
        #[arg(long, value_delimiter = ',', required_unless_present = "prize")]
        numbers: Vec<i32>,
        /// The bonus numbers, separated by commas.
        #[arg(long, value_delimiter = ',')]
        bonus: Vec<i32>,
        /// In a game of digits, once for each prize: TIER=NUMBER,NUMBER,…
        #[arg(long, value_name = "TIER=NUMBERS", conflicts_with = "numbers")]
        prize: Vec<String>,
        /// The jackpot, in minor units (cents). Left out, it stays what it is.
        #[arg(long, value_name = "MINOR", value_parser = clap::value_parser!(i64).range(0..))]
        jackpot: Option<i64>,
        /// Of the jackpot; left out, it stays what it is, at first the draw's.
        #[arg(long, value_name = "CUR", requires = "jackpot")]
        currency: Option<String>,
        /// Why.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Which draw.
#[derive(Debug, clap::Args)]
struct Which {
    /// The draw's id.
    draw: String,
    /// Its tenant; may be left out where only one tenant has a draw of that id.
    #[arg(long)]
    tenant: Option<String>,
}

impl Draws {
    /// Runs the command.
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::List { status, place, json, limit } => list(&place, status.as_deref(), json, limit),
            What::Show { draw, place, json } => show(&place, &draw, json),
            What::Republish { draw, channel, place } => {
                let tenant = draw.tenant(&place)?;
                let (command_id, now) = command_id("republish");
                let command = Command::RepublishDraw(Box::new(RepublishDraw {
                    command_id,
                    tenant,
                    draw_id: draw.draw.into(),
                    channel: channel.map(Text::from),
                    requested_at_ms: now,
                }));
                send(&place, &command)
            }
            What::Correct { draw, numbers, bonus, prize, jackpot, currency, reason, place } => {
                let tenant = draw.tenant_to_speak_of(&place)?;
                let (command_id, now) = command_id("correct");
                let prizes = prize.iter().map(|text| digits(text)).collect::<Result<_, _>>()?;
                let command = Command::CorrectResult(Box::new(CorrectResult {
                    command_id,
                    tenant,
                    draw_id: draw.draw.into(),
                    numbers,
                    bonus,
                    prizes,
                    jackpot_minor: jackpot,
                    currency: currency.map(Text::from),
                    reason: reason.into(),
                    requested_at_ms: now,
                }));
                send(&place, &command)
            }
        }
    }
}

fn list(place: &Place, status: Option<&str>, json: bool, limit: usize) -> Result<(), Failure> {
    let with = status.map_or(String::new(), |status| format!("WHERE status = {}", quoted(status)));
    let sql = format!(
        "SELECT tenant, draw_id, revision, game, numbers, bonus, status, sources, tickets, winners, paid_minor, currency
         FROM draws {with} ORDER BY at_ms DESC, tenant, draw_id"
    );
    let found = ask(place, &sql, limit)?;
    if json {
        objects(&found).iter().for_each(output::print_json);
    } else {
        output::print(&table(&found));
    }
    Ok(())
}

fn show(place: &Place, draw: &Which, json: bool) -> Result<(), Failure> {
    let tenant = draw.tenant(place)?;
    let which = format!("tenant = {} AND draw_id = {}", quoted(&tenant), quoted(&draw.draw));
    let row = ask(place, &format!("SELECT * FROM draws WHERE {which}"), 1)?;
    let prizes = ask(
        place,
        &format!(
            "SELECT revision, tier, status, amount_minor, count(*) AS tickets FROM winning_tickets WHERE {which}
             GROUP BY 1, 2, 3, 4 ORDER BY revision DESC, amount_minor DESC, tier"
        ),
        10_000,
    )?;
    let posts = ask(
        place,
        &format!(
            "SELECT revision, channel, network, status, round, attempts, external_id, image, reason
             FROM publications WHERE {which} ORDER BY revision DESC, channel"
        ),
        10_000,
    )?;
    if json {
        let mut object = objects(&row).remove(0);
        object["prizes_paid"] = objects(&prizes).into();
        object["publications"] = objects(&posts).into();
        output::print_json(&object);
        return Ok(());
    }
    let mut text = String::new();
    for (name, value) in row.columns.iter().zip(&row.rows[0]) {
        text.push_str(&format!("{name:<14}{}\n", output::text(value)));
    }
    output::print(&format!("{text}\n{}\n{}", table(&prizes), table(&posts)));
    Ok(())
}

impl Which {
    /// The tenant: as given, or the only one with such a draw.
    fn tenant(&self, place: &Place) -> Result<Text, Failure> {
        self.reported(place)?.ok_or_else(|| {
            Failure::Usage(format!(
                "nothing was reported of a draw {}; `tombola draws list` shows those that are known",
                self.draw
            ))
        })
    }

    /// The same, or as given where nothing was reported yet: whether there is such a draw is judged with the word.
    fn tenant_to_speak_of(&self, place: &Place) -> Result<Text, Failure> {
        if let Some(tenant) = self.reported(place)? {
            return Ok(tenant);
        }
        let tenant = self.tenant.as_deref().map(Text::from);
        tenant.ok_or_else(|| {
            Failure::Usage(format!(
                "nothing was reported of a draw {}; to enter its result by hand, say whose it is with --tenant",
                self.draw
            ))
        })
    }

    /// The tenant of the only draw that fits, of those that something was reported of.
    fn reported(&self, place: &Place) -> Result<Option<Text>, Failure> {
        let mut sql = format!("SELECT tenant FROM draws WHERE draw_id = {}", quoted(&self.draw));
        if let Some(tenant) = &self.tenant {
            sql.push_str(&format!(" AND tenant = {}", quoted(tenant)));
        }
        let found = ask(place, &sql, 10)?;
        match &found.rows[..] {
            [] => Ok(None),
            [only] => Ok(Some(output::text(&only[0]).into())),
            several => {
                let tenants: Vec<String> = several.iter().map(|row| output::text(&row[0])).collect();
                let tenants = tenants.join(", ");
                Err(Failure::Usage(format!(
                    "{} have a draw {}; say which one with --tenant",
                    tenants, self.draw
                )))
            }
        }
    }
}

fn ask(place: &Place, sql: &str, limit: usize) -> Result<Found, Failure> {
    Ok(place.tables()?.query(sql, limit, QUERY_MS_MAX)?)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn table(found: &Found) -> String {
    let head: Vec<&str> = found.columns.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        found.rows.iter().map(|row| row.iter().map(output::text).collect()).collect();
    output::table(&head, &rows)
}

fn objects(found: &Found) -> Vec<serde_json::Value> {
    let object = |row: &Vec<schemas::Value>| {
        let pairs = found.columns.iter().cloned().zip(row.iter().map(output::json));
        serde_json::Value::Object(pairs.collect())
    };
    found.rows.iter().map(object).collect()
}

/// One that no other run of this command has.
fn command_id(what: &str) -> (Text, i64) {
    let now = crate::clock_ms();
    (Text::from(format!("{what}-{now}-{}", std::process::id())), now)
}

fn digits(text: &str) -> Result<DigitPrize, Failure> {
    let (tier, numbers) = text
        .split_once('=')
        .ok_or_else(|| Failure::Usage(format!("--prize {text}: say TIER=NUMBER,NUMBER,…, as in 8=21,77")))?;
    Ok(DigitPrize { tier: tier.into(), numbers: numbers.split(',').map(|n| n.trim().into()).collect() })
}

fn send(place: &Place, command: &Command) -> Result<(), Failure> {
    command.check().map_err(Failure::Usage)?;
    let stores = place.stores()?;
    let ids = stores.prepare()?;
    let mut value = Vec::with_capacity(192);
    encode_command(command, |record| ids.of(record), &mut value);
    let record = NewRecord {
        partition: None,
        key: Some(command.subject_id().as_bytes().to_vec()),
        value: Some(value),
        timestamp_ms: crate::clock_ms(),
        headers: Vec::new(),
    };
    stores.appender()?.append_many(&[(command.record().topic(), &[record])])?;
    output::print(&format!("{} {} is in the log\n", command.record_name(), command.command_id()));
    Ok(())
}
