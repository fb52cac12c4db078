//! Reference tables as they arrive by change data capture: `oltp.public.<table>`.

use crate::Text;
pub use crate::draws::{Channel, Draw};
use crate::names::words;
pub use crate::velocity::VelocityRule;
use serde::{Deserialize, Serialize};

/// The latest state of one row of a reference table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reference {
    Offer(Box<Offer>),
    Partner(Box<Partner>),
    Customer(Box<Customer>),
    CommissionRate(Box<CommissionRate>),
    CommissionPeriod(Box<CommissionPeriod>),
    VelocityRule(Box<VelocityRule>),
    Draw(Box<Draw>),
    Channel(Box<Channel>),
}

/// Which row: table and primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReferenceKey {
    Offer {
        tenant: Text,
        offer_id: Text,
    },
    Partner {
        tenant: Text,
        partner_id: Text,
    },
    Customer {
        tenant: Text,
        customer_id: Text,
    },
    /// `rate_id` joins the key's other columns: see [`CommissionRate::rate_id`].
    CommissionRate {
        tenant: Text,
        rate_id: Text,
    },
    CommissionPeriod {
        tenant: Text,
        month: Text,
    },
    VelocityRule {
        tenant: Text,
        rule_id: Text,
    },
    Draw {
        tenant: Text,
        draw_id: Text,
    },
    Channel {
        tenant: Text,
        channel_id: Text,
    },
}

impl Reference {
    /// The table the row belongs to.
    pub fn table(&self) -> ReferenceTable {
        match self {
            Reference::Offer(_) => ReferenceTable::Offers,
            Reference::Partner(_) => ReferenceTable::Partners,
            Reference::Customer(_) => ReferenceTable::Customers,
            Reference::CommissionRate(_) => ReferenceTable::CommissionRates,
            Reference::CommissionPeriod(_) => ReferenceTable::CommissionPeriods,
            Reference::VelocityRule(_) => ReferenceTable::VelocityRules,
            Reference::Draw(_) => ReferenceTable::Draws,
            Reference::Channel(_) => ReferenceTable::Channels,
        }
    }

    /// The row's primary key.
    pub fn key(&self) -> ReferenceKey {
        match self {
            Reference::Offer(o) => {
                ReferenceKey::Offer { tenant: o.tenant.clone(), offer_id: o.offer_id.clone() }
            }
            Reference::Partner(p) => {
                ReferenceKey::Partner { tenant: p.tenant.clone(), partner_id: p.partner_id.clone() }
            }
            Reference::Customer(c) => {
                ReferenceKey::Customer { tenant: c.tenant.clone(), customer_id: c.customer_id.clone() }
            }
            Reference::CommissionRate(r) => {
                ReferenceKey::CommissionRate { tenant: r.tenant.clone(), rate_id: r.rate_id() }
            }
            Reference::CommissionPeriod(p) => {
                ReferenceKey::CommissionPeriod { tenant: p.tenant.clone(), month: p.month.clone() }
            }
            Reference::VelocityRule(r) => {
                ReferenceKey::VelocityRule { tenant: r.tenant.clone(), rule_id: r.rule_id.clone() }
            }
            Reference::Draw(d) => ReferenceKey::Draw { tenant: d.tenant.clone(), draw_id: d.draw_id.clone() },
            Reference::Channel(c) => {
                ReferenceKey::Channel { tenant: c.tenant.clone(), channel_id: c.channel_id.clone() }
            }
        }
    }
}

impl ReferenceKey {
    /// The table the key belongs to.
    pub fn table(&self) -> ReferenceTable {
        match self {
            ReferenceKey::Offer { .. } => ReferenceTable::Offers,
            ReferenceKey::Partner { .. } => ReferenceTable::Partners,
            ReferenceKey::Customer { .. } => ReferenceTable::Customers,
            ReferenceKey::CommissionRate { .. } => ReferenceTable::CommissionRates,
            ReferenceKey::CommissionPeriod { .. } => ReferenceTable::CommissionPeriods,
            ReferenceKey::VelocityRule { .. } => ReferenceTable::VelocityRules,
            ReferenceKey::Draw { .. } => ReferenceTable::Draws,
            ReferenceKey::Channel { .. } => ReferenceTable::Channels,
        }
    }

    /// The tenant, and the id within it.
    pub fn parts(&self) -> (&Text, &Text) {
        match self {
            ReferenceKey::Offer { tenant, offer_id } => (tenant, offer_id),
            ReferenceKey::Partner { tenant, partner_id } => (tenant, partner_id),
            ReferenceKey::Customer { tenant, customer_id } => (tenant, customer_id),
            ReferenceKey::CommissionRate { tenant, rate_id } => (tenant, rate_id),
            ReferenceKey::CommissionPeriod { tenant, month } => (tenant, month),
            ReferenceKey::VelocityRule { tenant, rule_id } => (tenant, rule_id),
            ReferenceKey::Draw { tenant, draw_id } => (tenant, draw_id),
            ReferenceKey::Channel { tenant, channel_id } => (tenant, channel_id),
        }
    }
}

/// Which reference table a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceTable {
    Offers,
    Partners,
    Customers,
    CommissionRates,
    CommissionPeriods,
    VelocityRules,
    Draws,
    Channels,
}

words!(ReferenceTable {
    Offers => "offers",
    Partners => "partners",
    Customers => "customers",
    CommissionRates => "commission_rates",
    CommissionPeriods => "commission_periods",
    VelocityRules => "velocity_rules",
    Draws => "draws",
    Channels => "channels",
});

/// One change of one reference table, decoded from its Debezium envelope.
/// A primary-key change arrives as a delete of the old key followed by a create of the new one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Create, update or snapshot read. Newest `lsn` wins; an older or equal one is a redelivery.
    Upsert {
        lsn: u64,
        row: Reference,
    },
    Delete {
        lsn: u64,
        key: ReferenceKey,
    },
    /// Every row of the table goes, in every tenant.
    Truncate {
        lsn: u64,
        table: ReferenceTable,
    },
    /// A tombstone, heartbeat or schema-only message: says nothing about a row.
    Nothing,
}

/// What an offer sells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferKind {
    Ticket,
    Seat,
    Box,
    Voucher,
}

impl ReferenceTable {
    /// The topic that carries it.
    pub fn topic(self) -> &'static str {
        match self {
            ReferenceTable::Offers => "oltp.public.offers",
            ReferenceTable::Partners => "oltp.public.partners",
            ReferenceTable::Customers => "oltp.public.customers",
            ReferenceTable::CommissionRates => "oltp.public.commission_rates",
            ReferenceTable::CommissionPeriods => "oltp.public.commission_periods",
            ReferenceTable::VelocityRules => "oltp.public.velocity_rules",
            ReferenceTable::Draws => "oltp.public.draws",
            ReferenceTable::Channels => "oltp.public.channels",
        }
    }

    /// The table a topic carries, whatever the server name and schema before the last dot.
    pub fn of_topic(topic: &str) -> Option<Self> {
        Self::parse(topic.rsplit('.').next().unwrap_or(topic))
    }
}

words!(OfferKind {
    Ticket => "ticket",
    Seat => "seat",
    Box => "box",
    Voucher => "voucher",
});

/// Whether an offer can be bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferStatus {
    Open,
    Closed,
}

words!(OfferStatus {
    Open => "open",
    Closed => "closed",
});

/// Something scarce for sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    pub tenant: Text,
    pub offer_id: Text,
    pub kind: OfferKind,
    pub price_minor: i64,
    pub currency: Text,
    /// Units in existence; a change is a restock or a shrink of the ledger.
    pub stock_total: i64,
    /// Sale window [opens, closes), UTC milliseconds; open-ended where absent.
    pub sale_opens_at_ms: Option<i64>,
    pub sale_closes_at_ms: Option<i64>,
    pub max_per_order: i32,
    pub max_per_customer: Option<i32>,
    pub draw_id: Option<Text>,
    /// Whether a refund puts the units back on sale.
    pub restock_on_refund: bool,
    pub status: OfferStatus,
}

/// Whether a partner may sell, or a customer may buy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Active,
    Suspended,
    Blocked,
}

words!(Standing {
    Active => "active",
    Suspended => "suspended",
    Blocked => "blocked",
});

/// Who sells on a tenant's behalf, and on what commission plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partner {
    pub tenant: Text,
    pub partner_id: Text,
    pub status: Standing,
    pub plan: Text,
}

/// Who buys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    pub tenant: Text,
    pub customer_id: Text,
    pub status: Standing,
    /// Most the customer may hold or have bought per UTC day of `placed_at`, per currency.
    pub daily_spend_limit_minor: Option<i64>,
}

/// One tier of a commission plan: what it pays on the slice of a month's base above its floor.
/// The primary key is everything but the rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionRate {
    pub tenant: Text,
    pub plan: Text,
    pub offer_kind: OfferKind,
    pub currency: Text,
    /// Where the tier's slice begins; it ends where the next tier's begins.
    pub tier_floor_minor: i64,
    pub rate_bps: i32,
    /// `YYYY-MM-01`: the first month the tier is good for. The newest set not after a month is that month's.
    pub valid_from: Text,
}

impl CommissionRate {
    /// The key's columns but the tenant, joined: `voucher/BRL/100000/2016-01-01/standard`.
    pub fn rate_id(&self) -> Text {
        let CommissionRate { plan, offer_kind, currency, tier_floor_minor, valid_from, .. } = self;
        compact_str::format_compact!("{offer_kind}/{currency}/{tier_floor_minor}/{valid_from}/{plan}")
    }
}

/// Whether a month's statements may still change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PeriodStatus {
    Open,
    Closed,
}

words!(PeriodStatus {
    Open => "open",
    Closed => "closed",
});

/// Whether a tenant's month is closed. A month without a row is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommissionPeriod {
    pub tenant: Text,
    /// `YYYY-MM`.
    pub month: Text,
    pub status: PeriodStatus,
}
