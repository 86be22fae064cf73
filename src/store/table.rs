//! The learners table: the layout of the standard table, and the comparison of an external table with the configuration.
//!
//! `compare` is pure; `postgres` and `sqlite` read what the database reports.

mod columns;
mod compare;
mod external;
mod faithful;
mod layout;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

pub(crate) use self::columns::{id_texts, push_columns, read_columns, without_active};
pub(crate) use self::external::{
    display_name, links_another_table, links_without_foreign_key, missing_file, read_external_layout, sql_name,
};
pub(crate) use self::faithful::{is_faithful, next_number};
pub(crate) use self::layout::{Key, Layout};
pub(crate) use self::postgres::missing_column_rights;
