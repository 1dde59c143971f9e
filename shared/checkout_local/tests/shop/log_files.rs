use checkout_local::LogFiles;
use std::{
    fs,
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

const MEBIBYTE: usize = 1 << 20;

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// A line of a mebibyte that begins with this text.
fn line(text: &str) -> Vec<u8> {
    format!("{text}{}\n", " ".repeat(MEBIBYTE - 1 - text.len())).into_bytes()
}

/// The first words of all lines.
fn lines(folder: &Path) -> Vec<String> {
    let texts = files(folder).into_iter().map(|file| fs::read_to_string(file).unwrap()).collect::<String>();
    texts.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn lines_are_in_files_for_their_owner_of_which_the_oldest_is_deleted_before_they_are_larger_than_128_mib() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("data/log");
    let mut log = &LogFiles::new(&folder);
    assert!(!folder.exists(), "nothing is logged yet");
    for number in 0..128 {
        log.write_all(&line(&number.to_string())).unwrap();
    }
    let size = |folder| files(folder).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    assert_eq!((files(&folder).len(), size(&folder)), (8, 128 << 20));
    assert_eq!(files(&folder)[0], folder.join("00000001.jsonl"));
    // Also by another process, whose first line it is.
    for number in 128..130 {
        (&LogFiles::new(&folder)).write_all(&line(&number.to_string())).unwrap();
    }
    assert_eq!((files(&folder).len(), size(&folder)), (8, 114 << 20));
    assert_eq!(lines(&folder), (16..130).map(|number| number.to_string()).collect::<Vec<_>>());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert!(files(&folder).iter().all(|file| mode(file) == 0o600));
}

#[test]
fn line_that_was_cut_ends_before_the_next_one_of_another_process() {
    let root = TempDir::new().unwrap();
    (&LogFiles::new(root.path())).write_all(b"whole\n").unwrap();
    (&LogFiles::new(root.path())).write_all(b"cu").unwrap();
    (&LogFiles::new(root.path())).write_all(b"next\n").unwrap();
    assert_eq!(lines(root.path()), ["whole", "cu", "next"]);
}

#[test]
fn file_that_is_deleted_comes_back_with_the_next_line_and_a_strange_one_stays() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("log");
    let mut log = &LogFiles::new(&folder);
    log.write_all(b"lost\n").unwrap();
    fs::remove_dir_all(&folder).unwrap();
    log.write_all(b"kept\n").unwrap();
    fs::write(folder.join("notes.txt"), "mine\n").unwrap();
    log.write_all(b"kept, too\n").unwrap();
    assert_eq!(lines(&folder), ["kept", "kept,", "mine"]);
}

#[test]
fn line_is_lost_that_cannot_be_written_and_the_next_is_tried_again() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("log");
    let mut log = &LogFiles::new(&folder);
    fs::write(&folder, "a file").unwrap();
    assert_eq!(log.write_all(b"lost\n").unwrap_err().kind(), ErrorKind::NotADirectory);
    fs::remove_file(&folder).unwrap();
    log.write_all(b"kept\n").unwrap();
    assert_eq!(lines(&folder), ["kept"]);
}
