//! Why a cycle ended early, and what the administrator can do.

use std::time::Duration;

use super::DatabaseFailure;
use crate::directory::{DirectoryError, GraphError};
use crate::model::{EntraId, Outcome, shell_word};
use crate::store::StoreError;

/// A cycle ended early. Nothing was applied, unless it was stopped or the learner database failed in the middle of the
/// apply; the next cycle then continues.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The directory could not be read as a whole.
    #[error("the directory could not be read completely")]
    Directory(#[from] DirectoryError),
    /// The learner database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The learners belong to another source.
    #[error("the learner database belongs to {}", owners(others))]
    ForeignSource {
        /// The source of this configuration.
        here: String,
        /// The sources that have links.
        others: Vec<String>,
    },
    /// A group that restricts the scope was lost.
    #[error("group {0}, which scope.only or scope.ignore names, was deleted or lost all its members")]
    RestrictionLost(EntraId),
    /// Reading the directory took too long.
    #[error("reading the directory took longer than entra.cycle_deadline ({} s)", .0.as_secs())]
    Deadline(Duration),
    /// The process was asked to stop.
    #[error("stopped by a signal")]
    Interrupted,
}

fn owners(sources: &[String]) -> String {
    let named = sources.iter().map(|source| match source.split_once('/') {
        Some((tenant, application)) => format!("application {application} in tenant {tenant}"),
        None => source.clone(),
    });
    named.collect::<Vec<_>>().join(" and ")
}

/// Compares application ids alone: a tenant has its id and several domains as names.
fn same_application(left: &str, right: &str) -> bool {
    let application = |source: &str| source.rsplit('/').next().map(str::to_owned);
    application(left) == application(right)
}

/// The application may have been created again, be another one, or be a mistake.
fn foreign_hint(here: &str, others: &[String]) -> String {
    let tenant = |source: &str| source.split('/').next().map(str::to_owned);
    let former = others.iter().filter(|other| tenant(other) == tenant(here));
    let commands: Vec<String> =
        former.map(|other| format!("learner-sync approve --source --take-over {}", shell_word(other))).collect();
    let take_over = match &*commands {
        [] => String::new(),
        commands => format!(
            "if the enterprise application was deleted and created again, move its learners to this one: {}; ",
            commands.join(" or ")
        ),
    };
    format!(
        "{take_over}if both applications are to use this database, admit this one beside it: learner-sync approve \
         --source; otherwise correct entra.tenant_id or app.enterprise_app"
    )
}

impl CycleError {
    /// Advice for the administrator.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Directory(error) => error.hint().map(str::to_owned),
            Self::ForeignSource { here, others } if others.iter().any(|other| same_application(other, here)) => Some(
                "this is the same application under another spelling of entra.tenant_id: use the former spelling"
                    .to_owned(),
            ),
            Self::ForeignSource { here, others } => Some(foreign_hint(here, others)),
            Self::RestrictionLost(_) => Some(
                "restore the group, or remove it from the configuration; no learner is changed until then".to_owned(),
            ),
            Self::Deadline(_) => Some("raise entra.cycle_deadline if the tenant is that large".to_owned()),
            Self::Store(error) => error.hint(),
            Self::Interrupted => None,
        }
    }

    /// Whether Entra rejected the credential or the application. Asking again soon does not help.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Directory(DirectoryError::ApplicationNotFound(_)) => true,
            Self::Directory(DirectoryError::Graph(GraphError::Auth(error))) => error.is_lasting(),
            _ => false,
        }
    }

    /// Whether a change of the credential or of the application may end the failure.
    pub(super) fn is_about_the_credential(&self) -> bool {
        match self {
            Self::Directory(DirectoryError::Graph(GraphError::Auth(error))) => error.is_about_the_credential(),
            _ => self.is_refusal(),
        }
    }

    /// How the learner database failed as a whole, if it did.
    pub(super) fn database_failure(&self) -> Option<DatabaseFailure> {
        match self {
            Self::Store(StoreError::RelinkRefused { .. } | StoreError::WrittenByOther | StoreError::Paused) => None,
            Self::Store(error) => Some(DatabaseFailure::of(error)),
            _ => None,
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Interrupted | Self::Store(StoreError::Paused) => Outcome::Interrupted,
            _ => Outcome::Failed,
        }
    }

    /// Whether an administrator paused provisioning while the cycle ran.
    pub(super) fn is_pause(&self) -> bool {
        matches!(self, Self::Store(StoreError::Paused))
    }
}
