//! The checks of the disk and of the learner database.

use super::{Check, DATABASE};
use crate::cli::Context;
use crate::cli::output::counted;
use crate::runtime::configured_source;
use crate::runtime::preflight::{self, PreflightError};
use crate::store::{Access, HostReport, LearnerDatabase, Store, StoreError, TableFault};

const SPLIT_HINT: &str = "a cycle writes to the first of them; stop the others, whose changes differ, or name only the primary \
                          and its standbys in learners.database_url";

/// Opens the database, or checks that it could be created. Nothing is created: root may run `check` first, and the
/// service user could not write to a file of root's.
pub(super) async fn database_check(context: &Context) -> Check {
    if let Err(error) = context.check_owner().await {
        return Check { ok: false, hint: error.hint, ..Check::passed(DATABASE, error.message) };
    }
    let learners = match context.learners() {
        Ok(learners) => learners,
        Err(failure) => return Check { ok: false, ..Check::passed(DATABASE, failure.message) },
    };
    let checked = async {
        preflight::inspect_database(&context.config, &learners).await?;
        let HostReport { description: shown, is_split, hint } = Store::inspect_hosts(&learners.place).await?;
        if is_split {
            return Ok(Check::refused(DATABASE, format!("{shown}; several servers accept writes"), SPLIT_HINT));
        }
        let checked = match check_tables(context, &learners, &shown).await {
            Err(PreflightError::Store(StoreError::Missing { .. })) => {
                Ok(Check::passed(DATABASE, format!("{shown} does not exist yet; the first cycle creates it")))
            }
            Err(PreflightError::Store(StoreError::Older { .. })) => {
                Ok(Check::passed(DATABASE, format!("{shown}; the first cycle creates or upgrades its tables")))
            }
            Err(PreflightError::Store(StoreError::Table { faults })) => Ok(failed_table_check(&shown, &faults)),
            checked => checked,
        };
        checked.map(|check| Check { hint: check.hint.or(hint), ..check })
    };
    checked.await.unwrap_or_else(|error: PreflightError| Check::failed(DATABASE, &error, error.hint()))
}

async fn check_tables(context: &Context, learners: &LearnerDatabase, shown: &str) -> Result<Check, PreflightError> {
    let store = Store::open(learners, Access::ReadOnly).await?;
    let (state, missing) = (store.state().await?, store.missing_rights().await?);
    if !missing.is_empty() {
        let detail = format!("{shown}; the role lacks rights that a cycle needs");
        let hint = format!("the owner of the tables must run: {}", missing.join("; "));
        return Ok(Check::refused(DATABASE, detail, hint));
    }
    let source = configured_source(&context.config, &state);
    store.count_linked(&source).await?;
    if let Some(damage) = store.first_damage().await? {
        let detail = format!("{shown} is damaged: {}", damage.replace('\n', " "));
        return Ok(Check::refused(DATABASE, detail, "stop the daemon and restore a backup: learner-sync guide backup"));
    }
    let unreadable = store.inspect_bookkeeping(&source).await?;
    if let Some(first) = unreadable.first() {
        let detail = format!(
            "{shown}; {} of the bookkeeping cannot be read, such as: {first}",
            counted(unreadable.len(), "row")
        );
        return Ok(Check::refused(DATABASE, detail, "`learner-sync status` lists the rows with the statements"));
    }
    preflight::inspect_source_locks(&context.config, &state).await?;
    if let Some(encoding) = store.limited_encoding().await {
        let detail = format!("{shown}; its encoding {encoding} lacks most characters");
        let hint = "users whose values contain other characters fail (database-error), and the log shows these characters as \
                    \\u{...}; to accept every name, move the data to a database of encoding UTF8: pg_dump, createdb \
                    --encoding=UTF8 --template=template0, pg_restore";
        return Ok(Check { hint: Some(hint.to_owned()), ..Check::passed(DATABASE, detail) });
    }
    if store.shares_sessions().await {
        let detail = format!("{shown}, behind a pooler in transaction mode");
        let hint = "the advisory lock is not usable behind a pooler in transaction mode: cycles of two machines may overlap, \
                    and one of them starts over; fencing still protects every write. To take turns, connect directly or \
                    through a pooler in session mode";
        return Ok(Check { hint: Some(hint.to_owned()), ..Check::passed(DATABASE, detail) });
    }
    Ok(Check::passed(DATABASE, shown))
}

/// The problems of an external table, and the statements that correct them.
fn failed_table_check(shown: &str, faults: &[TableFault]) -> Check {
    let messages: Vec<String> = faults.iter().map(TableFault::problem).collect();
    let statements: Vec<String> =
        faults.iter().filter_map(|fault| fault.statement.as_ref()).map(|statement| format!("{statement};")).collect();
    let hint = if statements.is_empty() {
        "name another table or other columns, or have the owner of the table change it".to_owned()
    } else {
        format!("the owner of the table must run: {}", statements.join(" "))
    };
    Check::refused(DATABASE, format!("{shown}; the learners table is unusable: {}", messages.join("; ")), hint)
}
