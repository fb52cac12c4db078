//! What becomes of a post after a call: a pure decision over what the network said and what it promises.

use sinks::social::{PostError, Posted, Repeat};
use std::time::Duration;

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there: record it.
    Posted { external_id: String },
    /// Nothing more is tried by itself: record why. A dead letter waits for somebody.
    GiveUp { reason: String },
    /// Wait, at least as long as the network asked for, and try again.
    Again { problem: String, after: Option<Duration>, in_doubt: bool },
}

/// `in_doubt`: an earlier call's end wasn't known when this one began.
pub fn judge(
    result: Result<Posted, PostError>,
    tries: i64,
    tries_max: i64,
    repeat: Repeat,
    in_doubt: bool,
) -> Verdict {
    let last = tries >= tries_max;
    // A network that was asked has said that the earlier call did nothing; one that only knows the key hasn't.
    let still = in_doubt && repeat == Repeat::Recognised;
    match result {
        Ok(Posted { external_id }) => Verdict::Posted { external_id },
        Err(PostError::Refused { problem }) if still => Verdict::GiveUp { reason: unknown(&problem) },
        Err(PostError::Refused { problem }) => Verdict::GiveUp { reason: problem },
        Err(PostError::Again { problem, .. }) if last && still => {
            Verdict::GiveUp { reason: unknown(&problem) }
        }
        Err(PostError::Again { problem, .. }) if last => Verdict::GiveUp { reason: problem },
        Err(PostError::Again { problem, after }) => Verdict::Again { problem, after, in_doubt: still },
        Err(PostError::InDoubt { problem, .. }) if last || repeat == Repeat::Never => {
            Verdict::GiveUp { reason: unknown(&problem) }
        }
        Err(PostError::InDoubt { problem, after }) => Verdict::Again { problem, after, in_doubt: true },
    }
}

/// How a step ends whose call may have been answered. The word comes first, to be looked for.
pub fn unknown(problem: &str) -> String {
    format!(
        "unknown: it may have been posted ({problem}); look at the channel, and retry it only if it isn't there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(result: Result<Posted, PostError>, tries: i64, repeat: Repeat, in_doubt: bool) -> String {
        match judge(result, tries, 3, repeat, in_doubt) {
            Verdict::Posted { external_id } => format!("posted {external_id}"),
            Verdict::GiveUp { reason } => {
                format!("give up: {}", reason.split(' ').next().unwrap_or_default())
            }
            Verdict::Again { after, in_doubt, .. } => {
                let after = after.map_or(String::new(), |after| format!(" after {} s", after.as_secs()));
                format!("again{after}{}", if in_doubt { ", in doubt" } else { "" })
            }
        }
    }

    #[test]
    fn every_answer_has_one_consequence() {
        use Repeat::{Never, Recognised, Searchable};
        let ok = || Ok(Posted { external_id: "7".into() });
        let again = || Err(PostError::Again { problem: "busy".into(), after: Some(Duration::from_secs(9)) });
        let refused = || Err(PostError::Refused { problem: "forbidden".into() });
        let doubt = || Err(PostError::InDoubt { problem: "cut".into(), after: None });
        for (result, tries, repeat, in_doubt, expected) in [
            (ok(), 1, Never, false, "posted 7"),
            (again(), 1, Never, false, "again after 9 s"),
            (again(), 3, Never, false, "give up: busy"),
            (refused(), 1, Searchable, false, "give up: forbidden"),
            (doubt(), 1, Never, false, "give up: unknown:"),
            (doubt(), 1, Searchable, false, "again, in doubt"),
            (doubt(), 1, Recognised, false, "again, in doubt"),
            (doubt(), 3, Searchable, false, "give up: unknown:"),
            // The network was asked, and had nothing: what comes now is all there is to know.
            (again(), 2, Searchable, true, "again after 9 s"),
            (refused(), 2, Searchable, true, "give up: forbidden"),
            // It wasn't asked: the earlier call may still have been taken.
            (again(), 2, Recognised, true, "again after 9 s, in doubt"),
            (again(), 3, Recognised, true, "give up: unknown:"),
            (refused(), 2, Recognised, true, "give up: unknown:"),
        ] {
            let shown = format!("{result:?}, try {tries}, {repeat:?}, in doubt: {in_doubt}");
            assert_eq!(told(result, tries, repeat, in_doubt), expected, "{shown}");
        }
    }
}
