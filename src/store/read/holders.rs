//! The learners that have a value now, for the one who reads about a conflict.

use std::borrow::Cow;

use crate::model::{Attribute, LearnerId, fold};
use crate::store::db::Statement;
use crate::store::error::StoreError;
use crate::store::handle::Store;

/// A learner with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLearner {
    /// The learner.
    pub learner: LearnerId,
    /// Its user name.
    pub user_name: Option<String>,
}

impl Store {
    /// The first learners, in order of id, whose unique `attribute` is `value` in any letter case.
    pub async fn learners_with(&self, attribute: Attribute, value: &str) -> Result<Vec<NamedLearner>, StoreError> {
        const FIRST: u32 = 10;
        let layout = &self.layout;
        let mut connection = self.connection().await;
        let column = connection.folded(&format!("r.{}", layout.attribute(attribute)));
        let (id, name, within) = (layout.id(), layout.attribute(Attribute::UserName), layout.within("r"));
        let statement = Statement::new(format!(
            "SELECT r.{id}, r.{name} FROM {} r WHERE {within} AND {column} = $1 ORDER BY r.{id} LIMIT {FIRST}",
            layout.table
        ));
        let rows = connection.rows(statement.bind(fold(value).into_owned())).await?;
        let named = rows.iter().map(|row| {
            let user_name = row.foreign_text(1)?.map(Cow::into_owned);
            Ok(NamedLearner { learner: layout.learner_at(row, 0)?, user_name })
        });
        named.collect()
    }
}
