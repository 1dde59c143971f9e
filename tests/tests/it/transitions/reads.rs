//! What the table answers when it is asked.

use super::*;
use stepwell::core::{history::Loaded, limits::MAX_RESULT_BYTES, plan::Plan};
use stepwell_tests::emulator::in_sandbox;

#[tokio::test]
async fn a_load_answers_for_every_step_that_was_asked_for() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(3)).await;
        sandbox.put(&step_item(id, &name(0), StepState::Complete)).await;
        sandbox.put(&step_item(id, &name(1), StepState::Retrying)).await;

        let Loaded { task, steps } = sandbox.table.load(id, &BTreeSet::from(["s00", "s02"])).await.unwrap();
        assert_eq!(task.unwrap().plan, *Graph::chain(3).workflow().plan());
        assert_eq!(steps.keys().collect::<Vec<_>>(), ["s00", "s02"]);
        assert_eq!((steps["s00"].state, steps["s00"].result.as_deref()), (StepState::Complete, Some("{}")));
        assert_eq!(steps["s02"], StepRecord::untouched("s02"));

        let Loaded { task, steps } = sandbox.table.load_all(id).await.unwrap();
        assert!(task.is_some());
        assert_eq!(steps.keys().collect::<Vec<_>>(), ["s00", "s01"]);

        let Loaded { task, steps } = sandbox.table.load(TaskId::new(), &BTreeSet::from(["s00"])).await.unwrap();
        assert_eq!((task, &steps["s00"]), (None, &StepRecord::untouched("s00")));
    })
    .await;
}

#[tokio::test]
async fn a_load_of_more_than_a_batch_is_complete() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(100)).await;
        let names = Graph::chain(100).names();
        for name in &names {
            sandbox.put(&step_item(id, name, StepState::Complete)).await;
        }
        // With the task itself that is one more than DynamoDB reads at a time.
        let loaded = sandbox.table.load(id, &names.iter().map(String::as_str).collect()).await.unwrap();
        assert!(loaded.task.is_some());
        assert_eq!(loaded.steps.len(), 100);
        assert!(loaded.steps.values().all(|step| step.state == StepState::Complete), "{:?}", loaded.steps);
    })
    .await;
}

/// A query's page, and a batch's answer, ends at a megabyte and at sixteen.
#[tokio::test]
async fn large_results_are_read_page_by_page() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(8)).await;
        let names = Graph::chain(8).names();
        for name in &names {
            let mut item = step_item(id, name, StepState::Complete);
            item["result"] = json!("r".repeat(MAX_RESULT_BYTES));
            sandbox.put(&item).await;
        }
        for loaded in [
            sandbox.table.load_all(id).await.unwrap(),
            sandbox.table.load(id, &names.iter().map(String::as_str).collect()).await.unwrap(),
        ] {
            assert!(loaded.task.is_some());
            assert_eq!(loaded.steps.len(), 8);
            assert!(loaded.steps.values().all(|step| step.result.as_ref().unwrap().len() == MAX_RESULT_BYTES));
        }
    })
    .await;
}

/// The largest result fits into the item of a step that all others had to arrive at, after as many of the most talkative
/// failures as its audit trail takes.
#[tokio::test]
async fn the_largest_result_fits() {
    in_sandbox(&[], async |sandbox| {
        let wordy = Failure { code: "C".repeat(100), message: "M".repeat(Failure::MAX_MESSAGE_BYTES) };
        let mut record = StepRecord::untouched(&"s".repeat(Plan::MAX_NAME_LENGTH));
        while record.has_room_for(0) {
            record.attempts.push(AttemptRecord {
                error: Some(wordy.clone()),
                next_retry_at: Some(NOW),
                request_id: "r".repeat(36),
                ..entry(2, Outcome::RetryableError)
            });
        }
        // The last that it has room for is the one that succeeds.
        record.attempts.pop();
        assert!(record.attempts.len() > 100, "{}", record.attempts.len());

        let id = start(sandbox, &Graph::chain(1)).await;
        let mut item = step_item(id, &record.name, StepState::InProgress);
        let others: Vec<String> = (1..Plan::MAX_STEPS).map(|step| format!("{step:0>48}")).collect();
        merge(&mut item, json!({ "attempts": record.attempts, "done_deps": others }));
        sandbox.put(&item).await;
        let result = "r".repeat(MAX_RESULT_BYTES);
        let ended = entry(2, Outcome::Complete);
        let complete = step::complete(&lease(id, &record.name, 2), &ended, &result);
        assert!(written(sandbox, &complete).await);
        let step = step_record(sandbox, id, &record.name).await;
        assert_eq!((step.result, step.attempts.len()), (Some(result), record.attempts.len() + 1));
    })
    .await;
}

#[tokio::test]
async fn what_this_engine_did_not_write_is_named_and_not_guessed_at() {
    in_sandbox(&[], async |sandbox| {
        let id = start(sandbox, &Graph::chain(2)).await;
        let good = sandbox.task_item(id).await;
        let wrong = [
            json!({ "status": "no such status" }),
            json!({ "plan": r#"[{"n":"a","d":["b"],"l":1,"t":1}]"# }),
            json!({ "plan": "not JSON" }),
            json!({ "created_at": "yesterday" }),
        ];
        for change in wrong {
            let mut item = good.clone();
            merge(&mut item, change.clone());
            sandbox.put(&item).await;
            let error = sandbox.table.load(id, &BTreeSet::new()).await.unwrap_err().to_string();
            assert!(error.starts_with(&format!("the item TASK#{id} / TASK cannot be read: ")), "{change}: {error}");
        }
    })
    .await;
}
