//! The shop as a step sees it: what makes the ports.

use crate::{Catalogue, ConfigError, Gateway, Mailer, Orders, Pricing, Stock};

/// Makes the shop's ports. A port is made, and its configuration read, when a step asks for it: so a function needs the
/// environment of its own ports only, and one whose environment is incomplete ends at its start.
///
/// # Errors
/// Each method fails where a part of its configuration is missing or cannot be used.
pub trait Shop {
    /// Looks products up.
    type Catalogue: Catalogue + 'static;
    /// Takes units out of stock and gives them back.
    type Stock: Stock + 'static;
    /// Keeps orders.
    type Orders: Orders + 'static;
    /// Charges cards.
    type Gateway: Gateway + 'static;
    /// Sends mail.
    type Mailer: Mailer + 'static;

    /// Makes the catalogue.
    fn catalogue(&self) -> Result<Self::Catalogue, ConfigError>;

    /// Makes the stock.
    fn stock(&self) -> Result<Self::Stock, ConfigError>;

    /// Makes the orders.
    fn orders(&self) -> Result<Self::Orders, ConfigError>;

    /// Makes the payment gateway.
    fn gateway(&self) -> Result<Self::Gateway, ConfigError>;

    /// Makes the mailer.
    fn mailer(&self) -> Result<Self::Mailer, ConfigError>;

    /// The rules for tax and shipping.
    fn pricing(&self) -> Result<Pricing, ConfigError>;
}
