//! Compares what the engine writes today with the golden fixtures. See `stepwell_tests::golden`.

use stepwell_tests::{
    emulator::in_sandbox,
    golden::{compare_items, write_all},
};

#[tokio::test]
async fn items_are_written_as_version_1_wrote_them() {
    in_sandbox(&[], async |sandbox| {
        for (name, partition) in write_all(&sandbox.table).await {
            compare_items(name, sandbox.partition(&partition).await);
        }
    })
    .await;
}
