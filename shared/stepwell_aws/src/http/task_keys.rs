//! The secrets of the stage's task keys, in Secrets Manager.

use crate::{SdkConfig, ServeError, error::call_failed, required_env};
use aws_sdk_secretsmanager::Client;
use http_api::TaskKeys;

/// Reads the secret that `STEPWELL_TASK_KEYS` names. Its version with the staging label `AWSCURRENT` makes all keys; those
/// with `AWSPENDING` and `AWSPREVIOUS`, where there are any, are accepted as well. So the secret is rotated as Secrets Manager
/// has it, see `SECURITY.md`.
///
/// # Errors
/// The variable is not set, the secret cannot be read, or it is too short.
pub async fn task_keys_from_env(config: &SdkConfig) -> Result<TaskKeys, ServeError> {
    let (client, id) = (Client::new(config), required_env("STEPWELL_TASK_KEYS")?);
    let (current, pending, previous) = tokio::try_join!(
        version(&client, &id, "AWSCURRENT"),
        version(&client, &id, "AWSPENDING"),
        version(&client, &id, "AWSPREVIOUS"),
    )?;
    let current =
        current.ok_or_else(|| format!("the secret {id} has no current text; give it one of 32 characters or more"))?;
    Ok(TaskKeys::new(current, [pending, previous].into_iter().flatten())?)
}

/// The text of the version with this staging label; `None` if no version has it.
async fn version(client: &Client, id: &str, label: &str) -> Result<Option<String>, ServeError> {
    let answer = client.get_secret_value().secret_id(id).version_stage(label).send().await;
    match answer {
        Ok(version) => Ok(version.secret_string),
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_not_found_exception()) => Ok(None),
        Err(error) => Err(call_failed("GetSecretValue", error).into()),
    }
}
