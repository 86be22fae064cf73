//! Learner rows with their values: rows that may change, and rows that hold a value that another user needs.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Attribute, AttributeKind, EntraId, LearnerId, UniqueKey, Values};
use crate::plan::LearnerRow;
use crate::store::db::{Connection, Dialect, SqlRow, SqlValue, Statement};
use crate::store::error::StoreError;
use crate::store::handle::Store;
use crate::store::table::{Layout, id_texts, push_columns, read_columns, without_active};

impl Store {
    /// The rows linked by `source` to `users`, with `user_name`, `email` and `attributes`.
    pub async fn rows(
        &self,
        source: &str,
        users: &[EntraId],
        attributes: &[Attribute],
    ) -> Result<BTreeMap<EntraId, LearnerRow>, StoreError> {
        let (layout, attributes) = (&self.layout, with_unique(attributes));
        let mut found = BTreeMap::new();
        let mut connection = self.connection().await;
        let dialect = connection.dialect();
        for users in connection.list_chunks(&id_texts(users)) {
            let mut statement = select(dialect, layout, &attributes);
            statement.push(layout.links_with_rows()).push(" WHERE l.source = ");
            statement.push_bind(source).push(" AND l.entra_id IN");
            statement.push_list(users);
            for row in connection.rows(statement).await? {
                let is_unreadable: bool = row.get_unchecked(10)?;
                let row = read(&row, layout, &attributes)?;
                match row.link {
                    Some((_, user)) if is_unreadable => {
                        self.add_unreadable(layout.row_of_unreadable_state(user, &row.learner));
                    }
                    Some((_, user)) => drop(found.insert(user, row)),
                    None => {}
                }
            }
        }
        Ok(found)
    }

    /// The learner with the id that an administrator writes, and its row, linked or not.
    pub async fn learner(
        &self,
        learner: &str,
        attributes: &[Attribute],
    ) -> Result<(LearnerId, Option<LearnerRow>), StoreError> {
        let (layout, attributes) = (&self.layout, with_unique(attributes));
        // No learner has an id of another kind.
        let Some(learner) = layout.parse_learner(learner) else { return Ok((LearnerId::Text(learner.into()), None)) };
        let mut connection = self.connection().await;
        let dialect = connection.dialect();
        let mut statement = select(dialect, layout, &attributes);
        statement.push(layout.rows_with_links()).push(" WHERE r.").push(layout.id()).push(" = ");
        statement.push_bind(layout.learner_value(Some(&learner))).push(" AND ").push(layout.within("r"));
        let row = connection.optional_row(statement).await?;
        let row = row.map(|row| read(&row, layout, &attributes)).transpose()?;
        Ok((learner, row))
    }

    /// Every row, linked or not, that has one of `keys`, one of `match_values` in `match_attribute`, or one of
    /// `external_ids`; each once, in order of id.
    pub async fn holders(
        &self,
        keys: &[UniqueKey<'_>],
        match_attribute: Attribute,
        match_values: &[&str],
        external_ids: &[EntraId],
        attributes: &[Attribute],
    ) -> Result<Vec<LearnerRow>, StoreError> {
        let (layout, attributes) = (&self.layout, with_unique(attributes));
        if keys.is_empty() && match_values.is_empty() && external_ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut connection = self.connection().await;
        let dialect = connection.dialect();
        // The first run looks up every user in a table that is often empty.
        let any = format!("SELECT EXISTS (SELECT 1 FROM {} r WHERE {})", layout.table, layout.within("r"));
        let any: bool = connection.row(Statement::new(any)).await?.get(0)?;
        if !any {
            return Ok(Vec::new());
        }
        let mut lookups: BTreeMap<Attribute, Vec<Cow<'_, str>>> = BTreeMap::new();
        for UniqueKey { attribute, folded } in keys {
            lookups.entry(*attribute).or_default().push(Cow::Borrowed(folded));
        }
        let match_values = match_values.iter().map(|value| match_attribute.matched(value));
        lookups.entry(match_attribute).or_default().extend(match_values);
        for values in lookups.values_mut() {
            values.sort_unstable();
            values.dedup();
        }
        // Ids first: most values have no row, and a row that is found several times is read once.
        let mut ids = BTreeSet::new();
        for (attribute, values) in lookups.iter().filter(|(_, values)| !values.is_empty()) {
            let attribute = *attribute;
            if attribute.kind() == AttributeKind::Text {
                ids.extend(padded_ids(&mut connection, layout, attribute, values).await?);
            }
            let column = layout.attribute(attribute);
            let column =
                if Attribute::UNIQUE.contains(&attribute) { connection.folded(column) } else { column.to_owned() };
            ids.extend(ids_where(&mut connection, layout, &column, values).await?);
        }
        if let Some(column) = layout.external_id("") {
            let external_id = connection.folded(&column);
            ids.extend(ids_where(&mut connection, layout, &external_id, &id_texts(external_ids)).await?);
        }

        let ids: Vec<SqlValue<'_>> = ids.iter().map(|id| layout.learner_value(Some(id))).collect();
        let mut found = Vec::with_capacity(ids.len());
        for ids in connection.list_chunks(&ids) {
            let mut statement = select(dialect, layout, &attributes);
            statement.push(layout.rows_with_links()).push(" WHERE r.").push(layout.id()).push(" IN");
            statement.push_list(ids);
            statement.push("ORDER BY r.").push(layout.id());
            for row in connection.rows(statement).await? {
                found.push(read(&row, layout, &attributes)?);
            }
        }
        Ok(found)
    }
}

/// The learners whose `column` has one of `values`.
async fn ids_where<T>(
    connection: &mut Connection,
    layout: &Layout,
    column: &str,
    values: &[T],
) -> Result<Vec<LearnerId>, StoreError>
where
    for<'v> &'v T: Into<SqlValue<'v>>,
{
    let mut ids = Vec::new();
    for values in connection.list_chunks(values) {
        let (id, table, within) = (layout.id(), &layout.table, layout.within("r"));
        let mut statement = Statement::new(format!("SELECT {id} FROM {table} r WHERE {within} AND {column} IN"));
        statement.push_list(values);
        for row in connection.rows(statement).await? {
            // A row without a readable id belongs to no learner. The database still refuses what it holds.
            ids.extend(layout.learner_at(&row, 0).ok());
        }
    }
    Ok(ids)
}

/// The learners whose value of `attribute` is one of the `sorted` ones with blanks at its ends.
async fn padded_ids(
    connection: &mut Connection,
    layout: &Layout,
    attribute: Attribute,
    sorted: &[Cow<'_, str>],
) -> Result<Vec<LearnerId>, StoreError> {
    let (id, column) = (layout.id(), layout.attribute(attribute));
    let padded = connection.may_be_padded(column);
    let (table, within) = (&layout.table, layout.within("r"));
    let statement = Statement::new(format!("SELECT {id}, {column} FROM {table} r WHERE {within} AND {padded}"));
    let mut ids = Vec::new();
    let each = |row: SqlRow| {
        // Bytes, because another program may have written invalid UTF-8.
        let text = row.get_unchecked::<Option<&[u8]>, _>(1)?.map(String::from_utf8_lossy).unwrap_or_default();
        if sorted.binary_search(&attribute.matched(&text)).is_ok() {
            ids.extend(layout.learner_at(&row, 0).ok());
        }
        Ok::<_, StoreError>(())
    };
    connection.run(statement, each).await?;
    Ok(ids)
}

fn with_unique(attributes: &[Attribute]) -> BTreeSet<Attribute> {
    let mut attributes = without_active(attributes);
    attributes.extend(Attribute::UNIQUE);
    attributes
}

fn select<'v>(dialect: Dialect, layout: &Layout, attributes: &BTreeSet<Attribute>) -> Statement<'v> {
    let external_id = layout.external_id("r.").unwrap_or_else(|| "NULL".to_owned());
    let (id, active, deactivated) = (layout.id(), layout.active("r"), layout.deactivated("r", "l"));
    let other_state = layout.other_state("r");
    let mut statement = Statement::new(format!(
        "SELECT r.{id}, {external_id}, l.source, l.entra_id, {active}, {deactivated}, {other_state}, l.spelling, {},
             l.learner_id IS NOT NULL, {}",
        layout.outside("r"),
        layout.unreadable_state("r", dialect),
    ));
    push_columns(&mut statement, layout, attributes);
    statement
}

fn read(row: &SqlRow, layout: &Layout, attributes: &BTreeSet<Attribute>) -> Result<LearnerRow, StoreError> {
    let link = match (row.text(2, "sync_links.source"), row.canonical(3, "sync_links.entra_id")) {
        (Ok(source), Ok(user)) => Some((source.to_owned(), user)),
        (_, _) => None,
    };
    let mut values = Values::default();
    let is_linked: bool = row.get_unchecked(9)?;
    let unreadable_link = is_linked && link.is_none();
    let outside: bool = row.get_unchecked(8)?;
    if outside {
        return Ok(LearnerRow {
            learner: layout.learner_at(row, 0)?,
            external_id: None,
            link,
            unreadable_link,
            outside,
            active: false,
            deactivated: false,
            other_state: false,
            spelling: None,
            values,
        });
    }
    read_columns(row, 11, attributes, &mut values)?;
    let spelling = row.foreign_text(7)?;
    Ok(LearnerRow {
        learner: layout.learner_at(row, 0)?,
        external_id: row.foreign_text(1)?.map(Cow::into_owned),
        unreadable_link,
        link,
        outside,
        active: row.get_unchecked(4)?,
        deactivated: row.get_unchecked(5)?,
        other_state: row.get_unchecked(6)? || row.get_unchecked(10)?,
        // An unknown text only means one more update.
        spelling: spelling.and_then(|spelling| spelling.parse().ok()),
        values,
    })
}
