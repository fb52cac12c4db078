//! Closed lists of words: one spelling for serving tables, facts, NDJSON and Avro symbols.
//!
//! The spelling is that of serde's `rename_all = "snake_case"`; a test holds the two together.

/// Gives an enum without fields its words: `ALL`, `as_str`, `parse` and `Display`.
macro_rules! words {
    ($enum:ty { $($variant:ident => $word:literal),+ $(,)? }) => {
        impl $enum {
            /// Every value, in the order of the list.
            pub const ALL: &'static [$enum] = &[$(<$enum>::$variant),+];

            /// The word by which tables, facts and messages know it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(<$enum>::$variant => $word),+
                }
            }

            /// The value of a word, if it is on the list.
            pub fn parse(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

#[cfg(test)]
mod tests {
    use crate::commands::ReviewVerdict;
    use crate::draws::{
        ChannelStatus, DrawEvent, DrawStatus, Network, PublicationEvent, PublicationKind, PublicationStatus,
        WinningStatus,
    };
    use crate::facts::{CauseKind, OrderEvent, Reason, StockAccount};
    use crate::reference::{OfferKind, OfferStatus, PeriodStatus, ReferenceTable, Standing};
    use crate::rows::OrderStatus;
    use crate::velocity::{FraudAction, FraudEvent, RuleStatus, VelocityKey, VelocityMetric};

    macro_rules! check {
        ($($enum:ty),+) => {
            $(for value in <$enum>::ALL {
                let quoted = serde_json::to_string(value).unwrap();
                assert_eq!(quoted.trim_matches('"'), value.as_str());
                assert_eq!(<$enum>::parse(value.as_str()), Some(*value));
            })+
        };
    }

    #[test]
    fn every_word_is_spelled_as_serde_spells_it() {
        check!(OrderEvent, Reason, StockAccount, OfferKind, OfferStatus, Standing, OrderStatus);
        check!(CauseKind, PeriodStatus, ReferenceTable);
        check!(VelocityKey, VelocityMetric, FraudAction, RuleStatus, FraudEvent, ReviewVerdict);
        check!(Network, ChannelStatus, DrawEvent, DrawStatus, PublicationKind, PublicationEvent);
        check!(PublicationStatus, WinningStatus);
        assert_eq!(ReferenceTable::parse("offers"), Some(ReferenceTable::Offers));
        assert_eq!(Reason::parse("sold out"), None);
    }
}
