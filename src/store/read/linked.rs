//! The linked learners as fingerprints: what the cache contains, read from the database.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{
    Attribute, EntraId, Fingerprint, LearnerId, LinkedLearner, LinkedLearners, Route, Routes, RowSubject, Status,
    UnreadableRow, Values,
};
use crate::store::db::{Connection, DbError, Dialect, SqlRow, Statement, parse_column, parse_json_column};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::table::{Layout, push_columns, read_columns, without_active};

impl Store {
    /// The learners linked by `source`, of all users or of one, with the fingerprint of exactly `attributes`. Reads each
    /// row once, and keeps no values. A link that cannot be read is left out and noted.
    pub async fn linked_learners(
        &self,
        source: &str,
        user: Option<EntraId>,
        attributes: &[Attribute],
    ) -> Result<LinkedLearners, StoreError> {
        // Fails if a policy hides rows: their users would count as new.
        self.count_linked(source).await?;
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

        let mut known = LinkedLearners::new();
        let mut routes_by_text = BTreeMap::new();
        let mut values = Values::new();
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
                self.note_unreadable(layout.row_of_unreadable_state(user, &learner));
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
            let entry = LinkedLearner { learner, active, outside, fingerprint, routes };
            known.insert(user, entry);
            Ok::<_, StoreError>(())
        };
        connection.run(statement, each).await?;
        for (learner, mut link) in unreadable {
            if link.user.is_none() {
                link.user = last_logged_user(&mut connection, layout, &learner).await?;
            }
            let is_second = link.column != "sync_links.via" && link.user.is_some_and(|user| !linked_users.insert(user));
            self.note_unreadable(link.into_row(is_second));
        }
        Ok(known)
    }

    /// Reads all bookkeeping of `source`, and returns the rows that cannot be read.
    pub async fn inspect_bookkeeping(&self, source: &str) -> Result<Vec<UnreadableRow>, StoreError> {
        if !self.links_are_readable(source).await? {
            self.linked_learners(source, None, &[]).await?;
        }
        self.held_users(source).await?;
        self.failing(source).await?;
        self.last_members(source).await?;
        Ok(self.unreadable_rows())
    }

    /// Whether every link of `source` and the state of its learner can be read. A cache does not show what a hand changed.
    pub async fn links_are_readable(&self, source: &str) -> Result<bool, StoreError> {
        let mut connection = self.connection().await;
        let is_id = match connection.dialect() {
            Dialect::Sqlite => {
                let form = [8, 4, 4, 4, 12].map(|count| "[0-9a-f]".repeat(count)).join("-");
                format!("(typeof(entra_id) = 'text' AND entra_id GLOB '{form}')")
            }
            Dialect::Postgres => "coalesce(entra_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$', false)".to_owned(),
        };
        let odd = Statement::new(format!("SELECT EXISTS (SELECT 1 FROM sync_links WHERE source = $1 AND NOT {is_id})"));
        if connection.row(odd.bind(source)).await?.get(0)? {
            return Ok(false);
        }
        let state = self.layout.unreadable_state("r", connection.dialect());
        if state != "false" {
            let links = self.layout.links_with_rows();
            let odd = Statement::new(format!("SELECT EXISTS (SELECT 1{links} WHERE l.source = $1 AND {state})"));
            if connection.row(odd.bind(source)).await?.get(0)? {
                return Ok(false);
            }
        }
        // Thousands of users share a few combinations.
        let combinations = Statement::new("SELECT DISTINCT via FROM sync_links WHERE source = $1");
        let rows = connection.rows(combinations.bind(source)).await?;
        let mut parsed = BTreeMap::new();
        Ok(rows
            .iter()
            .all(|row| row.json(0, "sync_links.via").and_then(|text| parse_routes(&mut parsed, text)).is_ok()))
    }

    /// The number of learners linked by `source`, without those outside the limits.
    ///
    /// # Errors
    /// On a server also when a policy hides some of them from the role.
    pub async fn count_linked(&self, source: &str) -> Result<u64, StoreError> {
        let (table, id, within) = (&self.layout.table, self.layout.id(), self.layout.within("r"));
        let statement = Statement::new(format!(
            "SELECT count(CASE WHEN {within} THEN r.{id} END), count(*) - count(r.{id}) FROM sync_links l LEFT JOIN {table} r ON r.{id} = l.learner_id
             WHERE l.source = $1",
        ));
        let mut connection = self.connection().await;
        let row = connection.row(statement.bind(source)).await?;
        let (linked, hidden) = (row.get::<i64, _>(0)?.unsigned_abs(), row.get::<i64, _>(1)?.unsigned_abs());
        if hidden > 0 && connection.dialect() == Dialect::Postgres {
            let policy = "SELECT quote_ident(current_user), row_security_active(to_regclass($1)::oid)";
            let row = connection.row(Statement::new(policy).bind(table.as_str())).await?;
            // Without a policy the rows are missing, for example in a restored copy; such a link counts as none.
            if row.get(1)? {
                return Err(StoreError::Hidden { hidden, table: table.clone(), role: row.get(0)? });
            }
        }
        Ok(linked)
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
fn parse_routes(parsed: &mut BTreeMap<String, Routes>, text: &str) -> Result<Routes, DbError> {
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
