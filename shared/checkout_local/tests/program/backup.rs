//! Copies of the shop's file, and the shop that goes on from one.

use super::*;
use checkout::reconciliation::{FindingKind, Reconciliation, Scope};
use checkout_local::{GATEWAY_SCHEMA, LocalShop, Outbox, SCHEMA};
use std::{process::Output, time::Duration};
use stepwell::{Client, Runtime, System};
use stepwell_local::Local;

fn backup(data: &Path, copy: &Path) -> Output {
    Command::new(PROGRAM).args(["backup", "--data"]).args([data, copy]).output().unwrap()
}

/// The kinds of what the reconciliation finds in a shop that is stopped, and how many charges stand at the gateway.
pub(crate) async fn reconcile(data: &Path) -> (Vec<FindingKind>, i64) {
    let file = File::open(&data.join("shop.sqlite"), &[stepwell_local::SCHEMA, SCHEMA]).unwrap();
    let gateway = File::open(&data.join("gateway.sqlite"), &[GATEWAY_SCHEMA]).unwrap();
    let charges = "SELECT COUNT(*) FROM payments WHERE value -> 'charge' != 'null'";
    let charges = gateway.read(|tx| Ok(tx.query_row(charges, [], |row| row.get(0))?)).unwrap();
    let outbox = Outbox::open(&data.join("mail"), "orders@example.com".parse().unwrap()).unwrap();
    let shop = LocalShop::new(file.clone(), gateway, outbox);
    let local = Local::new(file, System).await.unwrap();
    let engine = Client::new(local.clone(), local, System);
    let gateway = checkout::Shop::gateway(&shop).unwrap();
    let until = System.now() + Duration::from_secs(60);
    let scope = Scope { mend: false, all_refunds: true, min_age: Duration::ZERO, until };
    let report = Reconciliation::new(shop, gateway, engine).run(&scope).await.unwrap();
    assert_eq!(report.not_judged, []);
    (report.findings.into_iter().map(|finding| finding.kind).collect(), charges)
}

#[tokio::test]
async fn restored_shop_goes_on_from_its_copy_and_finds_the_charges_after_it() {
    let folder = tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy.sqlite"));
    let shop = Shop::start(&data);
    let (_, before) = shop.buy(SUCCESS);
    let waiting = shop.buy_later();
    let copied = backup(&data, &copy);
    let said = String::from_utf8(copied.stdout).unwrap();
    assert_eq!(copied.status.code(), Some(0), "{said}");
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!contains(&copy, "test_rate_limit_visa"), "the copy has the token of a card");
    let written = fs::read(&copy).unwrap();
    let again = backup(&data, &copy);
    assert_eq!(again.status.code(), Some(6));
    assert!(String::from_utf8(again.stderr).unwrap().contains("is there already, and is not written over"));
    assert!(fs::read(&copy).unwrap() == written, "the first copy was changed");

    assert_eq!(shop.retry(&waiting)["status"], "completed");
    let (_, after) = shop.buy(SUCCESS);
    assert_eq!(after["status"], "completed", "{after}");
    // The process dies, and so leaves its log behind.
    drop(shop);
    let file = data.join("shop.sqlite");
    let old = fs::read(&file).unwrap();
    fs::copy(&copy, &file).unwrap();
    let (code, why) = refused(&data, "0");
    assert_eq!(code, Some(6), "{why}");
    assert!(why.contains("shop.sqlite-wal is not the log of"), "{why}");
    assert_eq!(backup(&data, &folder.path().join("mixed")).status.code(), Some(6));
    fs::write(&file, old).unwrap();

    let (_, restore) = said.lines().last().unwrap().split_once("run: ").unwrap();
    let (program, arguments) = restore.split_once(' ').unwrap();
    assert_eq!(program, "checkout_local");
    let run = || Command::new(PROGRAM).args(arguments.split(' ')).output().unwrap();
    let running = Shop::start(&folder.path().join("other"));
    let in_use =
        Command::new(PROGRAM).arg("restore").arg(&copy).arg("--data").arg(folder.path().join("other")).output();
    assert_eq!(in_use.unwrap().status.code(), Some(3), "it was replaced under the shop");
    assert_eq!(running.stop(), Some(0));
    let log = fs::read(data.join("shop.sqlite-wal")).unwrap();
    assert!(!log.is_empty());
    let restored = run();
    assert_eq!(restored.status.code(), Some(0), "{}", String::from_utf8_lossy(&restored.stderr));
    let replaced = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let replaced = replaced.filter(|path| path.to_string_lossy().contains(".replaced-")).collect::<Vec<_>>();
    let [replaced] = replaced.as_slice() else { panic!("{replaced:?}") };
    assert!(fs::read(replaced.join("shop.sqlite-wal")).unwrap() == log, "the log of the replaced shop is lost");
    assert!(File::open(&replaced.join("shop.sqlite"), &[stepwell_local::SCHEMA, SCHEMA]).is_ok());
    let shop = Shop::start(&data);
    let url = |started: &Value| started["checkout_url"].as_str().unwrap().to_owned();
    assert_eq!(shop.look(&url(&before))["order_number"], before["order_number"]);
    let ended = shop.retry(&waiting);
    assert_eq!(ended["status"], "completed", "its card was charged after the copy was made: {ended}");
    assert_eq!(shop.look(&url(&after))["order_number"], Value::Null, "it began after the copy was made");
    let task = after["task_id"].as_str().unwrap();
    assert!(contains(&data.join("log/00000001.jsonl"), task), "the log has not gone back with the shop");
    assert_eq!(shop.stop(), Some(0));
    assert_eq!(reconcile(&data).await, (vec![FindingKind::ChargeWithoutRecord], 3));
}

#[test]
fn shop_that_does_not_run_is_copied_and_nothing_else_is_taken_for_one() {
    let folder = tempdir().unwrap();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy.sqlite"));
    let none = backup(&data, &copy);
    assert_eq!((none.status.code(), copy.exists()), (Some(6), false));
    assert_eq!(Shop::start(&data).stop(), Some(0));
    assert_eq!(backup(&data, &copy).status.code(), Some(0));
    assert!(!data.join("shop.sqlite-wal").exists(), "the copy has left a log beside the file");
    fs::write(data.join("shop.sqlite"), "no database, but a text that is long enough".repeat(99)).unwrap();
    assert_eq!(backup(&data, &folder.path().join("other")).status.code(), Some(4));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the folder and the copy");
}
