//! Copies of checkouts: the same input once more, with a card of its own.

use super::*;
use checkout::CardTokens;
use test_case::test_case;

const CARD: &str =
    r#"{"reason": "the same once more, by phone", "patch": {"payment_info": {"token": "test_success_amex"}}}"#;

impl Api {
    async fn copy(&self, id: TaskId, key: Option<&str>, body: &str) -> ApiAnswer {
        let request = Request::post(format!("/tasks/{id}/copy"));
        let request = key.into_iter().fold(request, |request, key| request.header("Idempotency-Key", key));
        self.send(Some(ARN), request.body(Body::from(body.to_owned())).unwrap()).await
    }
}

#[tokio::test(start_paused = true)]
async fn copy_is_one_new_checkout_for_each_key_and_leaves_the_other_as_it_is() {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.started().await;
    let before = api.show(id).await;
    let answer = api.copy(id, Some("k1"), CARD).await;
    let new: TaskId = answer.body()["task_id"].as_str().unwrap().parse().unwrap();
    let expected = json!({"success": true, "task_id": new, "copy_of": id, "status": "pending"});
    assert_eq!((answer.status, answer.body()), (202, expected.clone()));
    let repeated = api.copy(id, Some("k1"), CARD).await;
    assert_eq!((repeated.status, repeated.body()), (202, expected.clone()));

    let contexts = [id, new].map(|id| api.snapshot(id));
    let [old, copied] = contexts;
    let context = |snapshot: TaskSnapshot| serde_json::from_str::<Value>(&snapshot.task.context).unwrap();
    let (old, copied) = (context(old.await), context(copied.await));
    assert_eq!(copied["cart_items"], old["cart_items"]);
    let token = api.1.kept(new, api.0.now()).await.unwrap().unwrap();
    assert_eq!(token.reveal(), "test_success_amex");
    assert_eq!(api.show(id).await, before, "it is as it was");

    api.0.run(new).await.unwrap();
    assert_eq!(api.show(new).await["status"], "complete");
    api.1.forget(new).await;
    assert_eq!(api.copy(id, Some("k1"), CARD).await.body()["task_id"], json!(new), "whatever became of it");
    assert!(
        api.1.kept(new, api.0.now()).await.unwrap().is_none(),
        "a request that is repeated later brings no token back"
    );
    let other = api.copy(id, Some("k2"), CARD).await.body();
    assert_ne!(other["task_id"], json!(new));
    let another_card = CARD.replace("amex", "mc");
    assert_eq!(api.copy(id, Some("k1"), &another_card).await.status, 409, "the key is another request's");
}

#[test_case(None, CARD, 400, "Invalid Idempotency-Key: it is missing"; "no key")]
#[test_case(Some("k"), r#"{"reason": "w"}"#, 422, r#""path":"/input/payment_info","#; "no card")]
#[test_case(Some("k"), r#"{"patch": {}}"#, 422, r#""path":"/reason""#; "no reason")]
#[test_case(Some("k"), r#"{"reason": "w", "again": true}"#, 422, r#""path":"/again""#; "a field of reruns")]
#[tokio::test(start_paused = true)]
async fn request_that_is_wrong_starts_nothing(key: Option<&str>, body: &str, status: u16, why: &str) {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.started().await;
    let answer = api.copy(id, key, body).await;
    assert_eq!(answer.status, status, "{}", answer.text);
    assert!(answer.text.contains(why), "{}", answer.text);
    assert_eq!(api.get("/tasks").await.body()["tasks"].as_array().unwrap().len(), 1);
}

/// A token whose scope is `tasks.write` alone.
#[test_case("copy"; "as a copy")]
#[test_case("rerun"; "as a rerun")]
#[tokio::test(start_paused = true)]
async fn caller_who_may_act_starts_nothing_without_that_right(act: &str) {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.started().await;
    let caller = Caller { name: ARN.to_owned(), rights: Rights::Mend };
    let request = Request::post(format!("/tasks/{id}/{act}")).header("Idempotency-Key", "k").extension(caller);
    let answer = api.send(None, request.body(Body::from(CARD)).unwrap()).await;
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains("that needs the scope start"), "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn task_that_does_not_exist_has_no_copy() {
    let api = Api::with(checkout::workflow().unwrap());
    assert_eq!(api.copy(UNKNOWN.parse().unwrap(), Some("k"), CARD).await.status, 404);
}
