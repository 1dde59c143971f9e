//! What the shop of one machine logs, in the files that it keeps.

use super::{Line, Wanted};
use crate::operate::{
    failure::{Failure, Kind},
    target::no_shop,
};
use serde::Deserialize;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, BufRead, BufReader, ErrorKind, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use stepwell::Timestamp;

/// The folder of the log, in the folder of a shop.
const FOLDER: &str = "log";

/// The files of a log, and how far they were read.
pub(super) struct Files {
    folder: PathBuf,
    /// The bytes of each file that were read.
    read: BTreeMap<PathBuf, u64>,
    /// The names of the lines so far, of any function; each is of the task, and not older than what is wanted.
    pub(super) names: BTreeSet<String>,
}

/// What tells of what a line is.
#[derive(Deserialize)]
struct Fields<'a> {
    timestamp: Timestamp,
    #[serde(borrow)]
    step: Option<Cow<'a, str>>,
    #[serde(borrow)]
    target: Cow<'a, str>,
}

impl Files {
    /// Finds the files of the shop with this data folder, whether or not it runs.
    ///
    /// # Errors
    /// No shop has logged there.
    pub(super) fn find(data: &Path) -> Result<Self, Failure> {
        let folder = data.join(FOLDER);
        match fs::read_dir(&folder) {
            Ok(_) => Ok(Self { folder, read: BTreeMap::new(), names: BTreeSet::new() }),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(no_shop(
                data,
                format_args!("no shop has logged in the data folder {}: there is no folder {FOLDER}", data.display()),
            )),
            Err(error) => Err(unreadable(&folder, &error)),
        }
    }

    /// What has come since the last time.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(super) fn news(&mut self, wanted: &Wanted<'_>) -> Result<Vec<Line>, Failure> {
        let mut news = Vec::new();
        for path in listed(&self.folder, wanted.start).map_err(|error| unreadable(&self.folder, &error))? {
            let mut lines = Vec::new();
            let from = self.read.entry(path.clone()).or_default();
            match read(&path, from, |line| lines.extend(line_of(line))) {
                // The shop has deleted it meanwhile.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                done => done.map_err(|error| unreadable(&path, &error))?,
            }
            let task = wanted.task.map(|task| task.to_string());
            lines.retain(|line| {
                line.moment >= wanted.start && task.as_ref().is_none_or(|task| line.message.contains(task))
            });
            self.names.extend(lines.iter().map(|line| line.shown.clone()));
            news.extend(lines);
        }
        news.retain(|line| wanted.function.is_none_or(|name| name == line.shown));
        Ok(news)
    }

    /// The width of the longest name so far.
    pub(super) fn width(&self) -> usize {
        self.names.iter().map(String::len).max().unwrap_or_default()
    }
}

/// The files that may have lines since this moment, in milliseconds since 1970; the oldest first, as their names say.
fn listed(folder: &Path, start: i64) -> io::Result<Vec<PathBuf>> {
    let start = UNIX_EPOCH + Duration::from_millis(u64::try_from(start).unwrap_or_default());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, changed) = (entry.path(), entry.metadata().and_then(|found| found.modified()));
        let may_have = changed.unwrap_or_else(|_| SystemTime::now()) >= start;
        if may_have && path.extension().is_some_and(|ending| ending == "jsonl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads the whole lines of a file that come after so many bytes, which are counted on.
fn read(path: &Path, from: &mut u64, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(*from))?;
    let (mut reader, mut line) = (BufReader::new(file), Vec::new());
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line)?;
        // The last one may be amid its write.
        if !line.ends_with(b"\n") {
            return Ok(());
        }
        *from += u64::try_from(bytes).unwrap_or_default();
        take(&line);
    }
}

/// A line. `None` if it is not whole: a full disk or a power failure has cut it.
fn line_of(line: &[u8]) -> Option<Line> {
    let Fields { timestamp, step, target } = serde_json::from_slice(line).ok()?;
    let writer = target.split("::").next().unwrap_or_default();
    let shown = step.unwrap_or(Cow::Borrowed(writer)).into_owned();
    Some(Line { moment: timestamp.as_millis(), shown, message: String::from_utf8_lossy(line).into_owned() })
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let kind = if error.kind() == ErrorKind::PermissionDenied { Kind::NotLetIn } else { Kind::NoAnswer };
    Failure::new(kind, format!("{}: {error}", path.display()))
}
