//! The factory of the shop's ports.

use crate::{CardTokens, Catalogue, ConfigError, Gateway, Mailer, Orders, PaymentRecords, Pricing, Stock};

/// Makes the shop's ports. A port reads its configuration when a step asks for it. So a function needs the environment
/// of its own ports only, and it fails at its start if that is incomplete.
///
/// # Errors
/// Each method fails where a part of its configuration is missing or cannot be used.
pub trait Shop {
    /// Looks up products.
    type Catalogue: Catalogue + 'static;
    /// Holds units of stock, takes them and gives them back.
    type Stock: Stock + 'static;
    /// Stores orders.
    type Orders: Orders + 'static;
    /// Charges and refunds cards.
    type Gateway: Gateway + 'static;
    /// Records which payment belongs to a checkout.
    type PaymentRecords: PaymentRecords + 'static;
    /// Keeps the tokens of the customers' cards.
    type CardTokens: CardTokens + 'static;
    /// Sends e-mail.
    type Mailer: Mailer + 'static;

    /// Makes the catalogue.
    fn catalogue(&self) -> Result<Self::Catalogue, ConfigError>;

    /// Makes the stock.
    fn stock(&self) -> Result<Self::Stock, ConfigError>;

    /// Makes the orders.
    fn orders(&self) -> Result<Self::Orders, ConfigError>;

    /// Makes the payment gateway.
    fn gateway(&self) -> Result<Self::Gateway, ConfigError>;

    /// Makes the record of payments.
    fn payment_records(&self) -> Result<Self::PaymentRecords, ConfigError>;

    /// Makes the store of the cards' tokens.
    fn card_tokens(&self) -> Result<Self::CardTokens, ConfigError>;

    /// Makes the mailer.
    fn mailer(&self) -> Result<Self::Mailer, ConfigError>;

    /// Reads the rules for tax and shipping.
    fn pricing(&self) -> Result<Pricing, ConfigError>;
}
