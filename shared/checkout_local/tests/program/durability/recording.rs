//! What a running program does to its files, and what it answers, in order.
//!
//! `strace` records it. It stops the program at each system call, so that what one thread does because of another is recorded after it. A
//! change counts from the end of its call, and an answer from the beginning of its call: that is the unfavourable way round.
//!
//! After each process the recorded files are compared with the real ones, so nothing goes unrecorded: no unknown call, and no write
//! through a mapping.

use super::{
    books::Told,
    disk::{Disk, is_kept},
};
use crate::running;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
        let unfinished = process.unfinished.into_values().map(|(call, _)| call);
        let broken_off: Vec<String> = process.broken_off.into_iter().chain(unfinished).collect();
        let written = broken_off.iter().filter_map(|call| self.break_off(call)).collect();
        self.compare(&written);
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
                process.broken_off.push(call.to_owned());
                return;
            }
            _ => {}
        }
        if let Some(event) = self.naming(name, arguments) {
            self.push(event);
        }
        match name {
            "open" | "openat" | "creat" => self.opened(name, arguments, result, process),
            // They do no more than that.
            "mkdir" | "mkdirat" | "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" => {}
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

    /// What a call does to the names of kept files, if it succeeds.
    fn naming(&self, name: &str, arguments: &str) -> Option<Event> {
        let named = || self.named(arguments).into_iter();
        match name {
            "mkdir" | "mkdirat" => named().next().map(Event::CreateFolder),
            "rename" | "renameat" | "renameat2" => {
                let mut named = named();
                Some(Event::Rename(named.next()?, named.next()?))
            }
            "unlink" | "unlinkat" => named().next().map(Event::Delete),
            "open" | "openat" | "creat" if name == "creat" || arguments.contains("O_CREAT") => {
                named().next().filter(|path| !self.disk.has(path)).map(Event::Create)
            }
            _ => None,
        }
    }

    /// Notes what a call during which the process was killed has done to names, as they really are. Returns the file whose content it
    /// may have changed.
    fn break_off(&mut self, call: &str) -> Option<PathBuf> {
        let (name, arguments) = call.split_once('(')?;
        let Some(event) = self.naming(name, arguments) else {
            let (_, path) = descriptor(arguments)?;
            return self.below(&path);
        };
        if let Event::Create(path) | Event::CreateFolder(path) | Event::Delete(path) | Event::Rename(path, _) = &event
            && self.disk.has(path) != self.root.join(path).exists()
        {
            self.push(event);
        }
        None
    }

    fn opened(&mut self, name: &str, arguments: &str, result: &str, process: &mut Process) {
        let Some((number, path)) = descriptor(result) else { return };
        let Some(path) = self.below(&path) else { return };
        process.positions.insert(number, 0);
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

    /// Compares the recorded files with the real ones. What was being written when the process was killed may be there or not: then it
    /// is as it really is.
    fn compare(&mut self, written: &BTreeSet<PathBuf>) {
        let (recorded, real) = (self.disk.files(), files(&self.root));
        assert_eq!(recorded.keys().collect::<Vec<_>>(), real.keys().collect::<Vec<_>>(), "the recorded files");
        let changed: Vec<_> = real.into_iter().filter(|(path, real)| recorded[path] != real).collect();
        for (path, real) in changed {
            assert!(written.contains(&path), "{} was changed by no recorded call", path.display());
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
    /// The calls during which it was killed.
    broken_off: Vec<String>,
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
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![root.to_owned()]);
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

/// Records a process that has made the file `a` with `old` in it and was then killed during `call`, after which there are these files.
/// Returns the events after that, or what the recording finds fault with.
fn recorded(call: &str, real: &[(&str, &str)]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap().join("root");
    fs::create_dir(&root).unwrap();
    let escape = |text: &str| text.bytes().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let path = |name: &str| escape(root.join(name).to_str().unwrap());
    for (name, text) in real {
        fs::write(root.join(name), text).unwrap();
    }
    let call = call.replace("$a", &path("a")).replace("$b", &path("b")).replace("$new", &escape("new"));
    let [a, old] = [path("a"), escape("old")];
    let trace = folder.path().join("trace");
    let made =
        format!("7 openat(AT_FDCWD, \"{a}\", O_RDWR|O_CREAT, 0600) = 3<{a}>\n7 write(3<{a}>, \"{old}\", 3) = 3\n");
    fs::write(&trace, format!("{made}{call}\n7 +++ killed by SIGKILL +++\n")).unwrap();
    let read = std::panic::AssertUnwindSafe(|| {
        let mut recording = Recording::new(&root);
        recording.add(&trace);
        recording.events[2..].iter().map(|event| format!("{event:?}")).collect::<Vec<_>>().join(", ")
    });
    std::panic::catch_unwind(read).map_err(|fault| *fault.downcast::<String>().unwrap())
}

#[test]
fn call_that_the_kill_breaks_off_counts_as_far_as_it_has_come() {
    let (old, new) = (("a", "old"), ("a", "new"));
    let written = r#"Resize("a", 3), Write("a", 0, [110, 101, 119])"#;
    for (call, real, expected) in [
        (r#"7 rename("$a", "$b" <unfinished ...>"#, [("b", "old")].as_slice(), r#"Rename("a", "b")"#),
        (r#"7 rename("$a", "$b" <unfinished ...>) = ?"#, &[("b", "old")], r#"Rename("a", "b")"#),
        (r#"7 rename("$a", "$b" <unfinished ...>"#, &[old], ""),
        (r#"7 unlink("$a") = ?"#, &[], r#"Delete("a")"#),
        (r#"7 unlink("$a") = ?"#, &[old], ""),
        (r#"7 openat(AT_FDCWD, "$b", O_RDWR|O_CREAT, 0600 <unfinished ...>"#, &[old, ("b", "")], r#"Create("b")"#),
        (r#"7 openat(AT_FDCWD, "$b", O_RDWR|O_CREAT, 0600) = ?"#, &[old], ""),
        (r#"7 pwrite64(3<$a>, "$new", 3, 0 <unfinished ...>"#, &[new], written),
        (r#"7 write(3<$a>, "$new", 3) = ?"#, &[old], ""),
    ] {
        assert_eq!(recorded(call, real).as_deref(), Ok(expected), "{call} {real:?}");
    }
}

#[test]
fn what_no_recorded_call_has_done_is_found() {
    for (call, real, expected) in [
        (r#"7 fsync(3<$b>) = ?"#, [("a", "new")].as_slice(), "a was changed by no recorded call"),
        (r#"7 unlink("$b") = ?"#, &[("a", "new")], "a was changed by no recorded call"),
        (r#"7 write(3<$a>, "$new", 3) = ?"#, &[], "the recorded files"),
        (r#"7 write(3<$a>, "$new", 3) = ?"#, &[("a", "old"), ("b", "")], "the recorded files"),
    ] {
        let fault = recorded(call, real).unwrap_err();
        assert!(fault.contains(expected), "{call} {real:?}: {fault}");
    }
}
