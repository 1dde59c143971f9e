//! Checks that every product of the cart exists, is sold, has the given price and is in stock. Then computes the total.

use checkout::{
    CartItem, Catalogue, CheckoutRequest, ConfigError, InsufficientStock, LineItem, MAX_LINES, MAX_QUANTITY, Money,
    Pricing, Product, ProductId, Shop, ShopCode, Totals, ValidatedCart,
};
use stepwell::{Context, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<ValidateCart<S::Catalogue>, ConfigError> {
    Ok(ValidateCart { catalogue: shop.catalogue()?, pricing: shop.pricing()? })
}

/// Checks a cart against the catalogue and computes its total.
#[derive(Debug)]
pub struct ValidateCart<C> {
    catalogue: C,
    pricing: Pricing,
}

impl<C: Catalogue> Step for ValidateCart<C> {
    type Input = Context<CheckoutRequest>;
    type Output = ValidatedCart;

    async fn run(&self, Context(request): Self::Input, ctx: &StepContext) -> Result<ValidatedCart, StepError> {
        let wanted = wanted(&request.cart_items)?;
        let ids: Vec<ProductId> = wanted.iter().map(|line| line.product_id).collect();
        let products = self.catalogue.products(&ids).await?;
        let validated_items: Vec<LineItem> =
            wanted.iter().map(|line| line.check(products.get(&line.product_id))).collect::<Result<_, _>>()?;

        let item_count = validated_items.iter().map(|line| line.quantity).sum();
        let subtotal = validated_items.iter().try_fold(Money::ZERO, |sum, line| sum.plus(line.line_total));
        let totals = subtotal.and_then(|subtotal| self.pricing.totals(subtotal, item_count)).ok_or_else(too_much)?;
        let Totals { subtotal, tax, shipping, total } = totals;
        Ok(ValidatedCart { validated_items, subtotal, tax, shipping, total, item_count, validated_at: ctx.started_at })
    }
}

/// The units of one product, with the cart lines that ask for them.
struct Wanted<'a> {
    product_id: ProductId,
    quantity: u32,
    items: Vec<&'a CartItem>,
}

/// Groups the cart by product: two lines of one product become one.
fn wanted(cart: &[CartItem]) -> Result<Vec<Wanted<'_>>, StepError> {
    if cart.is_empty() {
        return Err(StepError::new(ShopCode::MissingCartItems, "the cart is empty"));
    }
    if cart.len() > MAX_LINES {
        return Err(StepError::new(ShopCode::InvalidQuantity, format!("the cart has more than {MAX_LINES} lines")));
    }
    let mut wanted: Vec<Wanted> = Vec::with_capacity(cart.len());
    for (index, item) in cart.iter().enumerate() {
        let Some(product_id) = item.product_id else {
            return Err(StepError::new(ShopCode::MissingProductId, format!("cart_items[{index}] names no product")));
        };
        let Some(quantity) = item.quantity.filter(|quantity| (1..=MAX_QUANTITY).contains(quantity)) else {
            let message = format!("cart_items[{index}] needs a whole quantity from 1 to {MAX_QUANTITY}");
            return Err(StepError::new(ShopCode::InvalidQuantity, message));
        };
        match wanted.iter_mut().find(|line| line.product_id == product_id) {
            Some(line) => {
                line.quantity += quantity;
                line.items.push(item);
            }
            None => wanted.push(Wanted { product_id, quantity, items: vec![item] }),
        }
    }
    Ok(wanted)
}

impl Wanted<'_> {
    fn check(&self, product: Option<&Product>) -> Result<LineItem, StepError> {
        let Some(product) = product else {
            return Err(StepError::new(ShopCode::ProductNotFound, format!("there is no product {}", self.product_id)));
        };
        if !product.active {
            return Err(StepError::new(ShopCode::ProductInactive, format!("{} is not sold any more", product.name)));
        }
        let mut prices = self.items.iter().filter_map(|item| item.price.as_ref());
        if prices.any(|price| Money::from_json(price) != Some(product.price)) {
            let message = format!("{} costs {}, which is not the price in the cart", product.name, product.price);
            return Err(StepError::new(ShopCode::PriceMismatch, message));
        }
        if product.stock < self.quantity {
            let (name, available) = (product.name.clone(), product.stock);
            let lack = InsufficientStock { name, available, requested: self.quantity };
            return Err(StepError::new(ShopCode::InsufficientStock, lack.to_string()));
        }
        Ok(LineItem {
            product_id: product.id,
            name: product.name.clone(),
            price: product.price,
            quantity: self.quantity,
            line_total: product.price.times(self.quantity).ok_or_else(too_much)?,
        })
    }
}

fn too_much() -> StepError {
    StepError::new(ShopCode::InvalidQuantity, "the cart comes to more than can be charged")
}
