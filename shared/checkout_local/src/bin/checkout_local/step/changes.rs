//! What a step changed: the rows of two copies of a file that differ, field by field, and the e-mails.

use crate::failure::Failure;
use checkout_local::CARD_TOKENS;
use rusqlite::{Connection, OpenFlags, types::ValueRef};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, fs, io, path::Path};

/// The tables that say which programs have opened the file.
const NOT_COMPARED: [&str; 2] = ["parts", "processes"];

/// The columns whose values are secrets.
const SECRET: [(&str, &str); 1] = [(CARD_TOKENS, "token")];

/// A row that is not as it was.
#[derive(Debug, Serialize)]
pub(super) struct Change {
    file: String,
    table: String,
    /// The values of its key.
    key: String,
    what: What,
    /// The fields that are not as they were. A value in JSON is taken apart, and so has several.
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Added,
    Changed,
    Deleted,
}

#[derive(Debug, Serialize)]
struct Field {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Value>,
}

/// An e-mail.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Email {
    pub(super) file: String,
    pub(super) text: String,
}

/// The fields of a row, by name.
type Row = BTreeMap<String, Value>;

/// The changes of these files between two folders.
///
/// # Errors
/// A file cannot be read.
pub(super) fn between(before: &Path, after: &Path, files: &[&str]) -> Result<Vec<Change>, Failure> {
    let mut changes = Vec::new();
    for file in files {
        let failed = |error| Failure::Folder { path: after.join(file), source: io::Error::other(error) };
        changes.extend(of_file(file, &before.join(file), &after.join(file)).map_err(failed)?);
    }
    Ok(changes)
}

fn of_file(file: &str, before: &Path, after: &Path) -> rusqlite::Result<Vec<Change>> {
    let connection = Connection::open_with_flags(before, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.execute("ATTACH ? AS after", [after.to_string_lossy()])?;
    let tables = "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let tables: Vec<String> = names(&connection, tables, "")?;
    let mut changes = Vec::new();
    for table in tables.iter().filter(|table| !NOT_COMPARED.contains(&table.as_str())) {
        let mut rows: BTreeMap<String, (Row, Row)> = BTreeMap::new();
        let columns = columns(&connection, table)?;
        for (key, row) in only_in(&connection, table, &columns, "main", "after")? {
            rows.entry(key).or_default().0 = row;
        }
        for (key, row) in only_in(&connection, table, &columns, "after", "main")? {
            rows.entry(key).or_default().1 = row;
        }
        changes.extend(rows.into_iter().map(|(key, (before, after))| Change::of(file, table, key, before, after)));
    }
    Ok(changes)
}

fn names(connection: &Connection, sql: &str, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare(sql)?;
    let parameters: &[&dyn rusqlite::ToSql] = if table.is_empty() { &[] } else { &[&table] };
    select.query_map(parameters, |row| row.get(0))?.collect()
}

/// The columns of a table: those of its key, and all.
struct Columns {
    key: Vec<String>,
    all: Vec<String>,
}

fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Columns> {
    const KEY: &str = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk";
    const UNIQUE: &str =
        "SELECT columns.name FROM pragma_index_list(?) AS indexes, pragma_index_info(indexes.name) AS columns
        WHERE indexes.\"unique\" ORDER BY indexes.seq, columns.seqno";
    let mut key = names(connection, KEY, table)?;
    if key.is_empty() {
        key = names(connection, UNIQUE, table)?;
    }
    Ok(Columns { key, all: names(connection, "SELECT name FROM pragma_table_info(?)", table)? })
}

/// The rows of a table that are in one file only, by their keys.
fn only_in(
    connection: &Connection,
    table: &str,
    columns: &Columns,
    this: &str,
    that: &str,
) -> rusqlite::Result<Vec<(String, Row)>> {
    let all = columns.all.join(", ");
    let sql = format!("SELECT {all} FROM {this}.{table} EXCEPT SELECT {all} FROM {that}.{table}");
    let mut select = connection.prepare(&sql)?;
    let mut rows = select.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (mut key, mut fields) = (Vec::new(), Row::new());
        for (place, column) in columns.all.iter().enumerate() {
            let value = value(row.get_ref(place)?);
            if columns.key.contains(column) {
                key.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
                continue;
            }
            let is_secret = SECRET.contains(&(table, column));
            take_apart(column, if is_secret { "(a secret)".into() } else { value }, &mut fields);
        }
        found.push((key.join(" "), fields));
    }
    Ok(found)
}

fn value(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into_owned().into(),
    }
}

/// Adds a value to the fields, and for a JSON object each of its fields.
fn take_apart(name: &str, value: Value, fields: &mut Row) {
    let object = value.as_str().filter(|text| text.starts_with('{')).and_then(|text| serde_json::from_str(text).ok());
    match object.unwrap_or(value) {
        Value::Object(inner) => {
            for (inner_name, value) in inner {
                take_apart(&format!("{name}.{inner_name}"), value, fields);
            }
        }
        Value::Null => {}
        value => drop(fields.insert(name.to_owned(), value)),
    }
}

impl Change {
    fn of(file: &str, table: &str, key: String, mut before: Row, mut after: Row) -> Self {
        let what = match (before.is_empty(), after.is_empty()) {
            (true, _) => What::Added,
            (_, true) => What::Deleted,
            _ => What::Changed,
        };
        let names: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
        let mut fields: Vec<Field> = names
            .into_iter()
            .filter_map(|name| {
                let (before, after) = (before.remove(&name), after.remove(&name));
                (before != after).then_some(Field { name, before, after })
            })
            .collect();
        fields.sort_by(|one, other| one.name.cmp(&other.name));
        Self { file: file.to_owned(), table: table.to_owned(), key, what, fields }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Added => "  (added)",
            What::Changed => "",
            What::Deleted => "  (deleted)",
        };
        write!(f, "  {} {} {}{what}", self.file, self.table, self.key)?;
        let width = self.fields.iter().map(|field| field.name.len()).max().unwrap_or_default();
        let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "-".to_owned(), Value::to_string);
        for Field { name, before, after } in &self.fields {
            match self.what {
                What::Added => write!(f, "\n      {name:width$}  {}", text(after))?,
                What::Changed => write!(f, "\n      {name:width$}  {} -> {}", text(before), text(after))?,
                What::Deleted => write!(f, "\n      {name:width$}  {}", text(before))?,
            }
        }
        Ok(())
    }
}

/// The e-mails in this folder, oldest first.
///
/// # Errors
/// The folder or a file cannot be read.
pub(super) fn emails(folder: &Path) -> Result<Vec<Email>, Failure> {
    let read = || -> io::Result<Vec<Email>> {
        let mut emails = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
            emails.push(Email { file: entry.file_name().to_string_lossy().into_owned(), text });
        }
        emails.sort_by(|one, other| one.file.cmp(&other.file));
        Ok(emails)
    };
    read().map_err(|source| Failure::Folder { path: folder.to_owned(), source })
}
