use checkout::{Email, MailError, Mailer};
use checkout_local::Outbox;
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use tempfile::TempDir;

fn email(subject: &str) -> Email {
    let text = "Hello,\n\nyour order is 12.00 €.\n".to_owned();
    Email { to: "ann@example.org".parse().unwrap(), subject: subject.to_owned(), text }
}

fn outbox(folder: &Path) -> Outbox {
    Outbox::open(folder, "orders@example.com".parse().unwrap()).unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn email_is_a_file_with_all_headers_that_only_its_owner_reads() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("mail/outbox");
    let id = outbox(&folder).send(&email("Zoë's order\r\nBcc: all@example.com")).await.unwrap();
    let name = format!("{}.eml", id.strip_suffix("@example.com").unwrap());
    assert_eq!(files(&folder), [name.as_str()]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join(&name))), (0o700, 0o600));
    let text = fs::read_to_string(folder.join(name)).unwrap();
    let (headers, body) = text.split_once("\r\n\r\n").unwrap();
    for expected in
        ["From: <orders@example.com>", "To: <ann@example.org>", "MIME-Version: 1.0", &format!("Message-ID: <{id}>")]
    {
        assert!(headers.lines().any(|line| line == expected), "{expected} in {headers}");
    }
    assert!(headers.is_ascii() && headers.contains("\nDate: ") && headers.contains("\nSubject: "), "{headers}");
    assert!(headers.contains("utf-8"), "{headers}");
    assert!(!headers.lines().any(|line| line.starts_with("Bcc")), "{headers}");
    assert!(body.contains("Hello"), "{body}");
}

#[tokio::test]
async fn emails_are_in_the_order_of_time_and_a_folder_that_is_cleared_away_comes_back() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("outbox");
    let outbox = outbox(&folder);
    outbox.send(&email("lost")).await.unwrap();
    fs::remove_dir_all(&folder).unwrap();
    for subject in ["one", "two", "three"] {
        outbox.send(&email(subject)).await.unwrap();
    }
    let texts: Vec<String> = files(&folder).iter().map(|name| fs::read_to_string(folder.join(name)).unwrap()).collect();
    for (text, subject) in texts.iter().zip(["one", "two", "three"]) {
        assert!(text.contains(&format!("Subject: {subject}\r\n")), "{text}");
    }
    assert_eq!(texts.len(), 3);
}

#[tokio::test]
async fn email_that_cannot_be_written_is_worth_a_retry() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("outbox");
    let outbox = outbox(&folder);
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "a file is in the way").unwrap();
    assert!(matches!(outbox.send(&email("one")).await, Err(MailError::Unavailable(_))));
}
