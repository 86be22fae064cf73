//! Everybody who is linked, as hashes: what the cache would have said, read from the database.

use std::collections::{BTreeMap, BTreeSet};

use super::connection::Record;
use super::sql::Statement;
use super::{Store, StoreError, columns, from_json, word};
use crate::model::{Attribute, EntraId, Fingerprint, Known, KnownLearners, Route, Values, Via};

impl Store {
    /// The learners linked by `source`, with the fingerprint of exactly `attributes`. One pass; nobody's values are
    /// kept.
    pub async fn known(&self, source: &str, attributes: &[Attribute]) -> Result<KnownLearners, StoreError> {
        self.known_of(source, None, attributes).await
    }

    /// The same of one person.
    pub async fn known_person(
        &self,
        source: &str,
        person: EntraId,
        attributes: &[Attribute],
    ) -> Result<KnownLearners, StoreError> {
        self.known_of(source, Some(person), attributes).await
    }

    async fn known_of(
        &self,
        source: &str,
        person: Option<EntraId>,
        attributes: &[Attribute],
    ) -> Result<KnownLearners, StoreError> {
        let attributes = columns::mapped(attributes);
        let layout = &self.layout;
        let mut statement = Statement::new("SELECT l.entra_id, l.learner_id, l.via, ");
        statement.push(layout.active("r"));
        columns::push_columns(&mut statement, layout, &attributes);
        statement.push(layout.links_with_rows()).push(" WHERE l.source = ");
        statement.push_bind(source);
        if let Some(person) = person {
            statement.push(" AND l.entra_id = ").push_bind(person.to_string());
        }

        let mut known = KnownLearners::new();
        let mut vias = Vias::default();
        let mut values = Values::new();
        let each = |row: Record| {
            columns::read(&row, 4, &attributes, &mut values)?;
            let entry = Known {
                learner: layout.learner_at(&row, 1)?,
                active: row.get_unchecked(3)?,
                fingerprint: Fingerprint::of(&values),
                via: vias.parse(row.json(2)?)?,
            };
            known.insert(word(row.get_unchecked(0)?, "sync_links.entra_id")?, entry);
            Ok::<_, StoreError>(())
        };
        self.connection().await.run(statement, each).await?;
        Ok(known)
    }

    /// How many learners are linked by `source`.
    pub async fn linked(&self, source: &str) -> Result<u64, StoreError> {
        let mut statement = Statement::new("SELECT count(*)");
        statement.push(self.layout.links_with_rows()).push(" WHERE l.source = ").push_bind(source);
        Ok(self.connection().await.row(statement).await?.get::<i64, _>(0)?.unsigned_abs())
    }

    /// How many active linked learners have a value, by attribute.
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
        statement.push(" WHERE ").push(layout.active("r")).push(" AND l.source = ");
        statement.push_bind(source);
        let row = self.connection().await.row(statement).await?;
        let mut present = BTreeMap::new();
        for (index, attribute) in attributes.into_iter().enumerate() {
            present.insert(attribute, row.get::<i64, _>(index)?.unsigned_abs());
        }
        Ok(present)
    }
}

/// The few different values of `via`, each kept once and shared.
#[derive(Default)]
struct Vias(BTreeMap<String, Via>);

impl Vias {
    fn parse(&mut self, text: &str) -> Result<Via, StoreError> {
        if let Some(via) = self.0.get(text) {
            return Ok(via.clone());
        }
        let column = "sync_links.via";
        let routes: Vec<String> = from_json(text, column)?;
        let routes: Result<Vec<Route>, _> = routes.iter().map(|route| word(route, column)).collect();
        let via: Via = routes?.into_iter().collect();
        self.0.insert(text.to_owned(), via.clone());
        Ok(via)
    }
}

/// `via` as it stands in its column: a JSON array, sorted as text.
pub(super) fn via_text(via: &Via) -> String {
    let routes: BTreeSet<String> = via.routes().iter().map(ToString::to_string).collect();
    serde_json::json!(routes).to_string()
}

/// The persons' ids as the statements take them.
pub(super) fn texts<'i>(people: impl IntoIterator<Item = &'i EntraId>) -> Vec<String> {
    people.into_iter().map(ToString::to_string).collect()
}
