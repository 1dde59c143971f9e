//! A disk whose power may be cut at any moment: what is surely on it, and what is not yet.
//!
//! The model is what POSIX promises, and no file system's own ways, which promise more:
//!
//! * A write, or a new length of a file, is surely on the disk once a sync of that file has returned that began after it. Until
//!   then each may be lost on its own, whatever their order: the page cache is written back in any order ([`fsync(2)`]).
//! * Of a lost write, some sectors of 512 bytes may be there and others not. A sector is there as a whole: disks promise that, and
//!   SQLite asks no more of them in a log ([atomic commit], "powersafe overwrite"). The file may be as long as if the write was there,
//!   with zeros at its end.
//! * A new, a changed or a deleted name is surely on the disk once a sync of its *folder* has returned that began after it. A sync of the
//!   file is not enough ([`fsync(2)`]). A rename adds a name and deletes one, and either may be lost alone: the file has one name or the
//!   other, both or none.
//! * What a sync has put on the disk stays there. A disk that lies about that is beyond any program's help.
//!
//! Files of which nothing has to be kept are left out: locks, and SQLite's shared memory (`-shm`), which it makes anew ([WAL]).
//!
//! [`fsync(2)`]: https://man7.org/linux/man-pages/man2/fsync.2.html
//! [atomic commit]: https://www.sqlite.org/atomiccommit.html
//! [WAL]: https://www.sqlite.org/walformat.html

use super::recording::Event;
use fastrand::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The bytes that a disk writes as a whole.
const SECTOR: u64 = 512;

/// Whether something of this file has to be kept. Of the log a power failure may cost the last lines, and nothing rests on them.
pub(crate) fn is_kept(path: &Path) -> bool {
    !path.components().any(|part| part.as_os_str() == "log")
        && !path
            .extension()
            .is_some_and(|extension| extension == "lock" || extension.to_string_lossy().ends_with("-shm"))
}

/// What is lost of all that is not surely on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Nothing, as if only the process had died.
    Nothing,
    /// All of it.
    Everything,
    /// Some of it, each thing as a whole.
    Some,
    /// Some of it, and some sectors of writes.
    Sectors,
}

impl Loss {
    pub(crate) const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Some, Self::Sectors];

    fn spares(self, rng: &mut Rng) -> bool {
        match self {
            Self::Nothing => true,
            Self::Everything => false,
            Self::Some | Self::Sectors => rng.bool(),
        }
    }
}

/// A change of a file.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Arc<[u8]>),
    Resize(u64),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, written) => write(bytes, *offset, written),
            Self::Resize(length) => bytes.resize(usize::try_from(*length).unwrap(), 0),
        }
    }

    /// Applies what is left of it after the power was cut.
    fn apply_rest(&self, bytes: &mut Vec<u8>, loss: Loss, rng: &mut Rng) {
        match self {
            Self::Write(offset, written) if loss == Loss::Sectors => {
                let (mut offset, mut rest) = (*offset, &written[..]);
                while !rest.is_empty() {
                    let in_sector = usize::try_from(SECTOR - offset % SECTOR).unwrap().min(rest.len());
                    let (sector, after) = rest.split_at(in_sector);
                    if loss.spares(rng) {
                        write(bytes, offset, sector);
                    }
                    offset += in_sector as u64;
                    rest = after;
                }
            }
            change if loss.spares(rng) => change.apply(bytes),
            _ => {}
        }
        // The length of a file is stored apart from what is in it.
        if let Self::Write(offset, written) = self
            && loss.spares(rng)
        {
            lengthen(bytes, usize::try_from(*offset).unwrap() + written.len());
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, written: &[u8]) {
    let begin = usize::try_from(offset).unwrap();
    let end = begin + written.len();
    lengthen(bytes, end);
    bytes[begin..end].copy_from_slice(written);
}

fn lengthen(bytes: &mut Vec<u8>, length: usize) {
    if bytes.len() < length {
        bytes.resize(length, 0);
    }
}

/// A change of a folder's names.
#[derive(Clone, Debug)]
enum Naming {
    Add(String, usize),
    Delete(String),
}

type Names = BTreeMap<String, usize>;

impl Naming {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(name, node) => drop(names.insert(name.clone(), *node)),
            Self::Delete(name) => drop(names.remove(name)),
        }
    }
}

/// A file or a folder: what it is now, what is surely on the disk, and what else has changed, by the number of the event.
#[derive(Debug)]
enum Node {
    File { now: Vec<u8>, kept: Vec<u8>, unsure: Vec<(usize, Change)> },
    Folder { now: Names, kept: Names, unsure: Vec<(usize, Naming)> },
}

impl Node {
    const FILE: Self = Self::File { now: Vec::new(), kept: Vec::new(), unsure: Vec::new() };
    const FOLDER: Self = Self::Folder { now: Names::new(), kept: Names::new(), unsure: Vec::new() };
}

/// A disk. The first node is the root, which is there from the beginning.
#[derive(Debug)]
pub(crate) struct Disk(Vec<Node>);

impl Default for Disk {
    fn default() -> Self {
        Self(vec![Node::FOLDER])
    }
}

impl Disk {
    pub(crate) fn apply(&mut self, number: usize, event: &Event) {
        match event {
            Event::Create(path) => self.add(number, path, Node::FILE),
            Event::CreateFolder(path) => self.add(number, path, Node::FOLDER),
            Event::Write(path, offset, bytes) => self.change(number, path, Change::Write(*offset, bytes.clone())),
            Event::Resize(path, length) => self.change(number, path, Change::Resize(*length)),
            Event::Rename(from, to) => {
                let node = self.find(from).unwrap();
                assert_eq!(from.parent(), to.parent(), "a file that moves to another folder is not known here");
                self.name(number, from, Naming::Delete(name(from)));
                self.name(number, to, Naming::Add(name(to), node));
            }
            Event::Delete(path) => self.name(number, path, Naming::Delete(name(path))),
            Event::Sync(path, begun) => self.sync(path, *begun),
            Event::Answer(_) => {}
        }
    }

    fn add(&mut self, number: usize, path: &Path, node: Node) {
        self.0.push(node);
        self.name(number, path, Naming::Add(name(path), self.0.len() - 1));
    }

    fn name(&mut self, number: usize, path: &Path, naming: Naming) {
        let folder = self.find(path.parent().unwrap()).unwrap();
        let Node::Folder { now, unsure, .. } = &mut self.0[folder] else { panic!("{} is in a file", path.display()) };
        naming.apply(now);
        unsure.push((number, naming));
    }

    fn change(&mut self, number: usize, path: &Path, change: Change) {
        let file = self.find(path).unwrap_or_else(|| panic!("{} is not there", path.display()));
        let Node::File { now, unsure, .. } = &mut self.0[file] else { panic!("{} is a folder", path.display()) };
        change.apply(now);
        unsure.push((number, change));
    }

    fn sync(&mut self, path: &Path, begun: usize) {
        let node = self.find(path).unwrap();
        match &mut self.0[node] {
            Node::File { kept, unsure, .. } => {
                let surely = unsure.partition_point(|(number, _)| *number < begun);
                unsure.drain(..surely).for_each(|(_, change)| change.apply(kept));
            }
            Node::Folder { kept, unsure, .. } => {
                let surely = unsure.partition_point(|(number, _)| *number < begun);
                unsure.drain(..surely).for_each(|(_, naming)| naming.apply(kept));
            }
        }
    }

    fn find(&self, path: &Path) -> Option<usize> {
        let mut at = 0;
        for name in path {
            let Node::Folder { now, .. } = &self.0[at] else { return None };
            at = *now.get(name.to_str()?)?;
        }
        Some(at)
    }

    pub(crate) fn has(&self, path: &Path) -> bool {
        self.find(path).is_some()
    }

    /// All files as they are now.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, &[u8]> {
        let (mut found, mut folders) = (BTreeMap::new(), vec![(PathBuf::new(), 0)]);
        while let Some((path, node)) = folders.pop() {
            match &self.0[node] {
                Node::File { now, .. } => drop(found.insert(path, now.as_slice())),
                Node::Folder { now, .. } => folders.extend(now.iter().map(|(name, node)| (path.join(name), *node))),
            }
        }
        found
    }

    /// Cuts the power, and writes what is on the disk afterwards to this folder.
    pub(crate) fn cut(&self, loss: Loss, rng: &mut Rng, to: &Path) {
        self.write_node(0, loss, rng, to);
    }

    fn write_node(&self, node: usize, loss: Loss, rng: &mut Rng, to: &Path) {
        match &self.0[node] {
            Node::File { kept, unsure, .. } => {
                let mut bytes = kept.clone();
                for (_, change) in unsure {
                    change.apply_rest(&mut bytes, loss, rng);
                }
                let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).unwrap();
                file.write_all(&bytes).unwrap();
            }
            Node::Folder { kept, unsure, .. } => {
                let mut names = kept.clone();
                for (_, naming) in unsure {
                    if loss.spares(rng) {
                        naming.apply(&mut names);
                    }
                }
                fs::create_dir_all(to).unwrap();
                for (name, node) in names {
                    self.write_node(node, loss, rng, &to.join(name));
                }
            }
        }
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// A few events, and each disk that a cut leaves of them: the length of each file, and what is in it that is not zero.
#[test]
fn cut_leaves_each_state_that_is_not_synced_away_and_no_other() {
    let [a, b] = ["a", "b"].map(PathBuf::from);
    let create = || Event::Create(a.clone());
    let write = |offset, text: &str| Event::Write(a.clone(), offset, text.as_bytes().into());
    let folder = || Event::Sync(PathBuf::new(), 1);
    // Its last four bytes are in two sectors.
    let written = || vec![create(), folder(), write(508, "old"), Event::Sync(a.clone(), 3), write(510, "wxyz")];
    let named = || vec![create(), write(0, "new"), Event::Sync(a.clone(), 2)];
    let stored = |then| vec![create(), folder(), write(0, "old"), Event::Sync(a.clone(), 3), then];
    let renamed = || stored(Event::Rename(a.clone(), b.clone()));
    let overtaken = || vec![create(), folder(), write(0, "old"), write(0, "new"), Event::Sync(a.clone(), 3)];
    let cases: &[(Vec<Event>, Loss, &[&str])] = &[
        (written(), Loss::Nothing, &["a 514 olwxyz"]),
        (written(), Loss::Everything, &["a 511 old"]),
        (written(), Loss::Some, &["a 511 old", "a 514 old", "a 514 olwxyz"]),
        (
            written(),
            Loss::Sectors,
            &["a 511 old", "a 512 olwx", "a 514 old", "a 514 oldyz", "a 514 olwx", "a 514 olwxyz"],
        ),
        (named(), Loss::Nothing, &["a 3 new"]),
        (named(), Loss::Everything, &[""]),
        (named(), Loss::Some, &["", "a 3 new"]),
        (renamed(), Loss::Nothing, &["b 3 old"]),
        (renamed(), Loss::Everything, &["a 3 old"]),
        (renamed(), Loss::Some, &["", "a 3 old", "a 3 old, b 3 old", "b 3 old"]),
        (stored(Event::Delete(a.clone())), Loss::Some, &["", "a 3 old"]),
        (stored(Event::Resize(a.clone(), 1)), Loss::Sectors, &["a 1 o", "a 3 old"]),
        // The second write was made while the sync was under way.
        (overtaken(), Loss::Everything, &["a 3 old"]),
    ];
    for (events, loss, expected) in cases {
        let mut disk = Disk::default();
        events.iter().enumerate().for_each(|(number, event)| disk.apply(number, event));
        let left = |seed| {
            let folder = tempfile::tempdir().unwrap();
            disk.cut(*loss, &mut Rng::with_seed(seed), folder.path());
            let files = fs::read_dir(folder.path()).unwrap().map(|file| {
                let path = file.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                let text = String::from_utf8(bytes.iter().copied().filter(|byte| *byte != 0).collect()).unwrap();
                format!("{} {} {text}", name(&path), bytes.len())
            });
            let mut files: Vec<String> = files.collect();
            files.sort();
            files.join(", ")
        };
        let found: BTreeSet<String> = (0..100).map(left).collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), *expected, "{loss:?} lost of {events:?}");
    }
}
