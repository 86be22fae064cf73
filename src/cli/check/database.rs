//! What `check` finds on disk and in the learner database.

use super::{Check, DATABASE};
use crate::cli::{Context, owner};
use crate::runtime::{configured_source, preflight};
use crate::store::{Access, Store, StoreError, TableFault};

/// Opens the database, or checks that it could be created. Nothing is created: root may run `check` first, and the
/// service user could not write to a file of root's.
pub(super) async fn database_check(context: &Context) -> Check {
    if let Err(error) = owner::check_owner(&context.config).await {
        let hint = error.hint().map(str::to_owned);
        return Check { ok: false, hint, ..Check::passed(DATABASE, error.message()) };
    }
    let learners = match context.learners() {
        Ok(learners) => learners,
        Err(failure) => return Check { ok: false, ..Check::passed(DATABASE, failure.message()) },
    };
    if let Err(error) = preflight::inspect_database(&context.config, &learners).await {
        return Check::failed(DATABASE, &error, error.hint());
    }
    let shown = match Store::describe(&learners.place).await {
        Ok(shown) => shown,
        Err(error) => return Check::failed(DATABASE, &error, error.hint()),
    };
    let opened = async {
        let store = Store::open(&learners, Access::ReadOnly).await?;
        let (state, missing) = (store.state().await?, store.missing_rights().await?);
        if missing.is_empty() {
            store.linked(&configured_source(&context.config, &state)).await?;
        }
        Ok((state, store.first_damage().await?, missing))
    };
    match opened.await {
        Ok((_, _, missing)) if !missing.is_empty() => Check {
            ok: false,
            hint: Some(format!("the owner of the tables must run: {}", missing.join("; "))),
            ..Check::passed(DATABASE, format!("{shown}; the role lacks rights that a cycle needs"))
        },
        Ok((_, Some(damage), _)) => Check {
            ok: false,
            hint: Some("stop the daemon and restore a backup: learner-sync guide backup".to_owned()),
            ..Check::passed(DATABASE, format!("{shown} is damaged: {}", damage.replace('\n', " ")))
        },
        Ok((state, None, _)) => match preflight::inspect_source_locks(&context.config, &state) {
            Ok(()) => Check::passed(DATABASE, shown),
            Err(error) => Check::failed(DATABASE, &error, error.hint()),
        },
        Err(StoreError::Missing { .. }) => {
            Check::passed(DATABASE, format!("{shown} does not exist yet; the first cycle creates it"))
        }
        Err(StoreError::Older { .. }) => {
            Check::passed(DATABASE, format!("{shown}; the first cycle creates or upgrades its tables"))
        }
        Err(StoreError::Table { faults }) => failed_table_check(&shown, &faults),
        Err(error) => Check::failed(DATABASE, &error, error.hint()),
    }
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
    Check {
        ok: false,
        hint: Some(hint),
        ..Check::passed(DATABASE, format!("{shown}; the learners table is unusable: {}", messages.join("; ")))
    }
}

/// `None` when the state directory is usable.
pub(super) fn state_check(context: &Context) -> Option<Check> {
    let error = preflight::inspect_state(&context.config).err()?;
    Some(Check::failed("state", &error, error.hint()))
}
