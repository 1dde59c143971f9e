//! What the file promises.

use super::*;
use std::os::unix::fs::PermissionsExt;
use stepwell_local::{BackUpError, OpenError, back_up};

const TABLE: &str = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY) STRICT";
const NUMBERS: Schema = Schema { part: "numbers", version: 3, sql: TABLE };

/// A text that no other row has.
pub(crate) const SECRET: &str = "a secret of which nothing may be left";

pub(crate) fn has_secret(path: &std::path::Path) -> bool {
    std::fs::read(path).unwrap().windows(SECRET.len()).any(|text| text == SECRET.as_bytes())
}

async fn add(file: &File, number: i64) -> Result<(), stepwell_local::FileError> {
    file.write(move |tx| {
        tx.execute("INSERT INTO numbers VALUES (?)", [number])?;
        Ok(())
    })
    .await
}

fn numbers(file: &File) -> Vec<i64> {
    file.read(|tx| {
        let mut select = tx.prepare("SELECT number FROM numbers ORDER BY number")?;
        let numbers = select.query_map([], |row| row.get(0))?;
        Ok(numbers.collect::<Result<_, _>>()?)
    })
    .unwrap()
}

#[tokio::test]
async fn transaction_that_fails_takes_nothing_of_the_others_with_it() {
    let folder = Folder::new();
    let file = File::open(&folder.file(), &[NUMBERS]).unwrap();
    let all = (0..100).map(|number| {
        let file = file.clone();
        // Each odd number is a duplicate after a first write, which must go with it.
        tokio::spawn(async move {
            file.write(move |tx| {
                tx.execute("INSERT INTO numbers VALUES (?)", [number])?;
                if number % 2 == 1 {
                    tx.execute("INSERT INTO numbers VALUES (?)", [number])?;
                }
                Ok(())
            })
            .await
            .is_ok()
        })
    });
    let done = futures::future::join_all(all).await;
    let done = done.into_iter().filter(|done| *done.as_ref().unwrap()).count();
    assert_eq!((done, numbers(&file)), (50, (0..100).step_by(2).collect()));
}

#[tokio::test]
async fn second_process_is_refused_until_the_first_has_ended() {
    let folder = Folder::new();
    let first = File::open(&folder.file(), &[NUMBERS]).unwrap();
    add(&first, 7).await.unwrap();
    let refused = File::open(&folder.file(), &[NUMBERS]).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    drop(first);
    assert_eq!(numbers(&File::open(&folder.file(), &[NUMBERS]).unwrap()), [7]);
}

#[test]
fn file_of_another_program_is_refused_and_left_as_it_is() {
    let folder = Folder::new();
    let other = rusqlite::Connection::open(folder.file()).unwrap();
    other.execute_batch("CREATE TABLE theirs (it TEXT)").unwrap();
    drop(other);
    let before = std::fs::read(folder.file()).unwrap();
    let refused = File::open(&folder.file(), &[NUMBERS]).unwrap_err();
    assert!(matches!(refused, OpenError::NotOurs { .. }), "{refused}");
    assert_eq!(std::fs::read(folder.file()).unwrap(), before);
    std::fs::write(folder.file(), "not a database, but a text that is longer than the header of one ".repeat(20))
        .unwrap();
    let refused = File::open(&folder.file(), &[NUMBERS]).unwrap_err();
    assert!(matches!(refused, OpenError::NotOurs { .. }), "{refused}");
}

#[test]
fn file_of_a_newer_version_is_refused() {
    let folder = Folder::new();
    drop(File::open(&folder.file(), &[NUMBERS]).unwrap());
    let refused = File::open(&folder.file(), &[Schema { version: 2, ..NUMBERS }]).unwrap_err();
    assert!(matches!(refused, OpenError::Newer { part: "numbers", found: 3, known: 2, .. }), "{refused}");
    File::open(&folder.file(), &[Schema { version: 4, ..NUMBERS }]).unwrap();
}

#[tokio::test]
async fn copy_of_an_open_file_has_all_that_was_committed_but_the_tables_left_out() {
    const SECRETS: Schema = Schema {
        part: "secrets",
        version: 1,
        sql: "CREATE TABLE IF NOT EXISTS secrets (secret TEXT PRIMARY KEY) STRICT, WITHOUT ROWID",
    };
    let folder = Folder::new();
    let file = File::open(&folder.file(), &[NUMBERS, SECRETS]).unwrap();
    add(&file, 1).await.unwrap();
    file.write(|tx| Ok(tx.execute("INSERT INTO secrets VALUES (?)", [SECRET])?)).await.unwrap();
    let copy = folder.0.path().join("copy.sqlite");
    let size = back_up(file.path(), &copy, &["secrets"], || false).unwrap();
    let metadata = std::fs::metadata(&copy).unwrap();
    assert_eq!((metadata.len(), metadata.permissions().mode() & 0o777), (size, 0o600));
    assert!(!has_secret(&copy));
    let again = back_up(file.path(), &copy, &[], || false).unwrap_err();
    assert!(matches!(again, BackUpError::Exists { .. }), "{again}");
    add(&file, 2).await.unwrap();
    let copy = File::open(&copy, &[NUMBERS, SECRETS]).unwrap();
    assert_eq!(numbers(&copy), [1]);
    let vacuum = copy.read(|tx| Ok(tx.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0))?)).unwrap();
    assert_eq!(vacuum, 2, "incremental: a restored file becomes smaller as any other");
}

#[tokio::test]
async fn copy_in_the_place_of_another_file_is_not_mixed_with_the_log_of_that_file() {
    let folder = Folder::new();
    let (path, copy) = (folder.file(), folder.0.path().join("copy.sqlite"));
    let log = folder.0.path().join("test.sqlite-wal");
    let file = File::open(&path, &[NUMBERS]).unwrap();
    back_up(&path, &copy, &[], || false).unwrap();
    add(&file, 1).await.unwrap();
    let left = std::fs::read(&log).unwrap();
    drop(file);
    let refused = |what: &str| {
        let refused = File::open(&path, &[NUMBERS]).unwrap_err();
        assert!(matches!(refused, OpenError::ForeignLog { .. }), "{what}: {refused}");
        assert_eq!(std::fs::read(&log).unwrap(), left, "{what}");
    };
    std::fs::copy(&copy, &path).unwrap();
    std::fs::write(&log, &left).unwrap();
    refused("a copy");
    std::fs::remove_file(&path).unwrap();
    refused("no file");
    std::fs::rename(&copy, &path).unwrap();
    std::fs::remove_file(&log).unwrap();
    assert_eq!(numbers(&File::open(&path, &[NUMBERS]).unwrap()), [0; 0]);
}

#[tokio::test]
async fn log_is_emptied_of_what_was_deleted_unless_somebody_reads_an_older_state() {
    let folder = Folder::new();
    let log = folder.0.path().join("test.sqlite-wal");
    let schema = Schema { sql: "CREATE TABLE IF NOT EXISTS secrets (secret TEXT) STRICT", ..NUMBERS };
    let file = File::open(&folder.file(), &[schema]).unwrap();
    file.write(|tx| Ok(tx.execute("INSERT INTO secrets VALUES (?)", [SECRET])?)).await.unwrap();
    assert!(file.empty_log().await.unwrap());
    assert!(has_secret(&folder.file()), "it is not deleted yet");
    let reader = rusqlite::Connection::open(folder.file()).unwrap();
    let select = "BEGIN; SELECT COUNT(*) FROM secrets";
    file.write(|tx| Ok(tx.execute("UPDATE secrets SET secret = secret || '!'", [])?)).await.unwrap();
    reader.execute_batch(select).unwrap();
    file.write(|tx| Ok(tx.execute("DELETE FROM secrets", [])?)).await.unwrap();
    assert!(has_secret(&log));
    assert!(!file.empty_log().await.unwrap(), "somebody reads what the log has");
    file.write(|tx| Ok(tx.execute("INSERT INTO secrets VALUES ('none')", [])?)).await.unwrap();
    reader.execute_batch("COMMIT").unwrap();
    assert!(file.empty_log().await.unwrap());
    assert_eq!((has_secret(&folder.file()), has_secret(&log)), (false, false));
}

#[tokio::test]
async fn log_that_a_dead_process_has_left_is_moved_into_the_file_by_the_next_one() {
    let (folder, next) = (Folder::new(), Folder::new());
    let schema = Schema { sql: "CREATE TABLE IF NOT EXISTS secrets (secret TEXT) STRICT", ..NUMBERS };
    let file = File::open(&folder.file(), &[schema]).unwrap();
    file.write(|tx| Ok(tx.execute("INSERT INTO secrets VALUES (?), ('kept')", [SECRET])?)).await.unwrap();
    file.write(|tx| Ok(tx.execute("DELETE FROM secrets WHERE secret = ?", [SECRET])?)).await.unwrap();
    for ending in ["", "-wal"] {
        let path = |folder: &Folder| folder.0.path().join(format!("test.sqlite{ending}"));
        std::fs::copy(path(&folder), path(&next)).unwrap();
    }
    let log = next.0.path().join("test.sqlite-wal");
    assert!(has_secret(&log));
    let file = File::open(&next.file(), &[schema]).unwrap();
    assert_eq!((has_secret(&next.file()), has_secret(&log)), (false, false));
    let kept = file.read(|tx| Ok(tx.query_row("SELECT secret FROM secrets", [], |row| row.get::<_, String>(0))?));
    assert_eq!(kept.unwrap(), "kept");
}

#[tokio::test]
async fn file_shrinks_after_rows_are_deleted() {
    let folder = Folder::new();
    let pages =
        |file: &File| file.read(|tx| Ok(tx.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0))?)).unwrap();
    let file = File::open(&folder.file(), &[NUMBERS]).unwrap();
    file.write(|tx| {
        for number in 0..50_000_i64 {
            tx.prepare_cached("INSERT INTO numbers VALUES (?)")?.execute([number])?;
        }
        Ok(())
    })
    .await
    .unwrap();
    let full = pages(&file);
    file.write(|tx| Ok(tx.execute("DELETE FROM numbers", [])?)).await.unwrap();
    file.shrink(10_000).await.unwrap();
    assert!(pages(&file) * 10 < full, "{} of {full} pages are left", pages(&file));
}
