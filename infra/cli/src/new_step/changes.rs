//! Files that are to be written together or not at all.

use crate::findings::Finding;
use similar::TextDiff;
use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// What becomes of a file.
struct Change {
    /// Its text before; `None` where there is no file.
    old: Option<String>,
    /// Its text afterwards.
    new: String,
}

/// The files that are to be written, by their path from the root of the repository.
pub(super) struct Changes {
    root: PathBuf,
    files: BTreeMap<PathBuf, Change>,
}

impl Changes {
    /// No changes yet of the files below this root.
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: BTreeMap::new() }
    }

    /// The text of a file as these changes leave it; `None` where there is no such file.
    pub(super) fn current(&self, path: &Path) -> Option<String> {
        let changed = self.files.get(path).map(|change| change.new.clone());
        changed.or_else(|| fs::read_to_string(self.root.join(path)).ok())
    }

    /// Gives a file this text. A text that the file has already is no change.
    pub(super) fn set(&mut self, path: impl Into<PathBuf>, new: String) {
        let path = path.into();
        let old = fs::read_to_string(self.root.join(&path)).ok();
        if old.as_ref() == Some(&new) {
            self.files.remove(&path);
        } else {
            self.files.insert(path, Change { old, new });
        }
    }

    /// Whether nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The files' names, and what changes in those that are there already.
    pub(super) fn preview(&self) -> String {
        let mut text = String::new();
        for (path, change) in &self.files {
            // Writing to a text does not fail.
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

    /// Writes the files, and says which. Each is written under another name first; only when all are is any of them given
    /// its own.
    /// Where that fails, all are as they were.
    pub(super) fn write(&self) -> Result<String, Finding> {
        let mut undo = Undo::default();
        let written = self.write_all(&mut undo);
        if let Err((path, error)) = written {
            undo.run();
            let problem = format!("cannot be written: {error}");
            return Err(Finding::new(path, problem, "Nothing was changed. Make it writable, and run this again"));
        }
        let told = self.files.iter().map(|(path, change)| {
            format!("{}: {}\n", path.display(), if change.old.is_some() { "changed" } else { "made" })
        });
        Ok(told.collect())
    }

    fn write_all(&self, undo: &mut Undo) -> Result<(), (PathBuf, io::Error)> {
        let temporary = |path: &Path| {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".new-step");
            self.root.join(path).with_file_name(name)
        };
        for (path, change) in &self.files {
            let failed = |error| (path.clone(), error);
            let folder = self.root.join(path);
            undo.make_folders(folder.parent().unwrap_or(&self.root)).map_err(failed)?;
            undo.files.push((temporary(path), None));
            fs::write(temporary(path), &change.new).map_err(failed)?;
        }
        for (path, change) in &self.files {
            undo.files.push((self.root.join(path), change.old.clone()));
            fs::rename(temporary(path), self.root.join(path)).map_err(|error| (path.clone(), error))?;
        }
        Ok(())
    }
}

/// How to get back to where it began.
#[derive(Default)]
struct Undo {
    folders: Vec<PathBuf>,
    files: Vec<(PathBuf, Option<String>)>,
}

impl Undo {
    fn make_folders(&mut self, folder: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder)?;
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }

    /// Best effort: the first error is the one to be told.
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
