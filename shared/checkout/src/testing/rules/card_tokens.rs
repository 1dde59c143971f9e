use super::{TestShop, now};
use crate::{CardTokens, Token};
use std::time::Duration;
use stepwell::TaskId;

pub async fn last_token_of_a_task_is_kept_until_it_expires_or_is_deleted<S: TestShop>() {
    let (shop, minute) = (S::with(&[]).await, Duration::from_secs(60));
    let (task, other) = (TaskId::new(), TaskId::new());
    let tokens = shop.tables();
    let kept = async |task, at| tokens.kept(task, at).await.unwrap().map(|token: Token| token.reveal().to_owned());
    assert_eq!(kept(task, now()).await, None);
    tokens.forget(task).await;

    tokens.keep(other, &"tok_other".into(), now() + minute).await.unwrap();
    for token in ["tok_1", "tok_2"] {
        tokens.keep(task, &token.into(), now() + minute).await.unwrap();
        assert_eq!(kept(task, now()).await.as_deref(), Some(token));
    }
    assert_eq!(kept(task, now() + minute).await, None, "it has expired, though the item may be there");
    tokens.forget(task).await;
    assert_eq!(kept(task, now()).await, None);
    assert_eq!(kept(other, now()).await.as_deref(), Some("tok_other"));
    shop.assert_count("card_tokens", 1).await;
}
