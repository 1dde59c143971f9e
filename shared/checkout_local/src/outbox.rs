//! The port [`Mailer`] as a folder of files.

use checkout::{Email, EmailAddress, MailError, Mailer};
use mail_builder::MessageBuilder;
use std::{
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use stepwell_local::create_folder;
use uuid::Uuid;

/// Writes each e-mail as a file `ID.eml` to a folder, for a person to read or a program to send. The ids are in the order of time. A
/// file is there as a whole or not at all, and is on the disk when the e-mail counts as sent.
#[derive(Clone, Debug)]
pub struct Outbox {
    folder: PathBuf,
    sender: EmailAddress,
}

impl Outbox {
    /// Makes an outbox with this sender. A folder that is not there is created, for its owner only.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn open(folder: &Path, sender: EmailAddress) -> io::Result<Self> {
        let folder = std::path::absolute(folder)?;
        create_folder(&folder)?;
        Ok(Self { folder, sender })
    }

    fn message(&self, email: &Email, id: &str) -> io::Result<Vec<u8>> {
        let message = MessageBuilder::new().from(self.sender.as_str()).to(email.to.as_str()).message_id(id);
        message.subject(email.subject.as_str()).text_body(email.text.as_str()).write_to_vec()
    }
}

impl Mailer for Outbox {
    async fn send(&self, email: &Email) -> Result<String, MailError> {
        let file = Uuid::now_v7().to_string();
        let domain = self.sender.as_str().rsplit_once('@').map_or("localhost", |(_, domain)| domain);
        let id = format!("{file}@{domain}");
        let message = self.message(email, &id).map_err(|error| MailError::Unknown(error.kind().to_string()))?;
        let folder = self.folder.clone();
        // It waits for the disk.
        let written = tokio::task::spawn_blocking(move || write(&folder, &file, &message)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(folder = %self.folder.display(), %error, "an e-mail could not be written");
            return Err(MailError::Unavailable(error.kind().to_string()));
        }
        tracing::info!(message_id = id, "an e-mail is in the outbox");
        Ok(id)
    }
}

/// Writes the file under another name and renames it when it is whole.
fn write(folder: &Path, name: &str, message: &[u8]) -> io::Result<()> {
    let part = folder.join(format!("{name}.part"));
    let open = || fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
    let written = (|| {
        let mut file = match open() {
            // Somebody may have cleared the folder away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create_folder(folder)?;
                open()?
            }
            opened => opened?,
        };
        file.write_all(message)?;
        file.sync_all()?;
        fs::rename(&part, folder.join(format!("{name}.eml")))
    })();
    if written.is_err() {
        // The first error is the one to report.
        let _ = fs::remove_file(&part);
    }
    written?;
    fs::File::open(folder)?.sync_all()
}
