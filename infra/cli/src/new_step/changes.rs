//! Files that are written together or not at all.

use crate::findings::Finding;
use similar::TextDiff;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// The change of a file.
struct Change {
    /// The text before; `None` for a new file.
    old: Option<String>,
    /// The text afterwards.
    new: String,
}

/// The files to write, by their path from the root of the repository.
pub(super) struct Changes {
    root: PathBuf,
    files: BTreeMap<PathBuf, Change>,
}

impl Changes {
    /// No changes yet, below this root.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: BTreeMap::new() }
    }

    /// The text of a file after these changes; `None` if there is no such file.
    pub(super) fn current(&self, path: &Path) -> Option<String> {
        let changed = self.files.get(path).map(|change| change.new.clone());
        changed.or_else(|| fs::read_to_string(self.root.join(path)).ok())
    }

    /// Sets the text of a file. The text that the file already has is no change.
    pub(super) fn set(&mut self, path: impl Into<PathBuf>, new: String) {
        let path = path.into();
        let old = fs::read_to_string(self.root.join(&path)).ok();
        if old.as_ref() == Some(&new) {
            self.files.remove(&path);
        } else {
            self.files.insert(path, Change { old, new });
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files' names, and the differences of existing files.
    pub(super) fn preview(&self) -> String {
        let mut text = String::new();
        for (path, change) in &self.files {
            // Writing to a String cannot fail.
            let _ = match &change.old {
                None => writeln!(text, "new: {} ({} lines)", path.display(), change.new.lines().count()),
                Some(old) => {
                    let name = path.display().to_string();
                    write!(text, "{}", TextDiff::from_lines(old, &change.new).unified_diff().header(&name, &name))
                }
            };
        }
        text
    }

    /// Writes the files, and lists them. Each is written under a temporary name first, and renamed only when all are
    /// written.
    /// If that fails, all files are restored.
    pub(super) fn write(&self) -> Result<String, Finding> {
        let mut rollback = Rollback::default();
        let written = self.write_all(&mut rollback);
        if let Err((path, error)) = written {
            rollback.run();
            let problem = format!("cannot be written: {error}");
            return Err(Finding::new(path, problem, "Nothing was changed. Make it writable, and run this again"));
        }
        let told = self.files.iter().map(|(path, change)| {
            format!("{}: {}\n", path.display(), if change.old.is_some() { "changed" } else { "made" })
        });
        Ok(told.collect())
    }

    fn write_all(&self, rollback: &mut Rollback) -> Result<(), (PathBuf, io::Error)> {
        let temporary = |path: &Path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".new-step");
            self.root.join(path).with_file_name(name)
        };
        for (path, change) in &self.files {
            let failed = |error| (path.clone(), error);
            let folder = self.root.join(path);
            rollback.make_folders(folder.parent().unwrap_or(&self.root)).map_err(failed)?;
            rollback.files.push((temporary(path), None));
            fs::write(temporary(path), &change.new).map_err(failed)?;
        }
        for (path, change) in &self.files {
            rollback.files.push((self.root.join(path), change.old.clone()));
            fs::rename(temporary(path), self.root.join(path)).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }
}

/// How to restore the files.
#[derive(Default)]
struct Rollback {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Option<String>)>,
}

impl Rollback {
    fn make_folders(&mut self, folder: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder)?;
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }

    /// Best effort: the first error is the one to report.
    fn run(self) {
        for (file, old) in self.files.into_iter().rev() {
            let _ = match old {
                Some(old) => fs::write(file, old),
                None => fs::remove_file(file),
            };
        }
        for folder in self.folders.into_iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}
