//! What becomes of an order in the demo, and how often.

use super::random::Dice;

/// How an order goes on. The doc says what the pipeline ought to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Held, then confirmed.
    Paid,
    /// Never paid: held, then expired.
    NeverPaid,
    /// The gateway declines: held, then cancelled.
    Declined,
    /// The customer changes their mind: held, then cancelled.
    Cancelled,
    /// Paid and taken back later: confirmed, then refunded.
    Refunded,
    /// Paid after the hold is over where the stream is paced: expired, then a refund is due.
    PaidLate,
    /// The producer sends the same command twice: one of them is a duplicate.
    SentTwice,
    /// The producer sends other content under the same command id: an idempotency conflict.
    Conflict,
    /// Another command uses the same order id: refused as a duplicate order.
    OrderIdTwice,
    /// Refused: the price is not the offer's.
    WrongPrice,
    /// Refused after the grace: there is no such offer.
    UnknownOffer,
    /// Refused after the grace: there is no such partner.
    UnknownPartner,
    /// Refused after the grace where customers must be registered.
    UnknownCustomer,
    /// Refused where customers must be registered.
    BlockedCustomer,
    /// Refused: the partner is suspended.
    SuspendedPartner,
    /// Refused: the offer is closed.
    ClosedOffer,
    /// Refused: more than one order may ask for.
    TooMany,
    /// Refused: the offer is sold in another currency.
    OtherCurrency,
    /// One of a few customers who want the whole flash sale: refused beyond the limit.
    Hoarder,
}

/// Of ten thousand orders, how many meet which fate; the others are paid.
const ODDS: &[(Fate, u64)] = &[
    (Fate::NeverPaid, 400),
    (Fate::Declined, 300),
    (Fate::Cancelled, 200),
    (Fate::Refunded, 50),
    (Fate::PaidLate, 20),
    (Fate::SentTwice, 100),
    (Fate::Conflict, 20),
    (Fate::OrderIdTwice, 20),
    (Fate::WrongPrice, 100),
    (Fate::UnknownOffer, 50),
    (Fate::UnknownPartner, 20),
    (Fate::UnknownCustomer, 20),
    (Fate::BlockedCustomer, 20),
    (Fate::SuspendedPartner, 50),
    (Fate::ClosedOffer, 30),
    (Fate::TooMany, 30),
    (Fate::OtherCurrency, 20),
    (Fate::Hoarder, 20),
];

impl Fate {
    /// Draws one.
    pub fn draw(dice: &mut Dice) -> Fate {
        let mut left = dice.below(10_000);
        for (fate, odds) in ODDS {
            match left.checked_sub(*odds) {
                None => return *fate,
                Some(rest) => left = rest,
            }
        }
        Fate::Paid
    }

    /// Whether its producer expects a refusal, and so sends no payment.
    pub fn is_refusal(self) -> bool {
        use Fate::*;
        matches!(
            self,
            WrongPrice
                | UnknownOffer
                | UnknownPartner
                | UnknownCustomer
                | BlockedCustomer
                | SuspendedPartner
                | ClosedOffer
                | TooMany
                | OtherCurrency
                | Hoarder
        )
    }
}
