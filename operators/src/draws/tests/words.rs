//! What an operator corrects, and what becomes of reports that are sent in again.

use super::story;

#[test]
fn a_jackpot_is_corrected_alone_until_the_result_is_final() {
    story(
        "1 draw
         150 correct 1,2 500
         = published r1 [1, 2] jackpot 500
         = row published
         = settle r1
         151 correct 1,2
         = refused r1 [1, 2]
         = letter nothing_to_correct
         152 correct 2,1 500 EUR
         = refused r1 [2, 1]
         = letter nothing_to_correct
         153 correct 1,2 700
         = corrected r2 [1, 2] jackpot 700
         = row published
         = settle r2
         154 correct 1,2 700 USD
         = corrected r3 [1, 2] jackpot 700
         = row published
         = settle r3
         1154 correct 1,2 800
         = refused r3 [1, 2]
         = letter result_final
         1155 correct 1,2 700 USD
         = refused r3 [1, 2]
         = letter nothing_to_correct",
    );
}

#[test]
fn a_report_that_is_sent_in_again_does_not_overrule_what_its_source_has_said_since() {
    story(
        "1 draw 1 8 100
         150 report a 1,9
         = refused r0 [1, 9] a
         = letter does_not_fit
         151 report a 1,2
         = reported r0 [1, 2] a
         = published r1 [1, 2] a
         = row published a
         = settle r1
         152 draw 1 9 100
         153 retry report a 1,9 of 150
         = refused r1 [1, 9] a
         = letter superseded_word
         154 retry report a 1,9 of 151
         = refused r1 [1, 9] a
         = letter superseded_word
         155 retry report a 2,1 of 150
         156 retry report a 1,9 of 152
         = reported r1 [1, 9] a
         = corrected r2 [1, 9] a
         = row published a
         = settle r2",
    );
    // One that nothing was said after counts, however late it is sent in.
    story(
        "1 draw 1 9 100
         10 report a 1,2
         = refused r0 [1, 2] a
         = letter draw_open
         150 retry report a 1,2 of 10
         = reported r0 [1, 2] a
         = published r1 [1, 2] a
         = row published a
         = settle r1",
    );
}

#[test]
fn a_report_that_is_sent_in_again_does_not_overrule_an_operator_who_has_spoken_since() {
    story(
        "1 draw 1 9 100
         10 report a 1,2
         = refused r0 [1, 2] a
         = letter draw_open
         150 report b 1,4
         = reported r0 [1, 4] b
         = published r1 [1, 4] b
         = row published b
         = settle r1
         151 correct 5,4
         = corrected r2 [4, 5]
         = row published
         = settle r2
         152 retry report a 1,2 of 10
         = refused r2 [1, 2] a
         = letter superseded_word
         153 retry report b 1,3 of 149
         = refused r2 [1, 3] b
         = letter superseded_word
         154 retry report b 1,4 of 150
         155 retry report b 1,3 of 152
         = reported r2 [1, 3] b
         = corrected r3 [1, 3] b
         = row published b
         = settle r3",
    );
}
