//! What goes into a statement and comes out of a row, for both databases.
//!
//! SQLite has neither times, booleans nor JSON: they stand there as text and numbers. PostgreSQL has them, and takes
//! nothing else for them.

use std::borrow::Cow;

use jiff::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, Decode, Encode, Postgres, Type};
use uuid::Uuid;

use super::sqlite;

/// A value for a placeholder.
#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Text(Option<Cow<'v, str>>),
    Number(Option<i64>),
    Boolean(Option<bool>),
    Time(Option<Timestamp>),
    Uuid(Option<Uuid>),
    /// A document in JSON.
    Json(String),
}

impl Value<'_> {
    /// Adds it as SQLite takes it.
    pub(super) fn add_to_sqlite(self, arguments: &mut SqliteArguments) -> Result<(), sqlx::Error> {
        match self {
            Self::Text(text) => arguments.add(text.map(Cow::into_owned)),
            Self::Number(number) => arguments.add(number),
            Self::Boolean(value) => arguments.add(value),
            Self::Time(at) => arguments.add(at.map(sqlite::time_text)),
            Self::Uuid(uuid) => arguments.add(uuid.map(|uuid| uuid.as_hyphenated().to_string())),
            Self::Json(text) => arguments.add(text),
        }
        .map_err(sqlx::Error::Encode)
    }

    /// Adds it as PostgreSQL takes it.
    pub(super) fn add_to_postgres(&self, arguments: &mut PgArguments) -> Result<(), sqlx::Error> {
        match self {
            Self::Text(text) => arguments.add(text.as_deref()),
            Self::Number(number) => arguments.add(number),
            Self::Boolean(value) => arguments.add(value),
            Self::Time(at) => arguments.add(at.map(Moment)),
            Self::Uuid(uuid) => arguments.add(*uuid),
            Self::Json(text) => arguments.add(Document(text)),
        }
        .map_err(sqlx::Error::Encode)
    }

    /// In words.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => text.as_deref().map(Cow::Borrowed),
            Self::Number(number) => number.map(|number| number.to_string().into()),
            Self::Boolean(value) => value.map(|value| value.to_string().into()),
            Self::Time(at) => at.map(|at| at.to_string().into()),
            Self::Uuid(uuid) => uuid.map(|uuid| uuid.to_string().into()),
            Self::Json(text) => Some(text.into()),
        }
    }
}

/// A `timestamptz`, to the second as everywhere.
pub(super) struct Moment(pub(super) Timestamp);

/// From the beginning of 1970 to that of 2000, from which PostgreSQL counts.
const SECONDS_TO_2000: i64 = 946_684_800;

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Moment {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(&((self.0.as_second() - SECONDS_TO_2000) * 1_000_000).to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Moment {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let microseconds = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(Timestamp::from_second(microseconds.div_euclid(1_000_000) + SECONDS_TO_2000)?))
    }
}

/// A `jsonb`: a version before the text.
pub(super) struct Document<'d>(pub(super) &'d str);

const VERSION_OF_JSONB: u8 = 1;

impl Type<Postgres> for Document<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(3802))
    }
}

impl PgHasArrayType for Document<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(3807))
    }
}

impl Encode<'_, Postgres> for Document<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.push(VERSION_OF_JSONB);
        buffer.extend(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl<'d> Decode<'d, Postgres> for Document<'d> {
    fn decode(value: PgValueRef<'d>) -> Result<Self, BoxDynError> {
        match value.as_bytes()? {
            [VERSION_OF_JSONB, text @ ..] => Ok(Self(str::from_utf8(text)?)),
            _ => Err("a jsonb of an unknown version".into()),
        }
    }
}

impl<'v> From<&'v Self> for Value<'v> {
    fn from(value: &'v Self) -> Self {
        value.clone()
    }
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        text.as_str().into()
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<&i64> for Value<'_> {
    fn from(number: &i64) -> Self {
        Self::Number(Some(*number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(Some(value))
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Time(Some(at))
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(at: Option<Timestamp>) -> Self {
        Self::Time(at)
    }
}
