//! The deployed shop.

use crate::{GatewaySimulator, SesMailer, Tables};
use checkout::{ConfigError, Pricing, Shop};
use stepwell_aws::SdkConfig;

/// The shop on DynamoDB and SES, configured by environment variables.
#[derive(Clone, Debug)]
pub struct AwsShop {
    config: SdkConfig,
}

impl AwsShop {
    /// Makes the shop. Each port reads its environment variables when it is made.
    pub fn from_env(config: &SdkConfig) -> Self {
        Self { config: config.clone() }
    }
}

impl Shop for AwsShop {
    type Catalogue = Tables;
    type Stock = Tables;
    type Orders = Tables;
    type Gateway = GatewaySimulator;
    type Mailer = SesMailer;

    fn catalogue(&self) -> Result<Tables, ConfigError> {
        Tables::from_env(&self.config)
    }

    fn stock(&self) -> Result<Tables, ConfigError> {
        Tables::from_env(&self.config)
    }

    fn orders(&self) -> Result<Tables, ConfigError> {
        Tables::from_env(&self.config)
    }

    fn gateway(&self) -> Result<GatewaySimulator, ConfigError> {
        Tables::from_env(&self.config).map(GatewaySimulator::new)
    }

    fn mailer(&self) -> Result<SesMailer, ConfigError> {
        SesMailer::from_env(&self.config)
    }

    fn pricing(&self) -> Result<Pricing, ConfigError> {
        Pricing::from_env()
    }
}
