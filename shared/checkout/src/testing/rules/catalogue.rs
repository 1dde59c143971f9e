use super::TestShop;
use crate::{Catalogue, Money, Product, ProductId, Storefront};

pub async fn products_are_read_by_number_and_all_together<S: TestShop>() {
    let shop = S::with(&[(2, "Chair", 1000, 0, false), (1, "Lamp", 4398, 7, true), (3, "Desk", 20_000, 1, true)]).await;
    let all = shop.tables().all_products().await.unwrap();
    assert_eq!(all.iter().map(|product| product.id.0).collect::<Vec<_>>(), [1, 2, 3]);

    let some = shop.tables().products(&[ProductId(1), ProductId(2), ProductId(9)]).await.unwrap();
    let lamp =
        Product { id: ProductId(1), name: "Lamp".to_owned(), price: Money::from_cents(4398), stock: 7, active: true };
    assert_eq!(some.get(&ProductId(1)), Some(&lamp));
    assert_eq!(some.get(&ProductId(2)).map(|chair| chair.active), Some(false));
    assert_eq!(some.len(), 2, "missing products are left out");
}
