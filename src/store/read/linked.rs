//! The linked learners as fingerprints: what the cache contains, read from the database.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Attribute, EntraId, Fingerprint, LearnerId, LinkedLearner, LinkedLearners, Route, Routes, RowSubject, Status,
    UnreadableRow, Values,
};
use crate::store::db::{Connection, DbError, Dialect, SqlRow, Statement, parse_column, parse_json_column};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::schema::{has_edit_triggers, has_link_trigger};
use crate::store::table::{Layout, push_columns, read_columns, without_active};

impl Store {
    /// The learners linked by `source`, of all users or of one, with the fingerprint of exactly `attributes`. Reads each
    /// row once, and keeps no values. A link that cannot be read is left out and reported.
    pub async fn linked_learners(
        &self,
        source: &str,
        user: Option<EntraId>,
        attributes: &[Attribute],
    ) -> Result<LinkedLearners, StoreError> {
        self.refuse_hidden_rows(source).await?;
        let attributes = without_active(attributes);
        let layout = &self.layout;
        let mut connection = self.connection().await;
        let mut statement = Statement::new("SELECT l.entra_id, l.learner_id, l.via, ");
        statement.push(layout.active("r")).push(", ").push(layout.deactivated("r", "l")).push(", ");
        statement.push(layout.outside("r")).push(", ").push(connection.place_of_link("l"));
        statement.push(", ").push(layout.external_id("r.").unwrap_or_else(|| "NULL".to_owned()));
        statement.push(", ").push(layout.unreadable_state("r", connection.dialect()));
        push_columns(&mut statement, layout, &attributes);
        statement.push(layout.links_with_rows()).push(" WHERE l.source = ");
        statement.push_bind(source);
        if let Some(user) = user {
            statement.push(" AND l.entra_id = ").push_bind(user.to_string());
        }

        let mut known = Vec::new();
        let mut routes_by_text = BTreeMap::new();
        let mut values = Values::default();
        let mut unreadable = Vec::new();
        let mut linked_users = BTreeSet::new();
        let each = |row: SqlRow| {
            linked_users.extend(row.canonical::<EntraId, _>(0, "sync_links.entra_id"));
            let (user, routes) = match read_link(&row, &mut routes_by_text) {
                Ok(link) => link,
                Err(DbError::Unreadable { column }) => {
                    unreadable.push((layout.learner_at(&row, 1)?, UnreadableLink::read(&row, column)?));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            let learner = layout.learner_at(&row, 1)?;
            let outside: bool = row.get_unchecked(5)?;
            if !outside && row.get_unchecked(8)? {
                self.add_unreadable(layout.row_of_unreadable_state(user, &learner));
                return Ok(());
            }
            // The values of another organisation may be unreadable as well.
            let (active, fingerprint) = if outside {
                (false, Fingerprint::UNKNOWN)
            } else {
                read_columns(&row, 9, &attributes, &mut values)?;
                let (active, deactivated): (bool, bool) = (row.get_unchecked(3)?, row.get_unchecked(4)?);
                // Another program reactivated the learner; an unknown fingerprint makes the plan look at it.
                let reactivated_by_hand = active && deactivated;
                let fingerprint =
                    if reactivated_by_hand { Fingerprint::UNKNOWN } else { Fingerprint::compute(&values) };
                (active, fingerprint)
            };
            let entry = LinkedLearner { learner, active, outside, fingerprint, row: None, routes };
            known.push((user, entry));
            Ok::<_, StoreError>(())
        };
        connection.run(statement, each).await?;
        for (learner, mut link) in unreadable {
            if link.user.is_none() {
                link.user = last_logged_user(&mut connection, layout, &learner).await?;
            }
            let is_second = link.column != "sync_links.via" && link.user.is_some_and(|user| !linked_users.insert(user));
            self.add_unreadable(link.into_row(is_second));
        }
        Ok(known.into())
    }

    /// The learner of each user linked by `source`. A link without a row, or that cannot be read, is left out.
    pub async fn learner_ids(&self, source: &str) -> Result<BTreeMap<EntraId, LearnerId>, StoreError> {
        let mut connection = self.connection().await;
        let links = match deletes_links(&mut connection, &self.layout).await? {
            true => " FROM sync_links l".to_owned(),
            false => self.layout.links_with_rows(),
        };
        let statement = Statement::new(format!("SELECT l.entra_id, l.learner_id{links} WHERE l.source = $1"));
        let mut ids = BTreeMap::new();
        let each = |row: SqlRow| {
            if let Ok(user) = row.canonical(0, "sync_links.entra_id") {
                ids.insert(user, self.layout.learner_at(&row, 1)?);
            }
            Ok::<_, StoreError>(())
        };
        connection.run(statement.bind(source), each).await?;
        Ok(ids)
    }

    /// Reads all bookkeeping of `source`, and returns the rows that cannot be read.
    pub async fn inspect_bookkeeping(&self, source: &str) -> Result<Vec<UnreadableRow>, StoreError> {
        self.held_users(source).await?;
        self.failing(source).await?;
        self.inspect_links_and_groups(source).await?;
        Ok(self.unreadable_rows())
    }

    /// Collects the rows about links, groups and history that cannot be read.
    pub(super) async fn inspect_links_and_groups(&self, source: &str) -> Result<(), StoreError> {
        if !self.links_are_readable(source).await? {
            self.linked_learners(source, None, &[]).await?;
        }
        self.last_members(source).await?;
        self.inspect_log_times().await
    }

    /// Whether every link of `source` and the state of its learner can be read. A cache does not show what a hand changed.
    /// Reads all links only after such a change.
    pub async fn links_are_readable(&self, source: &str) -> Result<bool, StoreError> {
        let is_inspected = self.state().await?.links_inspected;
        let mut connection = self.connection().await;
        // A copy may lack the triggers.
        let is_inspected = is_inspected && has_edit_triggers(&mut connection, &self.layout).await?;
        if !is_inspected && !are_links_readable(&mut connection, Some(source)).await? {
            return Ok(false);
        }
        // An external table has no trigger for its states.
        let is_watched = is_inspected && self.layout.external.is_none();
        Ok(is_watched || are_states_readable(&mut connection, &self.layout, Some(source)).await?)
    }

    /// Reads the links of all sources and records whether they can be read, unless that is recorded.
    pub async fn inspect_links(&self) -> Result<(), StoreError> {
        if self.state().await?.links_inspected {
            return Ok(());
        }
        {
            let mut connection = self.connection().await;
            if !are_links_readable(&mut connection, None).await?
                || !are_states_readable(&mut connection, &self.layout, None).await?
            {
                return Ok(());
            }
        }
        self.write(async |connection| {
            // First, because it waits for an edit that is not committed. The links are read again for such an edit.
            connection.execute(Statement::new("UPDATE sync_state SET links_inspected = $1").bind(true)).await?;
            if !are_links_readable(connection, None).await?
                || !are_states_readable(connection, &self.layout, None).await?
            {
                connection.execute(Statement::new("UPDATE sync_state SET links_inspected = $1").bind(false)).await?;
            }
            Ok(())
        })
        .await
    }

    /// The number of learners linked by `source`, without those outside the limits. Counts the links alone where each has
    /// a row within the limits.
    ///
    /// # Errors
    /// On a server also when a policy hides some of them from the role.
    pub async fn count_linked(&self, source: &str) -> Result<u64, StoreError> {
        self.refuse_hidden_rows(source).await?;
        let layout = &self.layout;
        let mut connection = self.connection().await;
        let statement = if layout.limits.is_empty() && deletes_links(&mut connection, layout).await? {
            "SELECT count(*) FROM sync_links l WHERE l.source = $1".to_owned()
        } else {
            let (links, within) = (layout.links_with_rows(), layout.within("r"));
            format!("SELECT count(*){links} WHERE {within} AND l.source = $1")
        };
        Ok(connection.row(Statement::new(statement).bind(source)).await?.get::<i64, _>(0)?.unsigned_abs())
    }

    /// # Errors
    /// When a policy of a server hides learners from the role: their users would count as new.
    async fn refuse_hidden_rows(&self, source: &str) -> Result<(), StoreError> {
        let Layout { table, .. } = &self.layout;
        let mut connection = self.connection().await;
        if connection.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        let policy = Statement::new("SELECT quote_ident(current_user), row_security_active(to_regclass($1)::oid)");
        let row = connection.row(policy.bind(table.as_str())).await?;
        let (role, is_active): (String, bool) = (row.get(0)?, row.get(1)?);
        if !is_active {
            return Ok(());
        }
        let id = self.layout.id();
        let hidden = Statement::new(format!(
            "SELECT count(*) FROM sync_links l LEFT JOIN {table} r ON r.{id} = l.learner_id WHERE r.{id} IS NULL AND l.source = $1"
        ));
        let hidden = connection.row(hidden.bind(source)).await?.get::<i64, _>(0)?.unsigned_abs();
        if hidden == 0 { Ok(()) } else { Err(StoreError::Hidden { hidden, table: table.clone(), role }) }
    }

    /// The number of active linked learners that have a value, by attribute.
    pub async fn present(
        &self,
        source: &str,
        attributes: &[Attribute],
    ) -> Result<BTreeMap<Attribute, u64>, StoreError> {
        let attributes: BTreeSet<Attribute> = attributes.iter().copied().collect();
        if attributes.is_empty() {
            return Ok(BTreeMap::new());
        }
        let layout = &self.layout;
        let mut statement = Statement::new("SELECT ");
        let counts: Vec<String> =
            attributes.iter().map(|attribute| format!("count({})", layout.value("r", *attribute))).collect();
        statement.push(counts.join(", ")).push(layout.links_with_rows());
        statement.push(" WHERE ").push(layout.active("r")).push(" AND ").push(layout.within("r"));
        statement.push(" AND l.source = ");
        statement.push_bind(source);
        let row = self.connection().await.row(statement).await?;
        let count = |(index, attribute)| Ok((attribute, row.get::<i64, _>(index)?.unsigned_abs()));
        attributes.into_iter().enumerate().map(count).collect()
    }
}

async fn are_links_readable(connection: &mut Connection, source: Option<&str>) -> Result<bool, DbError> {
    let is_id = match connection.dialect() {
        Dialect::Sqlite => {
            let form = [8, 4, 4, 4, 12].map(|count| "[0-9a-f]".repeat(count)).join("-");
            // GLOB ignores what follows a NUL.
            format!("(typeof(entra_id) = 'text' AND entra_id GLOB '{form}' AND NOT instr(entra_id, char(0)))")
        }
        Dialect::Postgres => "coalesce(entra_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', false)".to_owned(),
    };
    let of_source = |mut statement: Statement<'static>| {
        if let Some(source) = source {
            statement.push(" AND source = ").push_bind(source.to_owned());
        }
        statement
    };
    let mut odd = of_source(Statement::new(format!("SELECT EXISTS (SELECT 1 FROM sync_links WHERE NOT {is_id}")));
    odd.push(")");
    if connection.row(odd).await?.get(0)? {
        return Ok(false);
    }
    // Thousands of users share a few combinations.
    let combinations = of_source(Statement::new("SELECT DISTINCT via FROM sync_links WHERE true"));
    let rows = connection.rows(combinations).await?;
    let mut parsed = BTreeMap::new();
    Ok(rows.iter().all(|row| row.json(0, "sync_links.via").and_then(|text| parse_routes(&mut parsed, text)).is_ok()))
}

async fn are_states_readable(
    connection: &mut Connection,
    layout: &Layout,
    source: Option<&str>,
) -> Result<bool, DbError> {
    let state = layout.unreadable_state("r", connection.dialect());
    if state == "false" {
        return Ok(true);
    }
    let mut odd = Statement::new(format!("SELECT NOT EXISTS (SELECT 1{} WHERE {state}", layout.links_with_rows()));
    if let Some(source) = source {
        odd.push(" AND l.source = ").push_bind(source);
    }
    odd.push(")");
    connection.row(odd).await?.get(0)
}

/// Whether the database deletes a link with its learner. Other programs may turn off the foreign keys of SQLite.
async fn deletes_links(connection: &mut Connection, layout: &Layout) -> Result<bool, DbError> {
    match connection.dialect() {
        Dialect::Sqlite => has_link_trigger(connection, layout).await,
        Dialect::Postgres => Ok(true),
    }
}

fn read_link(row: &SqlRow, parsed: &mut BTreeMap<String, Routes>) -> Result<(EntraId, Routes), DbError> {
    let user = row.canonical(0, "sync_links.entra_id")?;
    Ok((user, parse_routes(parsed, row.json(2, "sync_links.via")?)?))
}

struct UnreadableLink {
    user: Option<EntraId>,
    column: &'static str,
    place: String,
}

impl UnreadableLink {
    /// The user of a link whose id cannot be read is the one that the learner names.
    fn read(row: &SqlRow, column: &'static str) -> Result<Self, DbError> {
        let place = row.text(6, "sync_links.learner_id")?.to_owned();
        let written = row.foreign_text(0)?.and_then(|text| text.parse::<EntraId>().ok());
        let named = row.foreign_text(7)?.and_then(|text| text.parse::<EntraId>().ok());
        Ok(Self { user: written.or(named), column, place })
    }

    /// A user has one link, so a second one is deleted.
    fn into_row(self, is_second: bool) -> UnreadableRow {
        let Self { user, column, place } = self;
        let change = match (column, user) {
            ("sync_links.via", _) => "UPDATE sync_links SET via = '[]'".to_owned(),
            (_, Some(user)) if !is_second => format!("UPDATE sync_links SET entra_id = '{user}'"),
            (_, _) => "DELETE FROM sync_links".to_owned(),
        };
        let repair = format!("{change} WHERE {place}");
        UnreadableRow { subject: RowSubject::User(user), column, place, repair }
    }
}

/// The user of the last change of the learner. Without it, a user of a table without external ids would get a second
/// learner.
async fn last_logged_user(
    connection: &mut Connection,
    layout: &Layout,
    learner: &LearnerId,
) -> Result<Option<EntraId>, DbError> {
    let statement = Statement::new(
        "SELECT entra_id FROM provisioning_log WHERE learner_id = $1 AND status = $2 ORDER BY id DESC LIMIT 1",
    );
    let statement = statement.bind(layout.learner_value(Some(learner))).bind(Status::Success.as_str());
    let row = connection.optional_row(statement).await?;
    Ok(row.and_then(|row| row.parsed(0, "provisioning_log.entra_id").ok()))
}

/// Parses a value of `via`. Equal values are parsed once and shared.
pub(super) fn parse_routes(parsed: &mut BTreeMap<String, Routes>, text: &str) -> Result<Routes, DbError> {
    if let Some(routes) = parsed.get(text) {
        return Ok(routes.clone());
    }
    let column = "sync_links.via";
    let routes: Vec<String> = parse_json_column(text, column)?;
    let routes: Result<Vec<Route>, _> = routes.iter().map(|route| parse_column(route, column)).collect();
    let routes: Routes = routes?.into_iter().collect();
    parsed.insert(text.to_owned(), routes.clone());
    Ok(routes)
}
