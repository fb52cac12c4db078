//! The book as text tables: what comes in, and the facts and rows that follow. See [`support::script`].
#![allow(clippy::unwrap_used)] // a test may

mod support;

use operators::book::Book;
use operators::settings::Settings;
use support::script::{T, check, check_with};
use support::settings;

#[test]
fn an_order_is_held_then_confirmed_then_refunded() {
    check(
        "1 offer x 10             => issued>available 10 left 10+0+0=10 due 0
         2 order o1 x ann 3       => held o1 ; available>held 3 left 7+3+0=10 due 0
         3 pay o1 300             => confirmed o1 ; held>sold 3 left 7+0+3=10 due 0
         4 refund o1              => refunded o1 ; sold>available 3 left 10+0+0=10 due 0
         row order o1: refunded
         row stock x: 10+0+0=10 due 0",
    );
}

#[test]
fn a_tenant_that_bills_later_sells_at_once_and_owes_back_what_is_paid_all_the_same() {
    check_with(
        || Book::new(Settings { tenants_billing_later: [T.into()].into(), ..settings() }),
        "1 offer x 3 ticket       => issued>available 3 left 3+0+0=3 due 0
         2 order o1 x ann 2       => confirmed o1 ; available>sold 2 left 1+0+2=3 due 0 ; ticket o1-1 ; ticket o1-2
         3 order o2 x bob 2       => refused o2 sold_out
         4 order o3 x bob 1 review => in_review o3
         5 release o3             => confirmed o3 ; available>sold 1 left 0+0+3=3 due 0 ; ticket o3-1
         6 pay o1 200             => refund_due o1 200EUR
         7 refund o1              => refunded o1 ; sold>available 2 left 2+0+1=3 due 0
         8 cancel o3              => dead cannot_cancel
         row order o1: refunded
         row order o2: refused sold_out
         row order o3: confirmed
         row stock x: 2+0+1=3 due 0",
    );
}

#[test]
fn a_hold_ends_by_cancel_decline_or_expiry() {
    check(
        "1 offer x 10             => issued>available 10 left 10+0+0=10 due 0
         2 order o1 x ann 1       => held o1 ; available>held 1 left 9+1+0=10 due 0
         2 order o2 x ann 2       => held o2 ; available>held 2 left 7+3+0=10 due 0
         2 order o3 x ann 3       => held o3 ; available>held 3 left 4+6+0=10 due 0
         3 cancel o1              => cancelled o1 cancel_requested ; held>available 1 left 5+5+0=10 due 0
         4 decline o2             => cancelled o2 payment_declined ; held>available 2 left 7+3+0=10 due 0
         1001 tick
         1002 tick                => expired o3 hold_expired ; held>available 3 left 10+0+0=10 due 0
         row order o1: cancelled cancel_requested
         row order o2: cancelled payment_declined
         row order o3: expired hold_expired
         row stock x: 10+0+0=10 due 0",
    );
}

#[test]
fn a_timer_comes_before_a_payment_of_the_same_moment() {
    check(
        "1 offer x 1              => issued>available 1 left 1+0+0=1 due 0
         2 order o1 x ann 1       => held o1 ; available>held 1 left 0+1+0=1 due 0
         1002 pay o1 100          => expired o1 hold_expired ; held>available 1 left 1+0+0=1 due 0 ; refund_due o1 100EUR hold_expired",
    );
}

#[test]
fn what_is_sold_out_is_refused_and_released_units_are_sold_again() {
    check(
        "1 offer x 2              => issued>available 2 left 2+0+0=2 due 0
         2 order o1 x ann 2       => held o1 ; available>held 2 left 0+2+0=2 due 0
         3 order o2 x bob 1       => refused o2 sold_out
         4 cancel o1              => cancelled o1 cancel_requested ; held>available 2 left 2+0+0=2 due 0
         5 order o3 x bob 3       => refused o3 sold_out
         6 order o4 x bob 2       => held o4 ; available>held 2 left 0+2+0=2 due 0
         row order o2: refused sold_out",
    );
}

#[test]
fn every_reason_is_told_at_once_and_sold_out_only_where_nothing_else_applies() {
    check(
        "1 offer x 1 max 2                        => issued>available 1 left 1+0+0=1 due 0
         2 order o1 x ann 3 price_mismatch        => refused o1 price_mismatch,customer_limit_exceeded
         3 order o2 x ann 2 offer_closed          => refused o2 offer_closed
         4 order o3 y ann 2 unknown_offer         => refused o3 unknown_offer
         5 order o4 x ann 3                       => refused o4 customer_limit_exceeded
         row order o1: refused price_mismatch,customer_limit_exceeded",
    );
}

#[test]
fn what_the_desk_should_not_have_let_through_is_refused() {
    check(
        "1 offer x 1                 => issued>available 1 left 1+0+0=1 due 0
         2 order o1 y ann 1          => refused o1 unknown_offer
         3 order o2 x ann 0          => refused o2 quantity_out_of_range
         4 order o3 x ann -1         => refused o3 quantity_out_of_range
         5 order o4 x ann 1          => held o4 ; available>held 1 left 0+1+0=1 due 0
         6 order o4 x bob 1          => refused o4 duplicate_order
         row order o4: held",
    );
}

#[test]
fn a_customer_may_hold_and_buy_so_many_of_an_offer() {
    check(
        "1 offer x 99 max 4       => issued>available 99 left 99+0+0=99 due 0
         2 order o1 x ann 2       => held o1 ; available>held 2 left 97+2+0=99 due 0
         3 order o2 x ann 2       => held o2 ; available>held 2 left 95+4+0=99 due 0
         4 order o3 x ann 1       => refused o3 customer_limit_exceeded
         5 order o4 x bob 4       => held o4 ; available>held 4 left 91+8+0=99 due 0
         6 pay o1 200             => confirmed o1 ; held>sold 2 left 91+6+2=99 due 0
         7 order o5 x ann 1       => refused o5 customer_limit_exceeded
         8 cancel o2              => cancelled o2 cancel_requested ; held>available 2 left 93+4+2=99 due 0
         9 order o6 x ann 2       => held o6 ; available>held 2 left 91+6+2=99 due 0
         10 offer x 99 max 5
         11 order o7 x ann 1      => held o7 ; available>held 1 left 90+7+2=99 due 0
         12 offer x 99
         13 order o8 x ann 50     => held o8 ; available>held 50 left 40+57+2=99 due 0
         14 offer x 99 max 3
         15 order o9 x bob -2 quantity_out_of_range => refused o9 quantity_out_of_range
         16 order oa x bob -1 quantity_out_of_range => refused oa quantity_out_of_range
         17 order ob x bob 0 quantity_out_of_range  => refused ob quantity_out_of_range,customer_limit_exceeded",
    );
}

#[test]
fn a_customer_may_spend_so_much_a_day() {
    check(
        "1 offer x 99             => issued>available 99 left 99+0+0=99 due 0
         2 order o1 x ann 3       => held o1 ; available>held 3 left 96+3+0=99 due 0
         3 customer ann 500
         4 order o2 x ann 3       => refused o2 customer_limit_exceeded
         5 order o3 x ann 2       => held o3 ; available>held 2 left 94+5+0=99 due 0
         6 order o4 x ann 5 day 1 => held o4 ; available>held 5 left 89+10+0=99 due 0
         7 order o5 x ann 1 day 1 => refused o5 customer_limit_exceeded
         8 pay o3 200             => confirmed o3 ; held>sold 2 left 89+8+2=99 due 0
         9 order o6 x ann 1       => refused o6 customer_limit_exceeded
         10 refund o3             => refunded o3 ; sold>available 2 left 91+8+0=99 due 0
         11 order o7 y ann 3 unknown_offer => refused o7 unknown_offer,customer_limit_exceeded
         12 forget ann
         13 order o8 x ann 9      => held o8 ; available>held 9 left 82+17+0=99 due 0
         14 customer ann none
         15 order o9 x ann 9      => held o9 ; available>held 9 left 73+26+0=99 due 0",
    );
}

#[test]
fn a_shrink_takes_what_is_there_and_the_rest_as_it_is_released() {
    check(
        "1 offer x 10             => issued>available 10 left 10+0+0=10 due 0
         2 order o1 x ann 4       => held o1 ; available>held 4 left 6+4+0=10 due 0
         3 order o2 x bob 4       => held o2 ; available>held 4 left 2+8+0=10 due 0
         4 pay o1 400             => confirmed o1 ; held>sold 4 left 2+4+4=10 due 0
         5 offer x 3              => available>issued 2 left 0+4+4=8 due 5
         6 order o3 x cat 1       => refused o3 sold_out
         7 cancel o2              => cancelled o2 cancel_requested ; held>available 4 left 4+0+4=8 due 5 ; available>issued 4 left 0+0+4=4 due 1
         8 refund o1              => refunded o1 ; sold>available 4 left 4+0+0=4 due 1 ; available>issued 1 left 3+0+0=3 due 0
         row stock x: 3+0+0=3 due 0",
    );
}

#[test]
fn a_restock_first_calls_off_what_is_still_due() {
    check(
        "1 offer x 5              => issued>available 5 left 5+0+0=5 due 0
         2 order o1 x ann 5       => held o1 ; available>held 5 left 0+5+0=5 due 0
         3 offer x 1
         4 offer x 3
         5 order o2 x ann 1       => refused o2 sold_out
         6 offer x 7              => issued>available 2 left 2+5+0=7 due 0
         7 offer x 7
         8 offer x -4             => available>issued 2 left 0+5+0=5 due 5
         9 cancel o1              => cancelled o1 cancel_requested ; held>available 5 left 5+0+0=5 due 5 ; available>issued 5 left 0+0+0=0 due 0
         row stock x: 0+0+0=0 due 0",
    );
}

#[test]
fn a_deleted_offer_stays_in_the_ledger_while_anything_is_held_or_sold() {
    check(
        "1 offer x 5              => issued>available 5 left 5+0+0=5 due 0
         2 order o1 x ann 1       => held o1 ; available>held 1 left 4+1+0=5 due 0
         2 order o2 x ann 1       => held o2 ; available>held 1 left 3+2+0=5 due 0
         3 pay o1 100             => confirmed o1 ; held>sold 1 left 3+1+1=5 due 0
         4 drop x                 => available>issued 3 left 0+1+1=2 due 2
         5 drop x
         6 order o3 x ann 1       => refused o3 unknown_offer
         7 cancel o2              => cancelled o2 cancel_requested ; held>available 1 left 1+0+1=2 due 2 ; available>issued 1 left 0+0+1=1 due 1
         8 refund o1              => refunded o1 ; sold>available 1 left 1+0+0=1 due 1 ; available>issued 1 left 0+0+0=0 due 0
         9 offer x 2              => issued>available 2 left 2+0+0=2 due 0
         10 order o4 x ann 1      => held o4 ; available>held 1 left 1+1+0=2 due 0
         11 drop x                => available>issued 1 left 0+1+0=1 due 1
         12 offer x 2             => issued>available 1 left 1+1+0=2 due 0
         row stock x: 1+1+0=2 due 0",
    );
}

#[test]
fn a_refund_that_does_not_restock_leaves_the_units_sold() {
    check(
        "1 offer x 5 keep max 2   => issued>available 5 left 5+0+0=5 due 0
         2 order o1 x ann 2       => held o1 ; available>held 2 left 3+2+0=5 due 0
         3 pay o1 200             => confirmed o1 ; held>sold 2 left 3+0+2=5 due 0
         4 refund o1              => refunded o1
         5 order o2 x ann 2       => held o2 ; available>held 2 left 1+2+2=5 due 0
         row order o1: refunded
         row stock x: 1+2+2=5 due 0",
    );
}

#[test]
fn money_that_no_order_waits_for_goes_back() {
    check(
        "1 offer x 2              => issued>available 2 left 2+0+0=2 due 0
         2 order o1 x ann 1       => held o1 ; available>held 1 left 1+1+0=2 due 0
         3 cancel o1              => cancelled o1 cancel_requested ; held>available 1 left 2+0+0=2 due 0
         4 pay o1 100             => refund_due o1 100EUR cancel_requested
         5 order o2 x ann 3       => refused o2 sold_out
         6 pay o2 250             => refund_due o2 250EUR sold_out
         7 order o3 x ann 1       => held o3 ; available>held 1 left 1+1+0=2 due 0
         8 pay o3 100 p1          => confirmed o3 ; held>sold 1 left 1+0+1=2 due 0
         9 pay o3 100 p1
         10 pay o3 100 p2         => refund_due o3 100EUR
         11 refund o3             => refunded o3 ; sold>available 1 left 2+0+0=2 due 0
         12 pay o3 100 p1
         13 pay o3 100 p3         => refund_due o3 100EUR
         row order o1: cancelled cancel_requested
         row order o3: refunded
         row stock x: 2+0+0=2 due 0",
    );
}

#[test]
fn what_makes_no_sense_is_a_dead_letter_or_nothing() {
    check(
        "1 offer x 5              => issued>available 5 left 5+0+0=5 due 0
         2 order o1 x ann 1       => held o1 ; available>held 1 left 4+1+0=5 due 0
         3 refund o1              => dead cannot_refund
         4 pay o1 99              => dead amount_mismatch
         5 pay o1 100             => confirmed o1 ; held>sold 1 left 4+0+1=5 due 0
         6 cancel o1              => dead cannot_cancel
         7 decline o1
         8 refund o1              => refunded o1 ; sold>available 1 left 5+0+0=5 due 0
         9 refund o1              => dead cannot_refund
         10 cancel o1
         11 decline o1
         12 cancel nobody         => dead unknown_order
         13 pay nobody 1          => dead unknown_order
         row order o1: refunded",
    );
}

#[test]
fn an_ended_order_is_forgotten_after_its_retention() {
    check(
        "1 offer x 5              => issued>available 5 left 5+0+0=5 due 0
         2 order o1 x ann 1       => held o1 ; available>held 1 left 4+1+0=5 due 0
         2 order o2 x ann 9       => refused o2 sold_out
         3 pay o1 100             => confirmed o1 ; held>sold 1 left 4+0+1=5 due 0
         100001 pay o2 900        => refund_due o2 900EUR sold_out
         100002 pay o2 900        => dead unknown_order
         100002 refund o1         => refunded o1 ; sold>available 1 left 5+0+0=5 due 0
         200001 refund o1         => dead cannot_refund
         200002 refund o1         => dead unknown_order",
    );
}

#[test]
fn a_limit_goes_on_counting_what_is_forgotten_while_the_offer_has_one() {
    check(
        "1 offer x 9 max 2        => issued>available 9 left 9+0+0=9 due 0
         2 order o1 x ann 2       => held o1 ; available>held 2 left 7+2+0=9 due 0
         3 pay o1 200             => confirmed o1 ; held>sold 2 left 7+0+2=9 due 0
         100003 refund o1         => dead unknown_order
         100004 order o2 x ann 1  => refused o2 customer_limit_exceeded
         100005 offer x 9
         86500000 offer x 9 max 2
         86500001 order o3 x ann 1 => refused o3 customer_limit_exceeded
         86500002 offer x 9
         86500003 tick
         86500004 offer x 9 max 2
         86500005 order o4 x ann 2  => held o4 ; available>held 2 left 5+2+2=9 due 0",
    );
}

#[test]
fn a_confirmed_order_of_tickets_or_seats_issues_one_per_unit() {
    check(
        "1 offer x 5 ticket       => issued>available 5 left 5+0+0=5 due 0
         1 offer y 5 seat         => issued>available 5 left 5+0+0=5 due 0
         2 order o1 x ann 2       => held o1 ; available>held 2 left 3+2+0=5 due 0
         3 pay o1 200             => confirmed o1 ; held>sold 2 left 3+0+2=5 due 0 ; ticket o1-1 ; ticket o1-2
         4 order o2 y ann 1       => held o2 ; available>held 1 left 4+1+0=5 due 0
         5 pay o2 100             => confirmed o2 ; held>sold 1 left 4+0+1=5 due 0 ; ticket o2-1",
    );
}

#[test]
fn an_order_in_review_holds_nothing_until_it_is_released() {
    check(
        "1 offer x 2                => issued>available 2 left 2+0+0=2 due 0
         2 order o1 x ann 2 review  => in_review o1
         3 order o2 x ben 1         => held o2 ; available>held 1 left 1+1+0=2 due 0
         4 cancel o2                => cancelled o2 cancel_requested ; held>available 1 left 2+0+0=2 due 0
         5 pay o1 200               => refund_due o1 200EUR
         6 decline o1               =>
         7 refund o1                => dead cannot_refund
         8 release o1               => held o1 ; available>held 2 left 0+2+0=2 due 0
         9 release o1               => dead not_in_review
         10 pay o1 200 p2           => confirmed o1 ; held>sold 2 left 0+0+2=2 due 0
         5002 tick                  =>
         row order o1: confirmed",
    );
}

#[test]
fn a_released_order_meets_limits_and_stock_as_they_are_then() {
    check(
        "1 offer x 2 max 2             => issued>available 2 left 2+0+0=2 due 0
         2 order o1 x ann 2 review     => in_review o1
         2 order o2 x ann 1 review     => in_review o2
         2 order o3 x ben 1 review     => in_review o3
         2 order o4 x cat 1 review     => in_review o4
         3 release o1                  => held o1 ; available>held 2 left 0+2+0=2 due 0
         4 release o2                  => refused o2 customer_limit_exceeded
         5 release o3                  => refused o3 sold_out
         6 drop x                      =>
         7 release o4                  => refused o4 unknown_offer
         1003 tick                     => expired o1 hold_expired ; held>available 2 left 2+0+0=2 due 2 ; available>issued 2 left 0+0+0=0 due 0
         row order o4: refused unknown_offer",
    );
}

#[test]
fn a_review_ends_by_a_decision_a_cancel_or_its_time() {
    check(
        "1 offer x 9                => issued>available 9 left 9+0+0=9 due 0
         2 order o1 x ann 1 review  => in_review o1
         2 order o2 x ann 1 review  => in_review o2
         2 order o3 x ann 1 review  => in_review o3
         3 refuse o1                => refused o1 review_refused
         4 refuse o1                => dead not_in_review
         5 cancel o2                => cancelled o2 cancel_requested
         6 release o2               => dead not_in_review
         5001 tick                  =>
         5002 tick                  => refused o3 review_timeout
         5003 release o3            => dead not_in_review
         5004 pay o3 100            => refund_due o3 100EUR review_timeout
         105003 release o1          => dead unknown_order
         row order o1: refused review_refused
         row order o2: cancelled cancel_requested
         row order o3: refused review_timeout",
    );
}

#[test]
fn money_that_goes_back_is_told_once_and_pays_for_nothing() {
    check(
        "1 offer x 9                => issued>available 9 left 9+0+0=9 due 0
         2 order o1 x ann 1 review  => in_review o1
         3 pay o1 100 p1            => refund_due o1 100EUR
         4 pay o1 100 p1            =>
         5 release o1               => held o1 ; available>held 1 left 8+1+0=9 due 0
         6 pay o1 100 p1            =>
         7 pay o1 100 p2            => confirmed o1 ; held>sold 1 left 8+0+1=9 due 0
         8 pay o1 100 p1            =>
         9 order o2 x ann 1         => held o2 ; available>held 1 left 7+1+1=9 due 0
         10 cancel o2               => cancelled o2 cancel_requested ; held>available 1 left 8+0+1=9 due 0
         11 pay o2 100 p3           => refund_due o2 100EUR cancel_requested
         12 pay o2 100 p4           => refund_due o2 100EUR cancel_requested
         13 pay o2 100 p3           =>
         14 pay o2 100 p4           =>",
    );
}

#[test]
fn an_order_that_need_not_be_remembered_is_forgotten_after_its_end() {
    check_with(
        || Book::new(Settings { order_retention_ms: 0, ..settings() }),
        "1 offer x 9                => issued>available 9 left 9+0+0=9 due 0
         2 order o1 x ann 1         => held o1 ; available>held 1 left 8+1+0=9 due 0
         1002 tick                  => expired o1 hold_expired ; held>available 1 left 9+0+0=9 due 0
         1003 tick                  =>
         1004 pay o1 100            => dead unknown_order",
    );
}

#[test]
fn what_is_blocked_is_refused_and_what_is_flagged_goes_on() {
    check(
        "1 offer x 9 max 2                         => issued>available 9 left 9+0+0=9 due 0
         2 order o1 x ann 1 block                  => refused o1 fraud_blocked
         3 order o2 x ann 3 block                  => refused o2 customer_limit_exceeded,fraud_blocked
         4 order o3 x ann 1 flag                   => held o3 ; available>held 1 left 8+1+0=9 due 0
         5 order o4 x ann 1 offer_closed review    => refused o4 offer_closed
         6 order o5 z ann 1 review                 => refused o5 unknown_offer",
    );
}
