//! The program that reads the log in order.

use runtime::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Event {
    Row(Option<Rules>),
    Report(u8, u8),
    Correct(u8),
    /// Ordered and sold at once.
    Order {
        order: u8,
        numbers: u8,
        tickets: u8,
    },
    /// Ordered, to be paid, or not.
    Place {
        order: u8,
        numbers: u8,
        tickets: u8,
    },
    Pay(u8),
    End(u8),
    /// The offer is for another draw now, by its number, or for none.
    Move(Option<u8>),
    Refund(u8),
}

/// Offers and their orders on the way to draws.
pub(super) struct Shop {
    offers: [Option<u8>; 2],
    /// Order → its draw, when it was accepted, its numbers and tickets.
    open: BTreeMap<u8, (Option<u8>, Millis, u8, u8)>,
}

/// Tickets of an order for a draw.
pub(super) struct Issued {
    pub(super) draw: u8,
    pub(super) accepted_ms: Millis,
    pub(super) order: u8,
    pub(super) numbers: u8,
    pub(super) tickets: u8,
}

impl Shop {
    /// Each offer is for the draw of its number.
    pub(super) fn new() -> Self {
        Shop { offers: [Some(0), Some(1)], open: BTreeMap::new() }
    }

    /// What happens at an offer; the tickets it issues.
    pub(super) fn handle(&mut self, time: Millis, offer: u8, event: &Event) -> Option<Issued> {
        let draw = self.offers[usize::from(offer)];
        match *event {
            Event::Move(to) => self.offers[usize::from(offer)] = to,
            Event::Place { order, numbers, tickets } => {
                self.open.insert(order, (draw, time, numbers, tickets));
            }
            Event::Order { order, numbers, tickets } => {
                self.open.insert(order, (draw, time, numbers, tickets));
                return self.issue(order);
            }
            Event::Pay(order) => return self.issue(order),
            Event::End(order) => drop(self.open.remove(&order)),
            _ => {}
        }
        None
    }

    /// Numbers and tickets of an order that may be paid.
    pub(super) fn open(&self, order: u8) -> Option<(u8, u8)> {
        self.open.get(&order).map(|(_, _, numbers, tickets)| (*numbers, *tickets))
    }

    fn issue(&mut self, order: u8) -> Option<Issued> {
        let (draw, accepted_ms, numbers, tickets) = self.open.remove(&order)?;
        draw.map(|draw| Issued { draw, accepted_ms, order, numbers, tickets })
    }
}

/// What a row of a draw may say otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) sources: i32,
    pub(super) main_max: i32,
    pub(super) closes_at_ms: i64,
}

pub(super) const RULES: Rules = Rules { sources: 2, main_max: 5, closes_at_ms: 100 };
pub(super) const GRACE: Millis = 50;

/// Two of five, as sources and tickets may say it.
pub(super) fn pair(number: u8) -> Vec<i32> {
    let all = [[1, 2], [2, 1], [1, 3], [4, 5], [5, 2], [3, 3]];
    all[usize::from(number) % all.len()].into()
}

/// The program that reads the log in order: one draw.
#[derive(Default)]
pub(super) struct Plain {
    pub(super) rules: Option<Rules>,
    /// Until when, and what.
    waiting: Vec<(Millis, Event)>,
    /// When it was said, and what.
    words: BTreeMap<u8, (Millis, u8)>,
    /// What sources had said when an operator spoke, until they say something else.
    overruled: BTreeMap<u8, u8>,
    pub(super) published: Option<(i32, BTreeSet<i32>, Millis)>,
    /// The closing of the newest row there was.
    closes_at_ms: Option<Millis>,
    /// Order, numbers, tickets, when it was accepted.
    tickets: Vec<(u8, Vec<i32>, u8, Millis)>,
    settled: bool,
    pub(super) refused: usize,
    pub(super) unknown: usize,
    pub(super) disagreements: usize,
    pub(super) late: usize,
    /// Revision, ticket, tier → amount, status.
    pub(super) won: BTreeMap<(i32, String, String), (i64, &'static str)>,
    pub(super) paid: i64,
    pub(super) took_part: i64,
}

/// Two different numbers of the matrix.
fn fits(rules: Rules, numbers: &[i32]) -> Option<BTreeSet<i32>> {
    let drawn: BTreeSet<i32> = numbers.iter().copied().collect();
    (drawn.len() == 2 && drawn.iter().all(|number| *number <= rules.main_max)).then_some(drawn)
}

impl Plain {
    pub(super) fn handle(&mut self, time: Millis, event: &Event) {
        self.give_up_waiting(time);
        match event {
            Event::Row(rules) => {
                let before = self.rules.map(|_| self.counting());
                self.rules = *rules;
                if let Some(rules) = rules {
                    self.closes_at_ms = Some(rules.closes_at_ms);
                    let published = self.agree(time);
                    if published || Some(self.counting()) != before {
                        self.look_for_disagreement();
                    }
                    let waiting = std::mem::take(&mut self.waiting);
                    waiting.iter().for_each(|(_, event)| self.handle(time, event));
                }
            }
            Event::Refund(order) if !self.settled => self.tickets.retain(|ticket| ticket.0 != *order),
            Event::Refund(_) => {}
            Event::Report(..) | Event::Correct(_) if self.rules.is_none() => {
                self.waiting.push((time + GRACE, event.clone()));
            }
            Event::Report(source, numbers) => self.report(time, *source, *numbers),
            Event::Correct(numbers) => self.correct(time, *numbers),
            Event::Order { .. } | Event::Place { .. } | Event::Pay(_) | Event::End(_) | Event::Move(_) => {
                unreachable!("the shop's")
            }
        }
    }

    pub(super) fn take(&mut self, issued: &Issued) {
        let Issued { accepted_ms, order, numbers, tickets, .. } = *issued;
        if self.settled || self.closes_at_ms.is_some_and(|closes| accepted_ms >= closes) {
            self.late += usize::from(tickets);
        } else {
            self.tickets.push((order, pair(numbers), tickets, accepted_ms));
        }
    }

    pub(super) fn give_up_waiting(&mut self, time: Millis) {
        let before = self.waiting.len();
        self.waiting.retain(|(until, _)| time < *until);
        self.unknown += before - self.waiting.len();
    }

    fn report(&mut self, time: Millis, source: u8, numbers: u8) {
        let Some(drawn) = self.taken(time, numbers) else { return };
        let rules = self.rules.expect("without a row it waits");
        if self.overruled.get(&source).and_then(|said| fits(rules, &pair(*said))).as_ref() == Some(&drawn) {
            return;
        }
        self.overruled.remove(&source);
        let news = self.counting().get(&source) != Some(&drawn);
        self.words.insert(source, (time, numbers));
        if news {
            self.agree(time);
            self.look_for_disagreement();
        }
    }

    fn correct(&mut self, time: Millis, numbers: u8) {
        let Some(drawn) = self.taken(time, numbers) else { return };
        if self.published.as_ref().is_some_and(|(_, now, _)| *now == drawn) {
            self.refused += 1;
            return;
        }
        let words = std::mem::take(&mut self.words);
        self.overruled.extend(words.into_iter().map(|(source, (_, said))| (source, said)));
        self.publish(time, drawn);
    }

    fn taken(&mut self, time: Millis, numbers: u8) -> Option<BTreeSet<i32>> {
        let rules = self.rules.expect("without a row it waits");
        let over = |drawn: &BTreeSet<i32>| {
            self.published.as_ref().is_some_and(|(_, now, at)| time >= at + 1_000 && now != drawn)
        };
        let closed = time + GRACE >= rules.closes_at_ms;
        let taken = fits(rules, &pair(numbers)).filter(|drawn| closed && !over(drawn));
        self.refused += usize::from(taken.is_none());
        taken
    }

    /// What each source says, as far as the row as it is would have taken it.
    fn counting(&self) -> BTreeMap<u8, BTreeSet<i32>> {
        let Some(rules) = self.rules else { return BTreeMap::new() };
        let counts = self.words.iter().filter(|(_, (said, _))| said + GRACE >= rules.closes_at_ms);
        counts.filter_map(|(source, (_, numbers))| Some((*source, fits(rules, &pair(*numbers))?))).collect()
    }

    fn agree(&mut self, time: Millis) -> bool {
        let sources = self.rules.expect("there is a row").sources as usize;
        let words: Vec<BTreeSet<i32>> = self.counting().into_values().collect();
        let results: BTreeSet<&BTreeSet<i32>> = words.iter().collect();
        let of = |drawn: &BTreeSet<i32>| words.iter().filter(|word| *word == drawn).count();
        let with_quorum: Vec<&BTreeSet<i32>> =
            results.into_iter().filter(|drawn| of(drawn) >= sources).collect();
        let [only] = with_quorum[..] else { return false };
        let news = self.published.as_ref().is_none_or(|(_, now, at)| now != only && time < at + 1_000);
        if news {
            self.publish(time, only.clone());
        }
        news
    }

    fn look_for_disagreement(&mut self) {
        let words = self.counting().into_values();
        let results: BTreeSet<BTreeSet<i32>> =
            words.chain(self.published.iter().map(|(_, now, _)| now.clone())).collect();
        self.disagreements += usize::from(results.len() > 1);
    }

    /// The draw as its row tells it while nothing is published.
    pub(super) fn standing(&self) -> (&'static str, String) {
        let words = self.counting();
        let results: BTreeSet<&BTreeSet<i32>> = words.values().collect();
        let sources: Vec<String> = words.keys().map(|source| format!("s{source}")).collect();
        (if results.len() > 1 { "disagreement" } else { "waiting" }, sources.join(","))
    }

    fn publish(&mut self, time: Millis, drawn: BTreeSet<i32>) {
        let revision = self.published.as_ref().map_or(1, |(revision, ..)| revision + 1);
        self.won.values_mut().for_each(|won| won.1 = "superseded");
        self.settled = true;
        let mut winners: [Vec<String>; 2] = Default::default();
        self.took_part = 0;
        let closes_at_ms = self.rules.expect("nothing is published without a row").closes_at_ms;
        let late = self.tickets.extract_if(.., |ticket| ticket.3 >= closes_at_ms);
        self.late += late.map(|ticket| usize::from(ticket.2)).sum::<usize>();
        for (order, numbers, tickets, _) in &self.tickets {
            self.took_part += i64::from(*tickets);
            let numbers = self.rules.and_then(|rules| fits(rules, numbers));
            let hits = numbers.map_or(0, |numbers| numbers.intersection(&drawn).count());
            let ids = (1..=*tickets).map(|nth| format!("o{order}-{nth}"));
            match hits {
                2 => winners[0].extend(ids),
                1 => winners[1].extend(ids),
                _ => {}
            }
        }
        self.paid = 0;
        for (winners, share, tier) in [(&winners[0], 600, "1"), (&winners[1], 100, "2")] {
            for id in winners {
                let amount = share / winners.len() as i64;
                self.paid += amount;
                self.won.insert((revision, id.clone(), tier.to_owned()), (amount, "won"));
            }
        }
        assert!(self.paid <= 1_000);
        self.published = Some((revision, drawn, time));
    }
}
