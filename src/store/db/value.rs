//! Values of statements and rows, for both engines.
//!
//! SQLite stores times, booleans and JSON as text and numbers. PostgreSQL has a type for each, and accepts nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, Decode, Encode, Postgres, Type};
use uuid::Uuid;

use super::postgres::Encoding;
use super::sqlite;

/// A value for a placeholder.
#[derive(Clone, Debug)]
pub(crate) enum SqlValue<'v> {
    Text(Option<Cow<'v, str>>),
    /// A text for a column of this type, whose index PostgreSQL uses only for values of the same type.
    TextOf(Arc<str>, Option<Arc<str>>),
    /// A text of the log, which is stored with escapes where the encoding of the database lacks a character.
    Loggable(Option<Cow<'v, str>>),
    Number(Option<i64>),
    Boolean(Option<bool>),
    Time(Option<Timestamp>),
    Uuid(Option<Uuid>),
    /// A UUID in a column of texts.
    UuidText(Uuid),
    /// The text of a JSON document.
    Json(Cow<'v, str>),
}

impl SqlValue<'_> {
    pub(super) fn add_to_sqlite(self, arguments: &mut SqliteArguments) -> Result<(), sqlx::Error> {
        match self {
            // One allocation for each text, or none: sqlx puts every other type into a string and the string into an `Arc`.
            Self::Text(text) | Self::Loggable(text) => arguments.add(text.map(Arc::<str>::from)),
            Self::TextOf(_, text) => arguments.add(text),
            Self::Number(number) => arguments.add(number),
            Self::Boolean(value) => arguments.add(value),
            Self::Time(at) => arguments.add(at.map(sqlite::time_text)),
            Self::Uuid(uuid) => arguments.add(uuid.map(|uuid| uuid.as_hyphenated().to_string())),
            Self::UuidText(uuid) => arguments.add(Arc::<str>::from(&*hyphenated(uuid, &mut Uuid::encode_buffer()))),
            Self::Json(text) => arguments.add(Arc::<str>::from(text)),
        }
        .map_err(sqlx::Error::Encode)
    }

    pub(super) fn add_to_postgres(&self, arguments: &mut PgArguments) -> Result<(), sqlx::Error> {
        match self {
            Self::Text(text) | Self::Loggable(text) => arguments.add(text.as_deref()),
            Self::TextOf(_, text) => arguments.add(text.as_deref()),
            Self::Number(number) => arguments.add(number),
            Self::Boolean(value) => arguments.add(value),
            Self::Time(at) => arguments.add(at.map(Timestamptz)),
            Self::Uuid(uuid) => arguments.add(*uuid),
            Self::UuidText(uuid) => arguments.add(&*hyphenated(*uuid, &mut Uuid::encode_buffer())),
            Self::Json(text) => arguments.add(Jsonb(text)),
        }
        .map_err(sqlx::Error::Encode)
    }

    /// Passes the text, if it is one, to `each`.
    pub(super) fn with_text(&self, mut each: impl FnMut(&str)) {
        match self {
            Self::Text(Some(text)) | Self::Loggable(Some(text)) => each(text),
            Self::TextOf(_, Some(text)) => each(text),
            Self::Json(text) => each(text),
            _ => {}
        }
    }

    pub(super) fn is_loggable(&self) -> bool {
        matches!(self, Self::Loggable(_) | Self::Json(_))
    }

    /// Escapes what the encoding of the database cannot store.
    pub(super) fn escape(&mut self, encoding: &Encoding) {
        match self {
            Self::Text(Some(text)) | Self::Loggable(Some(text)) => {
                *text = encoding.escaped(std::mem::take(text), "\\");
            }
            // A backslash within a JSON string is doubled.
            Self::Json(text) => *text = encoding.escaped(std::mem::take(text), "\\\\"),
            _ => {}
        }
    }

    /// Replaces a text that the database cannot store by null.
    pub(super) fn drop_unfit(&mut self, encoding: &Encoding) {
        match self {
            Self::Text(text) if text.as_ref().is_some_and(|text| !encoding.fits(text)) => *text = None,
            Self::TextOf(_, text) if text.as_ref().is_some_and(|text| !encoding.fits(text)) => *text = None,
            _ => {}
        }
    }

    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) | Self::Loggable(text) => text.as_deref().map(Cow::Borrowed),
            Self::TextOf(_, text) => text.as_deref().map(Cow::Borrowed),
            Self::Number(number) => number.map(|number| number.to_string().into()),
            Self::Boolean(value) => value.map(|value| value.to_string().into()),
            Self::Time(at) => at.map(|at| at.to_string().into()),
            Self::Uuid(uuid) => uuid.map(|uuid| uuid.to_string().into()),
            Self::UuidText(uuid) => Some(hyphenated(*uuid, &mut Uuid::encode_buffer()).to_owned().into()),
            Self::Json(text) => Some(Cow::Borrowed(text)),
        }
    }
}

fn hyphenated(uuid: Uuid, buffer: &mut [u8]) -> &mut str {
    uuid.hyphenated().encode_lower(buffer)
}

/// A `timestamptz`, with a precision of one second.
pub(super) struct Timestamptz(pub(super) Timestamp);

/// PostgreSQL counts from 2000-01-01, Unix from 1970-01-01.
const UNIX_SECONDS_OF_2000: i64 = 946_684_800;

impl Type<Postgres> for Timestamptz {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for Timestamptz {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for Timestamptz {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend(&((self.0.as_second() - UNIX_SECONDS_OF_2000) * 1_000_000).to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Timestamptz {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let microseconds = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        Ok(Self(Timestamp::from_second(microseconds.div_euclid(1_000_000) + UNIX_SECONDS_OF_2000)?))
    }
}

/// A `jsonb`: a version before the text.
pub(super) struct Jsonb<'d>(pub(super) &'d str);

const JSONB_VERSION: u8 = 1;

impl Type<Postgres> for Jsonb<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(3802))
    }
}

impl PgHasArrayType for Jsonb<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(3807))
    }
}

impl Encode<'_, Postgres> for Jsonb<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.push(JSONB_VERSION);
        buffer.extend(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

impl<'d> Decode<'d, Postgres> for Jsonb<'d> {
    fn decode(value: PgValueRef<'d>) -> Result<Self, BoxDynError> {
        match value.as_bytes()? {
            [JSONB_VERSION, text @ ..] => Ok(Self(str::from_utf8(text)?)),
            _ => Err("unknown jsonb version".into()),
        }
    }
}

impl<'v> From<&'v Self> for SqlValue<'v> {
    fn from(value: &'v Self) -> Self {
        value.clone()
    }
}

impl<'v> From<&'v str> for SqlValue<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for SqlValue<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl From<String> for SqlValue<'_> {
    fn from(text: String) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<&'v String> for SqlValue<'v> {
    fn from(text: &'v String) -> Self {
        text.as_str().into()
    }
}

impl<'v> From<&'v Cow<'_, str>> for SqlValue<'v> {
    fn from(text: &'v Cow<'_, str>) -> Self {
        Self::Text(Some(Cow::Borrowed(text)))
    }
}

impl From<i64> for SqlValue<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<bool> for SqlValue<'_> {
    fn from(value: bool) -> Self {
        Self::Boolean(Some(value))
    }
}

impl From<Timestamp> for SqlValue<'_> {
    fn from(at: Timestamp) -> Self {
        Self::Time(Some(at))
    }
}

impl From<Option<Timestamp>> for SqlValue<'_> {
    fn from(at: Option<Timestamp>) -> Self {
        Self::Time(at)
    }
}
