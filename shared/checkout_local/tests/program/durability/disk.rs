//! A disk whose power may be cut at any moment: what is surely on it, and what is not yet.
//!
//! The model is what POSIX promises, and no file system's own ways, which promise more:
//!
//! * A write, or a new length of a file, is surely on the disk once a sync of that file has returned that began after it. Until
//!   then each may be lost on its own, whatever their order: the page cache is written back in any order ([`fsync(2)`]).
//! * Of a lost write, some sectors of 512 bytes may be there and others not. A sector is there as a whole: disks promise that, and
//!   SQLite asks no more of them in a log ([atomic commit], "powersafe overwrite").
//! * A new, a changed or a deleted name is surely on the disk once a sync of its *folder* has returned that began after it. A sync of the
//!   file is not enough ([`fsync(2)`]). A renamed file has either name, or both if only the new one is on the disk.
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
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The bytes that a disk writes as a whole.
const SECTOR: u64 = 512;

/// Whether something of this file has to be kept.
pub(crate) fn is_kept(path: &Path) -> bool {
    !path.extension().is_some_and(|extension| extension == "lock" || extension.to_string_lossy().ends_with("-shm"))
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

    /// Applies some sectors of a write, or perhaps the new length.
    fn apply_sectors(&self, bytes: &mut Vec<u8>, rng: &mut Rng) {
        match self {
            Self::Write(offset, written) => {
                let (mut offset, mut rest) = (*offset, &written[..]);
                while !rest.is_empty() {
                    let in_sector = usize::try_from(SECTOR - offset % SECTOR).unwrap().min(rest.len());
                    let (sector, after) = rest.split_at(in_sector);
                    if rng.bool() {
                        write(bytes, offset, sector);
                    }
                    offset += in_sector as u64;
                    rest = after;
                }
            }
            Self::Resize(_) if rng.bool() => self.apply(bytes),
            Self::Resize(_) => {}
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, written: &[u8]) {
    let begin = usize::try_from(offset).unwrap();
    let end = begin + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[begin..end].copy_from_slice(written);
}

/// A change of a folder's names.
#[derive(Clone, Debug)]
enum Naming {
    Add(String, usize),
    Delete(String),
    Rename(String, String, usize),
}

type Names = BTreeMap<String, usize>;

impl Naming {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Add(name, node) => drop(names.insert(name.clone(), *node)),
            Self::Delete(name) => drop(names.remove(name)),
            Self::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
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
                self.name(number, from, Naming::Rename(name(from), name(to), node));
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
                    match loss {
                        Loss::Sectors => change.apply_sectors(&mut bytes, rng),
                        loss if loss.spares(rng) => change.apply(&mut bytes),
                        _ => {}
                    }
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
