//! `learner-sync guide`: prints the manual. Its topics are the Markdown files in `guide/`.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};

use super::output::{DONE, Failure, USAGE, print};
use crate::nearest::{did_you_mean, nearest};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The topic to print; without it, the topics are listed.
    #[arg(value_name = "TOPIC", value_parser = TopicName)]
    topic: Option<String>,
}

/// Any text, so that [`run`] can suggest a topic; completions get the topics.
#[derive(Clone)]
struct TopicName;

impl TypedValueParser for TopicName {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(TOPICS.iter().map(|topic| PossibleValue::new(topic.name).help(topic.summary))))
    }
}

pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    pub(super) text: &'static str,
}

macro_rules! topics {
    ($($name:literal: $summary:literal,)+) => {
        [$(Topic { name: $name, summary: $summary, text: include_str!(concat!("guide/", $name, ".md")) }),+]
    };
}

/// In reading order.
pub(super) const TOPICS: [Topic; 15] = topics! {
    "installing": "the program, the app registration, the configuration",
    "going-live": "from a test group to the running service",
    "operations": "daily work: every reason, outcome, exit code and signal",
    "monitoring": "metrics, health checks, alerts, the status page, messages",
    "troubleshooting": "failed sign-ins, answers of Graph, new credentials",
    "holds": "mass deactivations: what is held, and how to approve it",
    "mapping": "attributes, expressions, scoping filters, guests",
    "postgresql": "PostgreSQL: connection, roles, rights, several machines",
    "high-availability": "two daemons, a cluster, what happens at a failover",
    "existing-table": "a learners table that the platform already has",
    "performance": "time, memory and requests of a cycle",
    "backup": "files, backup and restore",
    "migrating": "from SCIM or CSV; recreated applications and users",
    "upgrading": "installing a newer version, or going back to an older one",
    "uninstalling": "removing the service, with or without its data",
};

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let Some(name) = &arguments.topic else {
        print("Topics of the guide; `learner-sync guide TOPIC` prints one:\n")?;
        for Topic { name, summary, .. } in &TOPICS {
            print(&format!("  {name:<17} {summary}"))?;
        }
        return Ok(DONE);
    };
    let Some(topic) = TOPICS.iter().find(|topic| topic.name == name) else {
        let names = TOPICS.map(|topic| topic.name);
        let suggestion = did_you_mean(nearest(name, names.into_iter()));
        let hint = Some(format!("the topics are {}", names.join(", ")));
        return Err(Failure { hint, ..Failure::new(USAGE, format!("the guide has no topic {name:?}{suggestion}")) });
    };
    print(topic.text.trim_end())?;
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use crate::store::Store;

    #[test]
    fn upgrading_describes_every_version_since_the_fourth() {
        let headings = include_str!("guide/upgrading.md").lines();
        let found: Vec<i64> =
            headings.filter_map(|line| line.strip_prefix("## Schema version ")?.parse().ok()).collect();
        assert_eq!(found, (4..=Store::SCHEMA_VERSION).collect::<Vec<_>>());
    }
}
