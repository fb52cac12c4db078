//! Images and posts of a result, from request to outcome.

use super::{Course, DrawsOut, Fact, Output, PublicationEvent, event, operator, story};

#[test]
fn an_image_then_a_post_and_outcomes_of_ended_steps_change_nothing() {
    story(
        "1 draw
         1 channel x
         2 channel y
         3 pause y
         150 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         151 posted 1 x 1
         152 rendered 1 - 1
         = image ready r1 #1 p1
         = post x requested r1 #1 p1
         = row x r1 requested
         153 rendered 1 - 1
         154 unposted 1 x 1
         = post x failed r1 #1 p1
         = row x r1 failed broken
         = letter post_failed
         155 unposted 1 x 1
         156 retry unposted 1 x 1
         = post x requested r1 #2 p1
         = row x r1 requested
         157 unposted 1 x 1
         158 posted 1 x 2
         = post x posted r1 #2 p1
         = row x r1 posted x
         159 unposted 1 x 2
         160 posted 2 x 1
         = refused r1 []
         = letter unknown_revision
         161 posted 1 z 1
         = refused r1 []
         = letter unknown_step
         162 republish
         = refused r1 []
         = letter nothing_to_republish",
    );
}

#[test]
fn what_is_too_old_is_rendered_and_posted_by_hand_only() {
    story(
        "1 draw
         1 channel x
         700 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         701 unrendered 1 - 1
         = image failed r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting its image failed: broken
         = letter image_failed
         702 retry unrendered 1 - 1
         = image requested r1 #2 acme/lotto/d/result/en/r1.png
         703 rendered 1 - 2
         = image ready r1 #2 p1
         = post x skipped r1 #0 p1
         = row x r1 skipped drawn more than 500 ms ago
         704 channel y
         705 republish y
         = row y r1 waiting
         = post y requested r1 #1 p1
         = row y r1 requested
         706 republish x
         = post x requested r1 #1 p1
         = row x r1 requested",
    );
    // By hand means whatever the image still needs: it failed, or it is still drawn.
    story(
        "1 draw
         1 channel x
         700 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         701 unrendered 1 - 1
         = image failed r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting its image failed: broken
         = letter image_failed
         702 republish
         = image requested r1 #2 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         703 channel y
         704 republish y
         = row y r1 waiting
         705 posted 1 z 1
         = refused r1 []
         = letter unknown_step
         706 republish
         = refused r1 []
         = letter nothing_to_republish
         707 unrendered 1 - 2
         = image failed r1 #2 acme/lotto/d/result/en/r1.png
         = row x r1 waiting its image failed: broken
         = row y r1 waiting its image failed: broken
         = letter image_failed
         708 republish y
         = image requested r1 #3 acme/lotto/d/result/en/r1.png
         = row y r1 waiting
         709 rendered 1 - 3
         = image ready r1 #3 p1
         = post x requested r1 #1 p1
         = row x r1 requested
         = post y requested r1 #1 p1
         = row y r1 requested",
    );
}

#[test]
fn a_new_revision_supersedes_what_is_open() {
    story(
        "1 draw
         1 channel x
         150 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         152 correct 1,3
         = corrected r2 [1, 3]
         = row published
         = settle r2
         = image superseded r1 #1 acme/lotto/d/result/en/r1.png
         = post x superseded r1 #0 acme/lotto/d/result/en/r1.png
         = row x r1 superseded
         = image requested r2 #1 acme/lotto/d/result/en/r2.png
         = row x r2 waiting
         153 rendered 1 - 1
         154 rendered 2 - 1
         = image ready r2 #1 p2
         = post x requested r2 #1 p2
         = row x r2 requested",
    );
}

#[test]
fn what_is_superseded_is_told_as_it_was_published() {
    let log: Vec<_> = ["1 draw", "1 channel x", "150 correct 1,2", "152 correct 1,3"].map(event).into();
    let mut facts = Vec::new();
    for out in Course::straight(10_000).run(operator, &log) {
        if let DrawsOut::Out(Output::Fact(Fact::Publication(fact))) = out.body {
            facts.push((fact.event, fact.revision, fact.numbers));
        }
    }
    use PublicationEvent::{Requested, Superseded};
    let (old, new) = (vec![1, 2], vec![1, 3]);
    assert_eq!(
        facts,
        [
            (Requested, 1, old.clone()),
            (Superseded, 1, old.clone()),
            (Superseded, 1, old),
            (Requested, 2, new)
        ]
    );
}

#[test]
fn what_may_be_there_is_posted_again_only_where_its_channel_is_named() {
    story(
        "1 draw
         1 telegram t
         1 channel x
         150 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row t r1 waiting
         = row x r1 waiting
         152 rendered 1 - 1
         = image ready r1 #1 p1
         = post t requested r1 #1 p1
         = row t r1 requested
         = post x requested r1 #1 p1
         = row x r1 requested
         154 lost 1 t 1
         = post t failed r1 #1 p1
         = row t r1 failed unknown: it may have been posted
         = letter post_failed
         155 lost 1 x 1
         = post x failed r1 #1 p1
         = row x r1 failed unknown: it may have been posted
         = letter post_failed
         156 republish
         = post x requested r1 #2 p1
         = row x r1 requested
         157 republish
         = refused r1 []
         = letter nothing_to_republish
         158 republish t
         = post t requested r1 #2 p1
         = row t r1 requested
         159 unposted 1 t 2
         = post t failed r1 #2 p1
         = row t r1 failed broken
         = letter post_failed
         160 republish
         = post t requested r1 #3 p1
         = row t r1 requested",
    );
}

#[test]
fn what_was_posted_of_a_superseded_revision_is_told_and_nothing_of_it_is_asked_for_again() {
    story(
        "1 draw
         1 channel x
         1 channel y
         1 telegram z
         150 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         = row y r1 waiting
         = row z r1 waiting
         151 rendered 1 - 1
         = image ready r1 #1 p1
         = post x requested r1 #1 p1
         = row x r1 requested
         = post y requested r1 #1 p1
         = row y r1 requested
         = post z requested r1 #1 p1
         = row z r1 requested
         152 posted 1 y 1
         = post y posted r1 #1 p1
         = row y r1 posted x
         153 correct 1,3
         = corrected r2 [1, 3]
         = row published
         = settle r2
         = post x superseded r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 superseded
         = post z superseded r1 #1 acme/lotto/d/result/en/r1.png
         = row z r1 superseded
         = image requested r2 #1 acme/lotto/d/result/en/r2.png
         = row x r2 waiting
         = row y r2 waiting
         = row z r2 waiting
         154 lost 1 z 1
         = post z superseded r1 #1 acme/lotto/d/result/en/r1.png
         = row z r1 superseded unknown: it may have been posted
         155 lost 1 z 1
         156 retry lost 1 z 1
         157 posted 1 x 1
         = post x posted r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 posted x
         158 posted 1 x 1
         159 posted 1 y 1
         160 rendered 1 - 1
         161 correct 1,4
         = corrected r3 [1, 4]
         = row published
         = settle r3
         = image superseded r2 #1 acme/lotto/d/result/en/r2.png
         = post x superseded r2 #0 acme/lotto/d/result/en/r2.png
         = row x r2 superseded
         = post y superseded r2 #0 acme/lotto/d/result/en/r2.png
         = row y r2 superseded
         = post z superseded r2 #0 acme/lotto/d/result/en/r2.png
         = row z r2 superseded
         = image requested r3 #1 acme/lotto/d/result/en/r3.png
         = row x r3 waiting
         = row y r3 waiting
         = row z r3 waiting
         162 posted 1 z 1
         = post z posted r1 #1 acme/lotto/d/result/en/r1.png
         = row z r1 posted x",
    );
}

#[test]
fn a_post_is_resumed_where_its_channel_is_now_with_the_image_that_it_wants_now() {
    story(
        "1 draw
         1 channel x
         1 channel y
         150 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         = row y r1 waiting
         151 channel y at http://new/
         152 rendered 1 - 1
         = image ready r1 #1 p1
         = post x requested r1 #1 p1
         = row x r1 requested
         = post y requested r1 #1 p1 at http://new/
         = row y r1 requested
         153 unposted 1 x 1
         = post x failed r1 #1 p1
         = row x r1 failed broken
         = letter post_failed
         154 channel x at http://mended/
         155 retry unposted 1 x 1
         = post x requested r1 #2 p1 at http://mended/
         = row x r1 requested
         156 unposted 1 x 2
         = post x failed r1 #2 p1 at http://mended/
         = row x r1 failed broken
         = letter post_failed
         157 channel x card
         158 retry unposted 1 x 2
         = image requested r1 #1 acme/lotto/d/card/en/r1.png
         = row x r1 waiting
         159 unrendered 1 card 1
         = image failed r1 #1 acme/lotto/d/card/en/r1.png
         = row x r1 waiting its image failed: broken
         = letter image_failed
         160 republish x
         = image requested r1 #2 acme/lotto/d/card/en/r1.png
         = row x r1 waiting
         161 rendered 1 card 2
         = image ready r1 #2 p1
         = post x requested r1 #3 p1
         = row x r1 requested
         162 posted 1 x 3
         = post x posted r1 #3 p1
         = row x r1 posted x",
    );
}

#[test]
fn a_post_that_waits_by_hand_may_turn_out_to_be_there() {
    story(
        "1 draw
         1 channel x
         150 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row x r1 waiting
         151 posted 1 x 1
         152 rendered 1 - 1
         = image ready r1 #1 p1
         = post x requested r1 #1 p1
         = row x r1 requested
         153 unposted 1 x 1
         = post x failed r1 #1 p1
         = row x r1 failed broken
         = letter post_failed
         154 channel x card
         155 republish x
         = image requested r1 #1 acme/lotto/d/card/en/r1.png
         = row x r1 waiting
         156 posted 1 x 1
         = post x posted r1 #2 acme/lotto/d/card/en/r1.png
         = row x r1 posted x
         157 rendered 1 card 1
         = image ready r1 #1 p1",
    );
}

#[test]
fn nothing_is_asked_of_a_channel_that_is_paused_or_gone() {
    story(
        "1 draw
         1 channel u
         1 channel v
         1 channel w
         1 channel x
         150 correct 1,2
         = published r1 [1, 2]
         = row published
         = settle r1
         = image requested r1 #1 acme/lotto/d/result/en/r1.png
         = row u r1 waiting
         = row v r1 waiting
         = row w r1 waiting
         = row x r1 waiting
         151 pause u
         152 channel v none
         153 channel w games keno
         154 rendered 1 - 1
         = image ready r1 #1 p1
         = post u skipped r1 #0 p1
         = row u r1 skipped channel u is paused; republish the draw once the channel takes it
         = post v skipped r1 #0 p1
         = row v r1 skipped channel v is gone; republish the draw once the channel takes it
         = post w skipped r1 #0 p1
         = row w r1 skipped channel w takes no draws of lotto; republish the draw once the channel takes it
         = post x requested r1 #1 p1
         = row x r1 requested
         155 unposted 1 x 1
         = post x failed r1 #1 p1
         = row x r1 failed broken
         = letter post_failed
         156 pause x
         157 retry unposted 1 x 1
         = refused r1 []
         = letter channel_away
         158 republish x
         = refused r1 []
         = letter channel_away
         159 republish
         = refused r1 []
         = letter nothing_to_republish
         160 channel u
         161 republish
         = post u requested r1 #1 p1
         = row u r1 requested
         162 channel x
         163 retry unposted 1 x 1
         = post x requested r1 #2 p1
         = row x r1 requested",
    );
}
