//! What a change of the draw's own row does to what sources said.

use super::{event, operator, story, told};
use crate::harness::Harness;

#[test]
fn a_row_that_asks_for_fewer_sources_publishes_what_they_agree_on() {
    story(
        "1 draw 3 9 100
         150 report a 3,1
         = reported r0 [1, 3] a
         = row waiting a
         160 report b 1,3
         = reported r0 [1, 3] b
         = row waiting a,b
         170 draw 3 9 101
         180 draw 2 9 100
         = published r1 [1, 3] a+b
         = row published a,b
         = settle r1
         181 draw 2 9 100
         182 draw 3 9 100",
    );
}

#[test]
fn a_row_that_asks_for_more_takes_nothing_back() {
    story(
        "1 draw 1 9 100
         150 report a 1,2
         = reported r0 [1, 2] a
         = published r1 [1, 2] a
         = row published a
         = settle r1
         160 draw 2 9 100
         170 report b 1,3
         = reported r1 [1, 3] b
         = disagreement r1 [] a=[1, 2] b=[1, 3]
         180 report c 1,3
         = reported r1 [1, 3] c
         = corrected r2 [1, 3] b+c
         = row published b,c
         = settle r2
         = disagreement r2 [] a=[1, 2] b=[1, 3] c=[1, 3]
         190 draw 1 9 100",
    );
}

#[test]
fn words_that_a_corrected_matrix_does_not_take_are_set_aside_until_it_does() {
    story(
        "1 draw
         150 report a 1,9
         = reported r0 [1, 9] a
         = row waiting a
         160 report b 1,2
         = reported r0 [1, 2] b
         = disagreement r0 [] a=[1, 9] b=[1, 2]
         = row disagreement a,b
         170 draw 2 8 100
         = row waiting b
         180 report c 2,1
         = reported r0 [1, 2] c
         = published r1 [1, 2] b+c
         = row published b,c
         = settle r1
         190 draw 2 9 100
         = disagreement r1 [] a=[1, 9] b=[1, 2] c=[1, 2]",
    );
}

#[test]
fn words_from_before_a_closing_that_was_moved_are_set_aside() {
    story(
        "1 draw
         150 report a 1,2
         = reported r0 [1, 2] a
         = row waiting a
         160 draw 2 9 300
         = row waiting
         170 report b 1,2
         = refused r0 [1, 2] b
         = letter draw_open
         260 report b 1,2
         = reported r0 [1, 2] b
         = row waiting b
         270 report a 1,2
         = reported r0 [1, 2] a
         = published r1 [1, 2] a+b
         = row published a,b
         = settle r1
         280 draw 2 9 500",
    );
}

#[test]
fn what_sources_said_outlives_a_row_that_goes_and_comes_back() {
    story(
        "1 draw
         150 report a 1,2
         = reported r0 [1, 2] a
         = row waiting a
         160 draw none
         170 report b 2,1
         180 correct 3,4
         190 draw 1 9 100
         = published r1 [1, 2] a
         = row published a
         = settle r1
         = reported r1 [1, 2] b
         = corrected r2 [3, 4]
         = row published
         = settle r2",
    );
}

/// What becomes of a correction that claims to be of 160, after an epoch that ended at `now`.
fn late_correction(now: i64) -> Vec<String> {
    let mut harness = Harness::new(1, operator);
    harness.epoch(vec![event("1 draw 1 9 100"), event("150 report a 1,2")], 150);
    harness.epoch(Vec::new(), now);
    let out = harness.epoch(vec![event("160 correct 3,4")], now + 1);
    out.into_iter().map(|out| told(out.body).trim_end().to_owned()).collect()
}

#[test]
fn a_result_is_final_when_its_tickets_are_dropped_whatever_time_a_correction_claims() {
    assert_eq!(late_correction(1_150), ["refused r1 [3, 4]", "letter result_final"]);
    assert_eq!(late_correction(1_149), ["corrected r2 [3, 4]", "row published", "settle r2"]);
}

#[test]
fn a_result_is_final_for_a_changed_row_too() {
    story(
        "1 draw
         150 correct 3,4
         = published r1 [3, 4]
         = row published
         = settle r1
         160 report a 1,2
         = reported r1 [1, 2] a
         = disagreement r1 [] a=[1, 2]
         1150 draw 1 9 100",
    );
}
