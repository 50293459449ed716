//! Values of a row, with the column's name in every error.

use std::path::Path;

use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};

use crate::error::DbError;

/// A value as the text of a column.
pub(crate) fn json(
    path: &Path,
    table: &'static str,
    column: &'static str,
    value: &impl Serialize,
) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|error| DbError::Value {
        path: path.to_owned(),
        table,
        column,
        source: error.into(),
    })
}

/// Reads one row, and names table and column when a value is not of its type.
pub(crate) struct Reader<'a> {
    pub(crate) path: &'a Path,
    pub(crate) table: &'static str,
    pub(crate) row: &'a SqliteRow,
}

impl<'a> Reader<'a> {
    pub(crate) fn get<T>(&self, column: &'static str) -> Result<T, DbError>
    where
        T: sqlx::Decode<'a, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.row
            .try_get(column)
            .map_err(|error| self.fault(column, error))
    }

    pub(crate) fn parse<T>(&self, column: &'static str, text: &str) -> Result<T, DbError>
    where
        T: std::str::FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        text.parse().map_err(|error| self.fault(column, error))
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, column: &'static str) -> Result<T, DbError> {
        let text: String = self.get(column)?;
        serde_json::from_str(&text).map_err(|error| self.fault(column, error))
    }

    pub(crate) fn fault(
        &self,
        column: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> DbError {
        DbError::Value {
            path: self.path.to_owned(),
            table: self.table,
            column,
            source: source.into(),
        }
    }
}
