//! Everybody who is linked, as hashes: what the cache would have said, read from the database.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::sql::Statement;
use super::{Store, StoreError, columns, from_json, sqlite};
use crate::model::{Attribute, EntraId, Fingerprint, Known, KnownLearners, LearnerId, Route, Values, Via};

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
        let mut statement = Statement::new("SELECT l.entra_id, l.learner_id, l.via, r.active");
        columns::push_columns(&mut statement, &attributes);
        statement.push(" FROM sync_links l JOIN learners r ON r.id = l.learner_id WHERE l.source = ");
        statement.push_bind(source);
        if let Some(person) = person {
            statement.push(" AND l.entra_id = ").push_bind(person.to_string());
        }

        let mut known = KnownLearners::new();
        let mut vias = Vias::default();
        let mut values = Values::new();
        let mut connection = self.connection().await;
        let mut rows = statement.build().fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            columns::read(&row, 4, &attributes, &mut values)?;
            let entry = Known {
                learner: LearnerId(row.try_get_unchecked(1)?),
                active: row.try_get_unchecked(3)?,
                fingerprint: Fingerprint::of(&values),
                via: vias.parse(row.try_get_unchecked(2)?)?,
            };
            known.insert(sqlite::word(row.try_get_unchecked(0)?, "sync_links.entra_id")?, entry);
        }
        Ok(known)
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
        let mut statement = Statement::new("SELECT ");
        let mut counts = statement.separated(", ");
        for attribute in &attributes {
            counts.push(format_args!("count(r.{})", attribute.column()));
        }
        statement.push(" FROM sync_links l JOIN learners r ON r.id = l.learner_id WHERE r.active AND l.source = ");
        statement.push_bind(source);
        let row = statement.build().fetch_one(&mut *self.connection().await).await?;
        let mut present = BTreeMap::new();
        for (index, attribute) in attributes.into_iter().enumerate() {
            present.insert(attribute, row.try_get::<i64, _>(index)?.unsigned_abs());
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
        let routes: Result<Vec<Route>, _> = routes.iter().map(|route| sqlite::word(route, column)).collect();
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
