//! The log lines that a shop keeps, as files.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};
use stepwell_local::create_folder;

/// A file takes no more lines than fit into so many bytes.
const FILE_BYTES: u64 = 16 << 20;

/// The most files. Together with [`FILE_BYTES`]: 128 MiB.
const FILES: usize = 8;

/// The ending of a file's name, after its number.
const ENDING: &str = "jsonl";

/// Appends lines to numbered files in a folder, such as `00000017.jsonl`, for their owner only. The greatest number is the newest. Before the
/// files have more than 128 MiB the oldest is deleted. Each write has to be a whole line.
///
/// A line is with the operating system when its write returns, so it is there after a crash of the process. It is not put on the disk at once, and
/// a power failure may cost the last ones.
///
/// A line that cannot be written is lost. The first of them is told on stderr, and each later line is tried again.
#[derive(Debug)]
pub struct LogFiles {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    file: Option<fs::File>,
    /// Whether the last line was lost, and that was told.
    is_told: bool,
}

impl LogFiles {
    /// Makes a log in this folder, which is created with the first line if it is not there.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), state: Mutex::default() }
    }

    /// Appends a line to the file, or to the next one. Without an error the file stays open.
    fn append(&self, file: &mut Option<fs::File>, line: &[u8]) -> io::Result<()> {
        let mut to = match file.take() {
            Some(file) if takes(&file, line)? => file,
            _ => self.open(line)?,
        };
        to.write_all(line)?;
        *file = Some(to);
        Ok(())
    }

    /// Opens the newest file if it has space for the line, and else the next one.
    fn open(&self, line: &[u8]) -> io::Result<fs::File> {
        create_folder(&self.folder)?;
        let mut files = files(&self.folder)?;
        if let Some((_, path)) = files.last() {
            let mut file = OpenOptions::new().read(true).append(true).open(path)?;
            if takes(&file, line)? {
                end_last_line(&mut file)?;
                return Ok(file);
            }
        }
        let number = files.last().map_or(0, |(number, _)| *number) + 1;
        let too_many = (files.len() + 1).saturating_sub(FILES);
        for (_, path) in files.drain(..too_many) {
            fs::remove_file(path)?;
        }
        let path = self.folder.join(format!("{number:08}.{ENDING}"));
        OpenOptions::new().read(true).append(true).create_new(true).mode(0o600).open(path)
    }
}

/// The files of a log by their numbers, the oldest first.
fn files(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|ending| ending == ENDING)) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the line is to be appended to this file.
fn takes(file: &fs::File, line: &[u8]) -> io::Result<bool> {
    let (found, length) = (file.metadata()?, u64::try_from(line.len()).unwrap_or(u64::MAX));
    // A line that fits into no file has one of its own.
    let has_space = found.len() == 0 || found.len().saturating_add(length) <= FILE_BYTES;
    let is_deleted = found.nlink() == 0;
    Ok(has_space && !is_deleted)
}

/// Ends a line that a full disk or a power failure has cut, so that the next one is whole.
fn end_last_line(file: &mut fs::File) -> io::Result<()> {
    let (mut last, size) = ([b'\n'], file.metadata()?.len());
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    if last == [b'\n'] { Ok(()) } else { file.write_all(b"\n") }
}

impl Write for &LogFiles {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { file, is_told } = &mut *state;
        let appended = self.append(file, line);
        let was_told = std::mem::replace(is_told, appended.is_err());
        if let Err(error) = &appended
            && !was_told
        {
            // Not by a line of the log, which comes here. Nobody is left to be told if stderr is closed.
            let _ = writeln!(
                io::stderr(),
                "the log cannot be kept in {}: {error}. The shop goes on, and tries it again with each line",
                self.folder.display()
            );
        }
        appended.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
