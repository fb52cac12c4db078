//! The demo's reference tables: every row at the start, changes while it runs.

use super::record::{Body, Timed};
use super::world::Business;
use schemas::Reference;
use schemas::debezium::Op;
use schemas::draws::Draw;
use schemas::reference::Offer;

/// Numbers changes, each at a higher source position than the one before.
#[derive(Default)]
pub struct Changes {
    lsn: u64,
}

impl Changes {
    /// Every row of every table, as snapshot reads.
    pub fn snapshot(&mut self, businesses: &[Business], draws: Vec<Draw>, at_ms: i64) -> Vec<Timed> {
        let mut rows = Vec::new();
        for business in businesses {
            rows.extend(business.offers.iter().map(|offer| Reference::Offer(Box::new(offer.clone()))));
            rows.extend(business.partners().map(|partner| Reference::Partner(Box::new(partner))));
            rows.extend(business.commission_rates().map(|rate| Reference::CommissionRate(Box::new(rate))));
            rows.extend(business.velocity_rules().map(|rule| Reference::VelocityRule(Box::new(rule))));
            rows.extend(business.customers().map(|customer| Reference::Customer(Box::new(customer))));
        }
        rows.extend(draws.into_iter().map(|draw| Reference::Draw(Box::new(draw))));
        rows.into_iter().map(|row| Timed { at_ms, body: self.change(Op::Read, None, row) }).collect()
    }

    /// An update of an offer.
    pub fn update(&mut self, before: &Offer, after: &Offer) -> Body {
        let reference = |offer: &Offer| Reference::Offer(Box::new(offer.clone()));
        self.change(Op::Update, Some(reference(before)), reference(after))
    }

    /// A draw that is announced.
    pub fn announce(&mut self, draw: Draw) -> Body {
        self.change(Op::Create, None, Reference::Draw(Box::new(draw)))
    }

    /// A draw that closes.
    pub fn close(&mut self, draw: Draw) -> Body {
        self.lsn += 8;
        Body::Close { draw: Box::new(draw), lsn: self.lsn }
    }

    fn change(&mut self, op: Op, before: Option<Reference>, after: Reference) -> Body {
        self.lsn += 8;
        Body::Change { op, before: before.map(Box::new), after: Box::new(after), lsn: self.lsn }
    }
}
