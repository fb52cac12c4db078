//! What every command must satisfy before a job sees it, and the hash of everything it says.
//!
//! A command that fails [`Command::check`] is a dead letter: no job could name its key or its time.
//! Quantities and prices are not looked at here, because the jobs judge those and say so in facts.

use crate::commands::{
    CancelOrder, PaymentCaptured, PaymentDeclined, PlaceOrder, RefundOrder, ReviewDecision,
};
use crate::registry::Record;
use crate::{Command, Text, draws};

/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Longest free text (a reason), in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most numbers on one ticket.
pub const NUMBERS_MAX: usize = 256;
/// Last millisecond of the year 9999, UTC.
pub const TIME_MS_MAX: i64 = 253_402_300_799_999;

/// The header of a command's record that says what its payload's hash is, where whoever appended it filled in
/// what its sender left out: 16 hexadecimal digits, the hash of what the sender said.
pub const PAYLOAD_HASH: &str = "payload-hash";

/// The hash in such a header; none where it isn't one.
pub fn sent_payload_hash(header: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(header).ok().filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

impl Command {
    /// Checks ids (1–128 bytes), currency (three capital letters) and times (1970 to 9999).
    ///
    /// # Errors
    /// Names the field, what is wrong with it, and what it should be.
    pub fn check(&self) -> Result<(), String> {
        id("command_id", self.command_id())?;
        id("tenant", self.tenant())?;
        let subject = if self.is_of_draws() { "draw_id" } else { "order_id" };
        id(subject, self.subject_id())?;
        match self {
            Command::PlaceOrder(c) => check_place(c),
            Command::CancelOrder(c) => request("requested_at_ms", c.requested_at_ms, c.reason.as_ref()),
            Command::RefundOrder(c) => request("requested_at_ms", c.requested_at_ms, c.reason.as_ref()),
            Command::PaymentCaptured(c) => {
                id("payment_id", &c.payment_id)?;
                currency(&c.currency)?;
                time("captured_at_ms", c.captured_at_ms)
            }
            Command::PaymentDeclined(c) => {
                id("payment_id", &c.payment_id)?;
                request("declined_at_ms", c.declined_at_ms, c.reason.as_ref())
            }
            Command::ReviewDecision(c) => {
                id("decided_by", &c.decided_by)?;
                time("decided_at_ms", c.decided_at_ms)
            }
            of_draws => draws::check_command(of_draws),
        }
    }

    /// Stable hash of everything the command says, the same whichever codec or writer's schema it came by.
    ///
    /// Two commands of one `command_id` must agree on it. It is kept in snapshots, so it must not change:
    /// an optional field is hashed with its number only where it is present, so that a field added later
    /// leaves older commands' hashes as they were.
    pub fn payload_hash(&self) -> u64 {
        let mut said = Said(Vec::with_capacity(256));
        match self {
            Command::PlaceOrder(c) => say_place(c, &mut said),
            Command::CancelOrder(c) => say_cancel(c, &mut said),
            Command::RefundOrder(c) => say_refund(c, &mut said),
            Command::PaymentCaptured(c) => say_captured(c, &mut said),
            Command::PaymentDeclined(c) => say_declined(c, &mut said),
            Command::ReviewDecision(c) => say_review(c, &mut said),
            of_draws => draws::say(of_draws, &mut said),
        }
        xxhash_rust::xxh3::xxh3_64(&said.0)
    }
}

fn check_place(c: &PlaceOrder) -> Result<(), String> {
    id("customer_id", &c.customer_id)?;
    id("offer_id", &c.offer_id)?;
    for (field, value) in [
        ("partner_id", &c.partner_id),
        ("card", &c.card),
        ("device", &c.device),
        ("ip", &c.ip),
        ("seat", &c.seat),
    ] {
        value.as_ref().map_or(Ok(()), |value| id(field, value))?;
    }
    if c.numbers.len() > NUMBERS_MAX {
        return Err(format!("`numbers` has {} entries; send at most {NUMBERS_MAX}", c.numbers.len()));
    }
    currency(&c.currency)?;
    time("placed_at_ms", c.placed_at_ms)
}

fn request(time_field: &str, at_ms: i64, reason: Option<&Text>) -> Result<(), String> {
    if let Some(reason) = reason
        && reason.len() > REASON_BYTES_MAX
    {
        return Err(format!("`reason` has {} bytes; send at most {REASON_BYTES_MAX}", reason.len()));
    }
    time(time_field, at_ms)
}

pub(crate) fn id(field: &str, value: &str) -> Result<(), String> {
    match value.len() {
        0 => Err(format!("`{field}` is empty; send 1 to {ID_BYTES_MAX} bytes, or leave an optional one out")),
        1..=ID_BYTES_MAX => Ok(()),
        bytes => Err(format!("`{field}` has {bytes} bytes; send 1 to {ID_BYTES_MAX}")),
    }
}

pub(crate) fn currency(value: &str) -> Result<(), String> {
    if value.len() == 3 && value.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(());
    }
    let shown: String = value.chars().take(12).collect();
    Err(format!("`currency` is {shown:?}; send an ISO 4217 code such as EUR"))
}

pub(crate) fn time(field: &str, at_ms: i64) -> Result<(), String> {
    if (0..=TIME_MS_MAX).contains(&at_ms) {
        return Ok(());
    }
    Err(format!("`{field}` is {at_ms}; send UTC milliseconds since 1970, at most the year 9999"))
}

/// The canonical bytes of a command: texts with their length, integers little-endian, in a fixed order.
pub(crate) struct Said(Vec<u8>);

impl Said {
    pub(crate) fn record(&mut self, record: Record, command_id: &Text, tenant: &Text, subject_id: &Text) {
        self.0.push(record as u8);
        self.text(command_id);
        self.text(tenant);
        self.text(subject_id);
    }

    pub(crate) fn text(&mut self, text: &Text) {
        self.0.extend_from_slice(&(text.len() as u32).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    pub(crate) fn int(&mut self, int: i64) {
        self.0.extend_from_slice(&int.to_le_bytes());
    }

    /// `number` is the field's own within its record, never used again for another.
    pub(crate) fn optional(&mut self, number: u8, text: Option<&Text>) {
        if let Some(text) = text {
            self.0.push(number);
            self.text(text);
        }
    }

    pub(crate) fn ints(&mut self, number: u8, ints: &[i32]) {
        if !ints.is_empty() {
            self.0.push(number);
            self.int(ints.len() as i64);
            ints.iter().for_each(|&int| self.int(i64::from(int)));
        }
    }
}

// Each takes its record apart by name, so that a field added to a command can't be forgotten here.

fn say_place(command: &PlaceOrder, said: &mut Said) {
    #[rustfmt::skip]
    let PlaceOrder {
        command_id, tenant, order_id, customer_id, partner_id, offer_id, quantity, price_minor, currency,
        placed_at_ms, card, device, ip, numbers, seat,
    } = command;
    said.record(Record::PlaceOrder, command_id, tenant, order_id);
    said.text(customer_id);
    said.text(offer_id);
    said.int(i64::from(*quantity));
    said.int(*price_minor);
    said.text(currency);
    said.int(*placed_at_ms);
    said.optional(1, partner_id.as_ref());
    said.optional(2, card.as_ref());
    said.optional(3, device.as_ref());
    said.optional(4, ip.as_ref());
    said.ints(5, numbers);
    said.optional(6, seat.as_ref());
}

fn say_cancel(command: &CancelOrder, said: &mut Said) {
    let CancelOrder { command_id, tenant, order_id, reason, requested_at_ms } = command;
    said.record(Record::CancelOrder, command_id, tenant, order_id);
    said.int(*requested_at_ms);
    said.optional(1, reason.as_ref());
}

fn say_refund(command: &RefundOrder, said: &mut Said) {
    let RefundOrder { command_id, tenant, order_id, reason, requested_at_ms } = command;
    said.record(Record::RefundOrder, command_id, tenant, order_id);
    said.int(*requested_at_ms);
    said.optional(1, reason.as_ref());
}

fn say_captured(command: &PaymentCaptured, said: &mut Said) {
    let PaymentCaptured { command_id, tenant, order_id, payment_id, amount_minor, currency, captured_at_ms } =
        command;
    said.record(Record::PaymentCaptured, command_id, tenant, order_id);
    said.text(payment_id);
    said.int(*amount_minor);
    said.text(currency);
    said.int(*captured_at_ms);
}

fn say_declined(command: &PaymentDeclined, said: &mut Said) {
    let PaymentDeclined { command_id, tenant, order_id, payment_id, reason, declined_at_ms } = command;
    said.record(Record::PaymentDeclined, command_id, tenant, order_id);
    said.text(payment_id);
    said.int(*declined_at_ms);
    said.optional(1, reason.as_ref());
}

fn say_review(command: &ReviewDecision, said: &mut Said) {
    let ReviewDecision { command_id, tenant, order_id, decision, decided_by, decided_at_ms } = command;
    said.record(Record::ReviewDecision, command_id, tenant, order_id);
    said.0.push(*decision as u8);
    said.text(decided_by);
    said.int(*decided_at_ms);
}
