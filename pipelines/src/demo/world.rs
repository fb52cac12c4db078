//! The businesses of the demo: what they sell, through whom, and to whom.
//!
//! Two each of lotteries, railways, mystery-box clubs and voucher shops. In each the first offer is the
//! flash sale: it has stock for about half of those who want it.

use super::random::Zipf;
use compact_str::{CompactString as Text, format_compact};
use schemas::reference::{CommissionRate, Customer, Offer, OfferKind, OfferStatus, Partner, Standing};
use schemas::velocity::{FraudAction, RuleStatus, VelocityKey, VelocityMetric, VelocityRule};

/// Offers of a business that can be bought; one more is closed.
pub const OFFERS: usize = 40;
/// Partners of a business; the last one is suspended.
pub const PARTNERS: usize = 12;
/// Registered customers of a business that requires them.
pub const CUSTOMERS: usize = 1_000;
/// Every so many-th registered customer is blocked.
pub const BLOCKED_EVERY: usize = 100;

/// Tenants that look out for hoarders: customers who want a flash sale for themselves.
const WATCHFUL: [&str; 2] = ["box-club", "gift-street"];
/// What partners earn: plan, floor of the tier in minor units, basis points.
const RATES: [(&str, i64, i32); 4] =
    [("standard", 0, 300), ("standard", 1_000_000, 400), ("gold", 0, 500), ("gold", 1_000_000, 700)];
/// Orders of one customer within a minute, and what is done about more.
const HOARDING: [(&str, i64, FraudAction); 2] =
    [("many-orders", 3, FraudAction::Flag), ("hoarding", 6, FraudAction::Block)];

/// One tenant.
#[derive(Clone, Debug)]
pub struct Business {
    pub tenant: Text,
    /// Starts its order ids.
    pub prefix: &'static str,
    pub kind: OfferKind,
    pub currency: Text,
    pub customers_required: bool,
    /// By demand; the last one is closed.
    pub offers: Vec<Offer>,
}

/// Tenants whose customers must be registered.
pub fn tenants_requiring_customers() -> Vec<String> {
    PLANS.iter().filter(|p| p.customers_required).map(|p| p.tenant.to_owned()).collect()
}

struct Plan {
    tenant: &'static str,
    prefix: &'static str,
    kind: OfferKind,
    currency: &'static str,
    price_minor: i64,
    customers_required: bool,
}

const fn plan(
    tenant: &'static str,
    prefix: &'static str,
    kind: OfferKind,
    currency: &'static str,
    price_minor: i64,
) -> Plan {
    Plan {
        tenant,
        prefix,
        kind,
        currency,
        price_minor,
        customers_required: matches!(kind, OfferKind::Ticket),
    }
}

const PLANS: [Plan; 8] = [
    plan("lucky-seven", "LS", OfferKind::Ticket, "EUR", 250),
    plan("moon-lotto", "ML", OfferKind::Ticket, "USD", 300),
    plan("north-rail", "NR", OfferKind::Seat, "EUR", 4_900),
    plan("coast-line", "CL", OfferKind::Seat, "BDT", 85_500),
    plan("box-club", "BC", OfferKind::Box, "USD", 1_999),
    plan("secret-drop", "SD", OfferKind::Box, "EUR", 2_500),
    plan("city-deals", "CD", OfferKind::Voucher, "BRL", 9_990),
    plan("gift-street", "GS", OfferKind::Voucher, "EUR", 5_000),
];

/// Every business, stocked for a run of about this many orders.
pub fn businesses(orders: u64) -> Vec<Business> {
    let demand = Zipf::new(OFFERS);
    let each = orders / PLANS.len() as u64;
    PLANS.iter().map(|plan| plan.business(|rank| demand.expected(rank, each) as i64)).collect()
}

impl Plan {
    fn business(&self, demand: impl Fn(usize) -> i64) -> Business {
        let mut offers: Vec<Offer> = (0..OFFERS).map(|rank| self.offer(rank, demand(rank))).collect();
        offers.push(Offer { status: OfferStatus::Closed, ..self.offer(OFFERS, 100) });
        Business {
            tenant: self.tenant.into(),
            prefix: self.prefix,
            kind: self.kind,
            currency: self.currency.into(),
            customers_required: self.customers_required,
            offers,
        }
    }

    /// Orders take 1.5 units on average: the flash sale has 0.75 of a unit for each, the others 2.
    fn offer(&self, rank: usize, orders: i64) -> Offer {
        let flash = rank == 0;
        let name = if flash { "flash".into() } else { format_compact!("{rank:02}") };
        let draw = matches!(self.kind, OfferKind::Ticket)
            .then(|| super::draws::draw_id(rank as u64 % super::draws::AT_A_TIME));
        Offer {
            tenant: self.tenant.into(),
            offer_id: format_compact!("{}-{name}", self.prefix),
            kind: self.kind,
            price_minor: self.price_minor + rank as i64 * 10,
            currency: self.currency.into(),
            stock_total: if flash { orders * 3 / 4 } else { orders * 2 } + 20,
            sale_opens_at_ms: None,
            sale_closes_at_ms: None,
            max_per_order: 4,
            max_per_customer: flash.then_some(8),
            draw_id: draw,
            restock_on_refund: !matches!(self.kind, OfferKind::Ticket),
            status: OfferStatus::Open,
        }
    }
}

impl Business {
    /// Its partners.
    pub fn partners(&self) -> impl Iterator<Item = Partner> + '_ {
        (0..PARTNERS).map(|number| Partner {
            tenant: self.tenant.clone(),
            partner_id: partner_id(number),
            status: if number + 1 == PARTNERS { Standing::Suspended } else { Standing::Active },
            plan: if number % 3 == 0 { "gold" } else { "standard" }.into(),
        })
    }

    /// What its partners earn.
    pub fn commission_rates(&self) -> impl Iterator<Item = CommissionRate> + '_ {
        RATES.iter().map(|(plan, tier_floor_minor, rate_bps)| CommissionRate {
            tenant: self.tenant.clone(),
            plan: (*plan).into(),
            offer_kind: self.kind,
            currency: self.currency.clone(),
            tier_floor_minor: *tier_floor_minor,
            rate_bps: *rate_bps,
            valid_from: "2020-01-01".into(),
        })
    }

    /// What it looks out for: nothing, for most.
    pub fn velocity_rules(&self) -> impl Iterator<Item = VelocityRule> + '_ {
        let watchful = WATCHFUL.contains(&self.tenant.as_str());
        HOARDING.iter().filter(move |_| watchful).map(|(rule_id, threshold, action)| VelocityRule {
            tenant: self.tenant.clone(),
            rule_id: (*rule_id).into(),
            key: VelocityKey::Customer,
            metric: VelocityMetric::Count,
            window_ms: 60_000,
            threshold: *threshold,
            action: *action,
            status: RuleStatus::Active,
        })
    }

    /// Its registered customers: none where anyone may buy.
    pub fn customers(&self) -> impl Iterator<Item = Customer> + '_ {
        let count = if self.customers_required { CUSTOMERS } else { 0 };
        (0..count).map(|number| Customer {
            tenant: self.tenant.clone(),
            customer_id: customer_id(number),
            status: if is_blocked(number) { Standing::Blocked } else { Standing::Active },
            daily_spend_limit_minor: None,
        })
    }
}

/// The id of a business's `number`-th partner.
pub fn partner_id(number: usize) -> Text {
    format_compact!("partner-{number:02}")
}

/// The id of a business's `number`-th customer.
pub fn customer_id(number: usize) -> Text {
    format_compact!("c{number:06}")
}

/// Whether a registered customer is blocked.
pub fn is_blocked(number: usize) -> bool {
    number % BLOCKED_EVERY == BLOCKED_EVERY - 1
}
