//! The lowest floor: connections, statements, values, transactions and errors of SQLite and PostgreSQL. It knows no
//! table.

mod access;
mod connection;
mod error;
pub(crate) mod postgres;
mod row;
pub(crate) mod sqlite;
mod statement;
mod transaction;
mod value;

pub use self::access::Access;
pub(crate) use self::connection::{Connection, Dialect};
pub use self::error::{DbError, EngineReport, RowRefusal, ViolatedKey};
pub use self::postgres::{HostFault, PassedHost, PostgresServer, ReadOnlyCause};
pub(crate) use self::row::{SqlRow, parse_column, parse_json_column};
pub(crate) use self::statement::{Statement, TupleBuilder, quote_identifier, quote_literal};
pub(crate) use self::transaction::{LOCK_TIMEOUT, TransactionEnd, begin, in_transaction, roll_back, set_lock_timeout};
pub(crate) use self::value::SqlValue;
