//! The linked learners as fingerprints: what the cache contains, read from the database.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Attribute, EntraId, Fingerprint, LinkedLearner, LinkedLearners, Route, Routes, Values};
use crate::store::db::{DbError, Dialect, SqlRow, Statement, parse_column, parse_json_column};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::table::{push_columns, read_columns, without_active};

impl Store {
    /// The learners linked by `source`, of all users or of one, with the fingerprint of exactly `attributes`. Reads each
    /// row once, and keeps no values.
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
        let mut statement = Statement::new("SELECT l.entra_id, l.learner_id, l.via, ");
        statement.push(layout.active("r")).push(", ").push(layout.deactivated("r", "l")).push(", ");
        statement.push(layout.outside("r"));
        push_columns(&mut statement, layout, &attributes);
        statement.push(layout.links_with_rows()).push(" WHERE l.source = ");
        statement.push_bind(source);
        if let Some(user) = user {
            statement.push(" AND l.entra_id = ").push_bind(user.to_string());
        }

        let mut known = LinkedLearners::new();
        let mut routes_by_text = BTreeMap::new();
        let mut values = Values::new();
        let each = |row: SqlRow| {
            read_columns(&row, 6, &attributes, &mut values)?;
            let (active, deactivated): (bool, bool) = (row.get_unchecked(3)?, row.get_unchecked(4)?);
            let outside: bool = row.get_unchecked(5)?;
            // Another program reactivated the learner; an unknown fingerprint makes the plan look at it.
            let reactivated_by_hand = active && deactivated;
            let entry = LinkedLearner {
                learner: layout.learner_at(&row, 1)?,
                active: active && !outside,
                outside,
                fingerprint: if reactivated_by_hand || outside {
                    Fingerprint::UNKNOWN
                } else {
                    Fingerprint::compute(&values)
                },
                routes: parse_routes(&mut routes_by_text, row.json(2)?)?,
            };
            known.insert(parse_column(row.get_unchecked(0)?, "sync_links.entra_id")?, entry);
            Ok::<_, StoreError>(())
        };
        self.connection().await.run(statement, each).await?;
        Ok(known)
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
