//! Reads the data set's files into plain rows: times to UTC milliseconds, prices to centavos, no floats.
//!
//! A row that can't be read stops the conversion with its file and line; nothing is skipped in silence.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// One order.
#[derive(Debug, Clone, Deserialize)]
pub struct Order {
    pub order_id: String,
    pub customer_id: String,
    pub order_status: String,
    #[serde(deserialize_with = "time")]
    pub order_purchase_timestamp: i64,
    #[serde(deserialize_with = "time_or_none")]
    pub order_approved_at: Option<i64>,
}

/// One item of an order.
#[derive(Debug, Clone, Deserialize)]
pub struct Item {
    pub order_id: String,
    pub order_item_id: u32,
    pub product_id: String,
    pub seller_id: String,
    /// In centavos.
    #[serde(deserialize_with = "centavos")]
    pub price: i64,
}

/// A customer of one order; `customer_unique_id` is the person.
#[derive(Debug, Clone, Deserialize)]
pub struct Customer {
    pub customer_id: String,
    pub customer_unique_id: String,
}

/// Who sells.
#[derive(Debug, Clone, Deserialize)]
pub struct Seller {
    pub seller_id: String,
}

/// What the conversion needs of the data set.
pub struct Olist {
    pub orders: Vec<Order>,
    pub items: Vec<Item>,
    pub customers: Vec<Customer>,
    pub sellers: Vec<Seller>,
}

/// Reads the four files from `data`.
pub fn read(data: &Path) -> Result<Olist, Box<dyn std::error::Error>> {
    Ok(Olist {
        orders: rows(data, "orders")?,
        items: rows(data, "order_items")?,
        customers: rows(data, "customers")?,
        sellers: rows(data, "sellers")?,
    })
}

fn rows<T: DeserializeOwned>(data: &Path, name: &str) -> Result<Vec<T>, Box<dyn std::error::Error>> {
    let path = data.join(format!("olist_{name}_dataset.csv.gz"));
    let place = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = std::fs::File::open(&path).map_err(|e| place(&e))?;
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    reader.deserialize().map(|row| row.map_err(|e| place(&e).into())).collect()
}

/// `2017-07-09 21:57:05`, taken as UTC.
pub fn parse_time(text: &str) -> Result<i64, String> {
    let civil: jiff::civil::DateTime = text.parse().map_err(|e| format!("time {text:?}: {e}"))?;
    let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).map_err(|e| format!("time {text:?}: {e}"))?;
    Ok(utc.timestamp().as_millisecond())
}

/// `99.9`, `144.0`, `21.99` or `7`, to centavos.
pub fn parse_centavos(text: &str) -> Result<i64, String> {
    let (reais, cents) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if reais.is_empty() || cents.len() > 2 || !digits(reais) || !digits(cents) {
        return Err(format!("price {text:?} is not a decimal with at most two places"));
    }
    let error = |_| format!("price {text:?} is too large");
    format!("{reais}{cents:0<2}").parse().map_err(error)
}

fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    parse_time(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

fn time_or_none<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() { Ok(None) } else { parse_time(&text).map(Some).map_err(serde::de::Error::custom) }
}

fn centavos<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    parse_centavos(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}
