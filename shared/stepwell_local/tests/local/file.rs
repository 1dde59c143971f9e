//! What the file promises.

use super::*;
use stepwell_local::OpenError;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY) STRICT";
const NUMBERS: Schema = Schema { part: "numbers", version: 3, sql: TABLE };

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
async fn copy_of_an_open_file_has_all_that_was_committed() {
    let folder = Folder::new();
    let file = File::open(&folder.file(), &[NUMBERS]).unwrap();
    add(&file, 1).await.unwrap();
    let copy = folder.0.path().join("copy.sqlite");
    file.back_up(&copy).unwrap();
    assert!(file.back_up(&copy).is_err(), "no copy is written over");
    add(&file, 2).await.unwrap();
    assert_eq!(numbers(&File::open(&copy, &[NUMBERS]).unwrap()), [1]);
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
