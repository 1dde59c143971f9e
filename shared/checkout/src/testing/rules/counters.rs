use super::{TestShop, now};
use crate::Counters;
use futures::future::join_all;
use std::{collections::BTreeSet, time::Duration};

pub async fn each_count_of_a_name_has_a_number_of_its_own<S: TestShop>() {
    let shop = S::with(&[]).await;
    let counters = shop.tables();
    let later = now() + Duration::from_secs(60);
    let counted = join_all((0..5).map(|_| counters.count("a", later))).await;
    assert_eq!(counted.into_iter().map(Result::unwrap).collect::<BTreeSet<_>>(), (1..=5).collect());
    assert_eq!(counters.count("b", later).await.unwrap(), 1);
    assert_eq!(counters.count("a", later).await.unwrap(), 6);
}
