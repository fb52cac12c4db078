//! Topics as declared against topics as they are: a plan that can be read before it is carried out.
//!
//! ```text
//!   declared ─┐
//!             ├─ plan: make · add partitions · alter settings · refuse ─ apply
//!   cluster ──┘
//! ```
//!
//! Nothing is ever taken away: partitions can't be removed, replicas are left as they are, and settings that are not
//! declared stay. What can't be done is refused in the plan, and a plan with a refusal isn't carried out at all.

use super::admin::{Admin, TopicSettings};
use super::ends::Asker;
use super::error::{KafkaError, Result};
use super::settings::{Isolation, KafkaSettings};
use super::{progress, writers};
use std::collections::BTreeMap;
use std::fmt;

/// A topic as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: u32,
    /// Replicas of each partition; absent: as many as the brokers make by default. Counts only when it is made.
    pub replication: Option<i32>,
    /// `retention.ms`, `cleanup.policy`, `min.insync.replicas` …
    pub settings: BTreeMap<String, String>,
}

impl TopicSpec {
    /// A small topic of our own, read from end to end or from its tail. The newest record of each key is kept for ever.
    pub(crate) fn compacted(name: &str, replication: Option<i32>) -> Self {
        let settings =
            [("cleanup.policy", "compact"), ("segment.ms", "3600000"), ("min.cleanable.dirty.ratio", "0.1")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        TopicSpec { name: name.to_owned(), partitions: 1, replication, settings }
    }

    /// What the pipelines of these names keep in Kafka for themselves: whose each topic of facts is, and how far each has come. A pipeline makes
    /// them where they are missing, and leaves them as they are where they aren't.
    pub fn kept_by<'a>(
        pipelines: impl IntoIterator<Item = &'a str>,
        replication: Option<i32>,
    ) -> Vec<TopicSpec> {
        let progress = pipelines.into_iter().map(progress::topic_of);
        let names = std::iter::once(writers::TOPIC.to_owned()).chain(progress);
        names.map(|name| TopicSpec::compacted(&name, replication)).collect()
    }
}

/// A topic as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicAsIs {
    pub partitions: u32,
    pub settings: BTreeMap<String, String>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Make(TopicSpec),
    /// Keys move to other partitions: from here on the order of one key's records holds within each part only.
    AddPartitions {
        topic: String,
        from: u32,
        to: u32,
    },
    /// What was in force, where anything was, and what is to be.
    Alter {
        topic: String,
        changes: BTreeMap<String, (Option<String>, String)>,
    },
    /// It can't be done.
    Refuse {
        topic: String,
        why: String,
    },
}

/// What has to happen so that the cluster is as declared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

impl Plan {
    /// Whether everything is as declared.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What can't be done, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Refuse { topic, why } => Some((topic.as_str(), why.as_str())),
            _ => None,
        })
    }

    /// Compares what is declared with what is there.
    pub fn between(declared: &[TopicSpec], there: &BTreeMap<String, TopicAsIs>) -> Plan {
        let steps = declared.iter().flat_map(|spec| match there.get(&spec.name) {
            None => vec![Step::Make(spec.clone())],
            Some(as_is) => changes(spec, as_is),
        });
        Plan { steps: steps.collect() }
    }
}

fn changes(spec: &TopicSpec, as_is: &TopicAsIs) -> Vec<Step> {
    let topic = || spec.name.clone();
    let (from, to) = (as_is.partitions, spec.partitions);
    let mut steps = Vec::new();
    match from.cmp(&to) {
        std::cmp::Ordering::Less => steps.push(Step::AddPartitions { topic: topic(), from, to }),
        std::cmp::Ordering::Greater => {
            let why = format!(
                "it has {from} partitions and {to} are declared: partitions can't be taken away; declare {from}"
            );
            steps.push(Step::Refuse { topic: topic(), why });
        }
        std::cmp::Ordering::Equal => {}
    }
    let changed = spec.settings.iter().filter(|(name, value)| as_is.settings.get(*name) != Some(value));
    let changes: BTreeMap<_, _> = changed
        .map(|(name, value)| (name.clone(), (as_is.settings.get(name).cloned(), value.clone())))
        .collect();
    if !changes.is_empty() {
        steps.push(Step::Alter { topic: topic(), changes });
    }
    steps
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return writeln!(f, "every topic is as declared");
        }
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Make(spec) => {
                write!(f, "make    {}: {} partitions", spec.name, spec.partitions)?;
                if let Some(replicas) = spec.replication {
                    write!(f, ", {replicas} replicas")?;
                }
                spec.settings.iter().try_for_each(|(name, value)| write!(f, ", {name}={value}"))
            }
            Step::AddPartitions { topic, from, to } => {
                write!(f, "grow    {topic}: {from} -> {to} partitions (keys move between partitions)")
            }
            Step::Alter { topic, changes } => {
                write!(f, "alter   {topic}:")?;
                changes.iter().enumerate().try_for_each(|(n, (name, (before, after)))| {
                    let comma = if n == 0 { "" } else { "," };
                    write!(f, "{comma} {name} {} -> {after}", before.as_deref().unwrap_or("unset"))
                })
            }
            Step::Refuse { topic, why } => write!(f, "refused {topic}: {why}"),
        }
    }
}

/// Plans what it takes for the cluster to have the declared topics.
///
/// # Errors
/// See [`KafkaError`].
pub fn plan(settings: &KafkaSettings, declared: &[TopicSpec]) -> Result<Plan> {
    settings.check()?;
    let asker = Asker::open(settings, Isolation::Committed)?;
    let mut counts = BTreeMap::new();
    for spec in declared {
        if let Some(partitions) = asker.partitions(&spec.name)? {
            counts.insert(spec.name.as_str(), partitions);
        }
    }
    let names: Vec<&str> = counts.keys().copied().collect();
    let in_force = Admin::open(settings)?.settings_of(&names)?;
    let as_is = |((name, partitions), settings): ((&str, u32), TopicSettings)| {
        (name.to_owned(), TopicAsIs { partitions, settings: settings.all })
    };
    Ok(Plan::between(declared, &counts.into_iter().zip(in_force).map(as_is).collect()))
}

/// Carries a plan out; one that refuses anything is left alone. Done twice, it does nothing the second time.
///
/// # Errors
/// [`KafkaError::Stop`] where the plan refuses something or the cluster does.
pub fn apply(settings: &KafkaSettings, plan: &Plan) -> Result<()> {
    let refused: Vec<String> = plan.refused().map(|(topic, why)| format!("{topic}: {why}")).collect();
    if !refused.is_empty() {
        return Err(KafkaError::Stop {
            place: settings.place(),
            problem: format!("the topics can't become as declared: {}", refused.join("; ")),
            remedy: "correct the declaration; nothing was changed".to_owned(),
        });
    }
    let admin = Admin::open(settings)?;
    for step in &plan.steps {
        match step {
            Step::Make(spec) => admin.make_declared(spec)?,
            Step::AddPartitions { topic, to, .. } => admin.grow(topic, *to)?,
            Step::Alter { topic, changes } => {
                let changes = changes.iter().map(|(name, (_, after))| (name.clone(), after.clone()));
                admin.alter(topic, &changes.collect())?;
            }
            Step::Refuse { .. } => unreachable!("a plan that refuses something is left alone"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Against a topic `t` of three partitions with `retention.ms=7`.
    fn check(name: &str, partitions: u32, declared: &str, expected: &str) {
        let as_is = TopicAsIs { partitions: 3, settings: settings("retention.ms=7 cleanup.policy=delete") };
        let spec =
            TopicSpec { name: name.into(), partitions, replication: None, settings: settings(declared) };
        let plan = Plan::between(&[spec], &BTreeMap::from([("t".to_owned(), as_is)]));
        assert_eq!(plan.to_string().trim_end(), expected);
    }

    #[test]
    fn a_plan_says_what_will_be_done_and_what_cant_be() {
        check("t", 3, "retention.ms=7", "every topic is as declared");
        check("u", 2, "retention.ms=-1", "make    u: 2 partitions, retention.ms=-1");
        check("t", 5, "", "grow    t: 3 -> 5 partitions (keys move between partitions)");
        check("t", 3, "retention.ms=-1 x=y", "alter   t: retention.ms 7 -> -1, x unset -> y");
        check(
            "t",
            2,
            "",
            "refused t: it has 3 partitions and 2 are declared: partitions can't be taken away; declare 3",
        );
    }
}
