//! What a running program does to its files, and what it answers, in order.
//!
//! `strace` records it. It stops the program at each system call, so that what one thread does because of another is recorded after it. A
//! change counts from the end of its call, and an answer from the beginning of its call: that is the unfavourable way round.
//!
//! After each process the recorded files are compared with the real ones, so nothing goes unrecorded: no unknown call, and no write
//! through a mapping.

use crate::{
    books::Told,
    disk::{Disk, is_kept},
    running,
};
use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::Arc,
};

/// The calls that change files or answer, by which a program could do so. `?` passes over those that a machine does not have.
pub(crate) const CALLS: &str = "?open,openat,?creat,write,writev,pwrite64,pwritev,?pwritev2,lseek,truncate,ftruncate,fallocate,fsync,\
    fdatasync,sync_file_range,msync,?rename,renameat,renameat2,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,?link,linkat,?symlink,symlinkat,\
    mmap,sendto,sendmsg,sendfile,copy_file_range";

/// Something that happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A file was made.
    Create(PathBuf),
    /// A folder was made.
    CreateFolder(PathBuf),
    /// Bytes were written to a file at an offset.
    Write(PathBuf, u64, Arc<[u8]>),
    /// A file was given a length.
    Resize(PathBuf, u64),
    /// A file got another name.
    Rename(PathBuf, PathBuf),
    /// A name was deleted.
    Delete(PathBuf),
    /// A file or a folder was synced. What happened to it before this event, by its number, is on the disk.
    Sync(PathBuf, usize),
    /// A customer was told something.
    Answer(Told),
}

/// The events of several processes on the files below a folder. Paths are relative to it.
pub(crate) struct Recording {
    root: PathBuf,
    pub(crate) events: Vec<Event>,
    /// The files as they are after all events.
    disk: Disk,
}

impl Recording {
    /// Records what happens below this folder, which is empty.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.canonicalize().unwrap(), events: Vec::new(), disk: Disk::default() }
    }

    /// Adds what `strace` has written of a process that has ended.
    pub(crate) fn add(&mut self, trace: &Path) {
        let mut process = Process::default();
        for line in BufReader::new(fs::File::open(trace).unwrap()).split(b'\n') {
            self.read(&line.unwrap(), &mut process);
        }
        self.compare(process.broken_off + process.unfinished.len());
    }

    fn read(&mut self, line: &[u8], process: &mut Process) {
        let line = std::str::from_utf8(line).expect("strace writes all else in hexadecimal digits");
        let Some((thread, call)) = line.split_once(' ') else { return };
        let call = call.trim_start();
        if call.starts_with("+++") || call.starts_with("---") {
            return;
        }
        let (call, begun) = if let Some(rest) = call.strip_prefix("<... ") {
            let (begin, begun) = process.unfinished.remove(thread).expect("a call that goes on has begun");
            let (_, rest) = rest.split_once("resumed>").unwrap();
            (format!("{begin}{rest}"), begun)
        } else if let Some(begin) = call.strip_suffix("<unfinished ...>") {
            self.answer(begin);
            process.unfinished.insert(thread.to_owned(), (begin.trim_end().to_owned(), self.events.len()));
            return;
        } else {
            self.answer(call);
            (call.to_owned(), self.events.len())
        };
        self.finish(&call, begun, process);
    }

    /// Notes what this call tells a customer, if it does.
    fn answer(&mut self, call: &str) {
        let Some((name, arguments)) = call.split_once('(') else { return };
        let is_to_customer = ["write", "writev", "sendto", "sendmsg"].contains(&name)
            && descriptor(arguments).is_some_and(|(_, path)| path.starts_with("socket:"));
        if !is_to_customer {
            return;
        }
        let bytes: Vec<u8> = strings(arguments).concat();
        let text = String::from_utf8(bytes).unwrap();
        // Errors and other requests are no promises.
        let told = running::parse(&text).filter(|(status, _)| (200..300).contains(status));
        if let Some(told) = told.and_then(|(_, body)| Told::of(&body)) {
            self.push(Event::Answer(told));
        }
    }

    /// Notes what a call has done that is over.
    fn finish(&mut self, call: &str, begun: usize, process: &mut Process) {
        let Some((name, rest)) = call.split_once('(') else { return };
        // A string has no quotes and no brackets in it: all of its characters are in hexadecimal digits.
        let Some((arguments, result)) = rest.rsplit_once(") = ") else { return };
        match result.as_bytes() {
            // It failed.
            [b'-', ..] => return,
            // The process died in it.
            [b'?', ..] => {
                process.broken_off += 1;
                return;
            }
            _ => {}
        }
        match name {
            "open" | "openat" | "creat" => self.opened(name, arguments, result, process),
            "mkdir" | "mkdirat" => {
                if let Some(path) = self.named(arguments).into_iter().next() {
                    self.push(Event::CreateFolder(path));
                }
            }
            "rename" | "renameat" | "renameat2" => {
                if let [from, to] = self.named(arguments).as_slice() {
                    self.push(Event::Rename(from.clone(), to.clone()));
                }
            }
            "unlink" | "unlinkat" => {
                if let Some(path) = self.named(arguments).into_iter().next() {
                    self.push(Event::Delete(path));
                }
            }
            _ => {
                let Some((number, path)) = descriptor(arguments) else { return };
                let Some(path) = self.below(&path) else { return };
                match name {
                    "pwrite64" => {
                        let offset = arguments.rsplit_once(", ").unwrap().1.parse().unwrap();
                        self.wrote(path, offset, arguments, result);
                    }
                    "write" => {
                        let written = self.wrote(path, process.positions[&number], arguments, result);
                        *process.positions.get_mut(&number).unwrap() += written;
                    }
                    "ftruncate" => {
                        self.push(Event::Resize(path, arguments.rsplit_once(", ").unwrap().1.parse().unwrap()));
                    }
                    "lseek" => drop(process.positions.insert(number, result.parse().unwrap())),
                    "fsync" | "fdatasync" => self.push(Event::Sync(path, begun)),
                    "mmap" => assert!(
                        !arguments.contains("MAP_SHARED") || !arguments.contains("PROT_WRITE"),
                        "{} is written through a mapping, which is not recorded",
                        path.display()
                    ),
                    other => panic!("{other} of {} is not known here", path.display()),
                }
            }
        }
    }

    fn opened(&mut self, name: &str, arguments: &str, result: &str, process: &mut Process) {
        let Some((number, path)) = descriptor(result) else { return };
        let Some(path) = self.below(&path) else { return };
        process.positions.insert(number, 0);
        if (name == "creat" || arguments.contains("O_CREAT")) && !self.disk.has(&path) {
            self.push(Event::Create(path.clone()));
        }
        if name == "creat" || arguments.contains("O_TRUNC") {
            self.push(Event::Resize(path.clone(), 0));
        }
        assert!(!arguments.contains("O_APPEND"), "{}: appending is not recorded", path.display());
    }

    /// Notes the first bytes of a string, as many as were written. Returns their number.
    fn wrote(&mut self, path: PathBuf, offset: u64, arguments: &str, written: &str) -> u64 {
        let written: usize = written.parse().unwrap();
        let bytes = strings(arguments).concat();
        self.push(Event::Write(path, offset, bytes[..written].into()));
        written as u64
    }

    fn push(&mut self, event: Event) {
        self.disk.apply(self.events.len(), &event);
        self.events.push(event);
    }

    /// The kept files that the strings of these arguments name.
    fn named(&self, arguments: &str) -> Vec<PathBuf> {
        let paths = strings(arguments).into_iter().map(|path| String::from_utf8(path).unwrap());
        paths.filter_map(|path| self.below(&path)).collect()
    }

    /// The path below the folder, if it is there and is kept.
    fn below(&self, path: &str) -> Option<PathBuf> {
        // A file that was deleted while it is open is of no use after a cut.
        let path = Path::new(path).strip_prefix(&self.root).ok()?;
        (is_kept(path) && !path.to_string_lossy().ends_with(" (deleted)")).then(|| path.to_owned())
    }

    /// Compares the recorded files with the real ones. What a process was writing when it was killed may be there or not: then it is
    /// as it really is.
    fn compare(&mut self, broken_off: usize) {
        let mut changes = Vec::new();
        let (recorded, real) = (self.disk.files(), files(&self.root));
        assert_eq!(recorded.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>(), "the recorded files");
        for (path, real) in real {
            if recorded[&path] != real {
                changes.push((path, real));
            }
        }
        let paths: Vec<_> = changes.iter().map(|(path, _)| path).collect();
        assert!(paths.len() <= broken_off, "changed by no recorded call: {paths:?}");
        for (path, real) in changes {
            self.push(Event::Resize(path.clone(), real.len() as u64));
            self.push(Event::Write(path, 0, real.into()));
        }
    }
}

/// What is known of a process while its calls are read.
#[derive(Default)]
struct Process {
    /// By thread: the beginning of a call that is not over, and the number of events before it.
    unfinished: HashMap<String, (String, usize)>,
    /// The number of calls during which it was killed.
    broken_off: usize,
    /// By descriptor: where the next `write` goes.
    positions: HashMap<u32, u64>,
}

/// The number and the path of the descriptor that this text begins with: `7</tmp/file>`, with the path in hexadecimal digits.
fn descriptor(text: &str) -> Option<(u32, String)> {
    let at = text.find('<')?;
    let before = &text[..at];
    // That of `mmap` is the fifth argument.
    let number = before.rsplit(' ').next()?.parse().ok()?;
    let path = text[at + 1..].split('>').next()?;
    Some((number, String::from_utf8(unescape(path)).ok()?))
}

/// All strings in this text.
fn strings(text: &str) -> Vec<Vec<u8>> {
    text.split('"').skip(1).step_by(2).map(unescape).collect()
}

/// The bytes of `\x01\x02...`.
fn unescape(text: &str) -> Vec<u8> {
    let digit = |digit: u8| if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 };
    text.as_bytes().chunks_exact(4).map(|escape| digit(escape[2]) << 4 | digit(escape[3])).collect()
}

/// The kept files below a folder, and what is in them.
fn files(root: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (std::collections::BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let relative = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if is_kept(&relative) {
                found.insert(relative, fs::read(&path).unwrap());
            }
        }
    }
    found
}
