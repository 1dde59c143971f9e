//! A full disk, and one that cannot be written.
//!
//! Each test has a disk of its own in memory, in a namespace of mounts. That needs root, or a kernel that lets everybody have namespaces.

use super::*;
use std::{fs::OpenOptions, path::PathBuf, process::ChildStdout};
use tempfile::TempDir;

/// A small disk. It is gone with the value.
struct Disk {
    /// Keeps the namespace.
    keeper: Child,
    _ready: ChildStdout,
    folder: TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempdir().unwrap();
        let mount = "mount -t tmpfs -o size=16m none \"$1\" && echo ready && exec cat";
        let mut keeper = Command::new("unshare")
            .args(["-rm", "sh", "-c", mount, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = keeper.stdout.take().unwrap();
        let mut said = [0; 6];
        ready.read_exact(&mut said).expect("unshare makes a namespace, in which a disk is mounted");
        Self { keeper, _ready: ready, folder }
    }

    /// The folder of the data, as the program sees it.
    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A command that sees the disk.
    fn run(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--preserve-credentials", "-U", "-m", "-t", &self.keeper.id().to_string(), program]);
        command
    }

    fn serve(&self) -> Command {
        serve(self.run(PROGRAM), &self.data(), "0")
    }

    /// A path on the disk, as this test sees it.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(path.strip_prefix("/").unwrap())
    }

    /// Leaves this many bytes free.
    fn fill(&self, but: usize) {
        let path = self.path("filling");
        let mut filling = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        while filling.write_all(&[0; 4096]).is_ok() {}
        let size = filling.metadata().unwrap().len();
        filling.set_len(size - u64::try_from(but).unwrap()).unwrap();
    }

    fn free(&self) {
        fs::remove_file(self.path("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

#[test]
fn start_on_a_full_disk_ends_with_its_exit_code_and_leaves_nothing_half_done() {
    let disk = Disk::new();
    let mut started = Vec::new();
    // The space is used up at each point of the first start, one after the other.
    for pages in (0..64).chain([512]) {
        disk.fill(pages * 4096);
        let mut process = disk.serve().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(process.stdout.take().unwrap()).lines().next();
        started.push(line.is_some());
        if line.is_some() {
            process.kill().unwrap();
            process.wait().unwrap();
        } else {
            let output = process.wait_with_output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(8), "with {pages} pages: {said}");
            let last = said.lines().last().unwrap_or_default();
            let why = ["no storage space", "is full", "No space left", "no space, memory or lock"];
            assert!(why.iter().any(|why| last.contains(why)), "{said}");
        }
        disk.free();
        let again = Shop::start_by(&mut disk.serve());
        assert_eq!(again.stop(), Some(0), "with {pages} pages at the first start");
        fs::remove_dir_all(disk.path("data")).unwrap();
    }
    assert_eq!((started.first(), started.last()), (Some(&false), Some(&true)), "{started:?}");
}

#[test]
fn checkouts_are_refused_while_the_disk_is_full_and_go_on_when_there_is_space_again() {
    let disk = Disk::new();
    let shop = Shop::start_by(&mut disk.serve());
    let (_, before) = shop.buy(SUCCESS);
    assert_eq!(before["status"], "completed", "{before}");
    let waiting = shop.buy_later();
    disk.fill(0);
    let headers = format!("{HOST}Idempotency-Key: one-and-the-same\r\n");
    let buy = || ask(&shop.customers, "POST /checkout?wait=20", &headers, SUCCESS);
    for _ in 0..3 {
        let (status, refused) = buy();
        assert_eq!(status, 503, "{refused}");
    }
    assert_eq!(shop.look(&waiting)["status"], "processing", "what is stored can be read");
    disk.free();
    let (status, after) = buy();
    assert_eq!((status, &after["status"]), (202, &Value::from("completed")), "{after}");
    assert_eq!(shop.retry(&waiting)["status"], "completed");
    assert_eq!(shop.stop(), Some(0));

    let shop = Shop::start_by(&mut disk.serve());
    let numbers = |shop: &Shop| {
        let urls = [&before, &after].map(|started| started["checkout_url"].as_str().unwrap());
        urls.map(|url| shop.look(url)["order_number"].clone())
    };
    assert_eq!(numbers(&shop), [&before, &after].map(|started| started["order_number"].clone()));
    assert_eq!(shop.stop(), Some(0));
    assert_eq!(fs::read_dir(disk.path("data/mail")).unwrap().count(), 3, "a confirmation for each order");
    let log = fs::read_to_string(disk.path("data/log/00000001.jsonl")).unwrap();
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let ended =
        |of: &Value| lines.iter().any(|line| line["message"] == "task completed" && line["task_id"] == of["task_id"]);
    assert!(ended(&before) && ended(&after), "the log has lines from before and after: {log}");
}

#[tokio::test]
async fn checkout_that_was_accepted_before_the_disk_was_full_is_finished_once_there_is_space() {
    let disk = Disk::new();
    let shop = Shop::start_by(disk.serve().args(["--checkouts-per-email", "0"]));
    let mut accepted = Vec::new();
    // The space is used up at one or the other commit of a checkout.
    for pages in (0..64).step_by(8) {
        disk.fill(pages * 4096);
        let (status, started) = ask(&shop.customers, "POST /checkout", HOST, SUCCESS);
        if status == 202 {
            let url = started["checkout_url"].as_str().unwrap().to_owned();
            // As far as it comes.
            let ended = shop.look(&format!("{url}&wait=1"))["status"] == "completed";
            accepted.push((pages, ended, url));
        } else {
            assert_eq!(status, 503, "with {pages} pages: {started}");
        }
        disk.free();
    }
    assert!(accepted.iter().any(|(_, ended, _)| !ended), "the disk was full amid none of them: {accepted:?}");
    for (_, _, url) in &accepted {
        until("the checkout ends", || shop.look(&format!("{url}&wait=20"))["status"] != "processing");
        assert_eq!(shop.look(url)["status"], "completed");
    }
    assert_eq!(shop.stop(), Some(0));
    let charges = i64::try_from(accepted.len()).unwrap();
    // SQLite finds no file by the path that leads into the namespace.
    let data = tempdir().unwrap();
    for file in ["shop.sqlite", "gateway.sqlite"] {
        fs::copy(disk.path("data").join(file), data.path().join(file)).unwrap();
    }
    assert_eq!(backup::reconcile(data.path()).await, (vec![], charges));
}

#[test]
fn copy_without_enough_space_is_not_left_half_made() {
    let disk = Disk::new();
    assert_eq!(Shop::start_by(&mut disk.serve()).stop(), Some(0));
    disk.fill(8 * 4096);
    let copy = disk.folder.path().join("copy");
    let output = disk.run(PROGRAM).args(["backup", "--data"]).args([&disk.data(), &copy]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("/copy cannot be written: no storage space"), "{said}");
    let mut left: Vec<_> = fs::read_dir(disk.path("")).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["data", "filling"]);
}

#[test]
fn folder_that_cannot_be_written_is_refused_and_left_as_it_is() {
    let disk = Disk::new();
    let shop = Shop::start_by(&mut disk.serve());
    let (_, bought) = shop.buy(SUCCESS);
    assert_eq!(shop.stop(), Some(0));
    let remount = |how: &str| {
        let mounted = disk.run("mount").args(["-o", how]).arg(disk.folder.path()).status().unwrap();
        assert!(mounted.success());
    };
    remount("remount,ro");
    let (code, said) = refused_by(&mut disk.serve());
    assert_eq!(code, Some(6), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    remount("remount,rw");
    let shop = Shop::start_by(&mut disk.serve());
    let found = shop.look(bought["checkout_url"].as_str().unwrap());
    assert_eq!(found["order_number"], bought["order_number"]);
    assert_eq!(shop.stop(), Some(0));
}
