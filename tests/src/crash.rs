//! The control of the crash points: the tests' side of stepwell's feature `crash-points`, whose module documents the
//! folder.

use crate::stack::variable;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// The crash control of the stack that the environment names.
#[derive(Debug)]
pub struct Switch(PathBuf);

impl Switch {
    /// The crash control, with no wanted and no recorded points.
    pub fn cleared() -> Self {
        let folder = PathBuf::from(variable("STEPWELL_CRASH_DIR"));
        for part in ["wanted", "died"] {
            let _ = fs::remove_dir_all(folder.join(part));
            fs::create_dir_all(folder.join(part)).expect("the switch's folder");
        }
        fs::write(folder.join("passed"), "").expect("an empty record");
        Self(folder)
    }

    /// From now on the first delivery that reaches this point dies there, if its task has died this often before.
    pub fn want(&self, point: &str, deaths_before: usize) {
        // A rename is atomic, so no function reads a file that is half written.
        let draft = self.0.join("draft");
        fs::write(&draft, deaths_before.to_string()).expect("a wish");
        fs::rename(draft, self.0.join("wanted").join(point)).expect("a wish in its place");
    }

    /// The wanted points at which nothing has died yet.
    pub fn wanted(&self) -> BTreeSet<String> {
        names(&self.0.join("wanted"))
    }

    /// The points at which each task has died, in order.
    pub fn deaths(&self) -> BTreeMap<String, Vec<String>> {
        let mut deaths: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // Sorted by name, and so by the number at its end: no task dies ten times.
        for name in names(&self.0.join("died")) {
            let (task, _) = name.rsplit_once('.').expect("a task and a number");
            let point = fs::read_to_string(self.0.join("died").join(&name)).expect("a point");
            deaths.entry(task.to_owned()).or_default().push(point);
        }
        deaths
    }

    /// The points that a task has passed, in order, including those at which it died.
    pub fn passed(&self, task: &str) -> Vec<String> {
        let record = fs::read_to_string(self.0.join("passed")).expect("the record");
        let lines = record.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(whose, _)| *whose == task).map(|(_, point)| point.to_owned()).collect()
    }
}

fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).expect("a folder of the switch");
    files.map(|file| file.expect("a file").file_name().into_string().expect("a name of text")).collect()
}
