//! The deployed shop.

use crate::{GatewaySimulator, SesMailer, Tables};
use checkout::{ConfigError, Pricing, Shop, config};
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
    type PaymentRecords = Tables;
    type CardTokens = Tables;
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

    /// Makes the simulated gateway, on a test stage only: elsewhere anybody could buy goods without paying.
    fn gateway(&self) -> Result<GatewaySimulator, ConfigError> {
        require_test_stage(config::variable(TEST_STAGE).as_deref())?;
        Tables::from_env(&self.config).map(GatewaySimulator::new)
    }

    fn payment_records(&self) -> Result<Tables, ConfigError> {
        Tables::from_env(&self.config)
    }

    fn card_tokens(&self) -> Result<Tables, ConfigError> {
        Tables::from_env(&self.config)
    }

    fn mailer(&self) -> Result<SesMailer, ConfigError> {
        SesMailer::from_env(&self.config)
    }

    fn pricing(&self) -> Result<Pricing, ConfigError> {
        Pricing::from_env()
    }
}

/// The variable that declares a test stage, with the value `true`. The template's parameter `TestStage` sets it.
const TEST_STAGE: &str = "SHOP_TEST_STAGE";

fn require_test_stage(value: Option<&str>) -> Result<(), ConfigError> {
    if value == Some("true") {
        return Ok(());
    }
    let problem = format!(
        "is {}, not `true`: SIMULATED_GATEWAY_REFUSED. The only payment gateway in this build is the simulated one, \
         which takes test cards and moves no money. If this is a test stage, deploy it with infra/deploy.sh \
         --test-stage. If it sells goods, give `AwsShop` a real gateway",
        value.map_or("not set".to_owned(), |value| format!("`{value}`"))
    );
    Err(ConfigError::new(TEST_STAGE, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_gateway_is_refused_unless_the_stage_is_declared_a_test_stage() {
        assert_eq!(require_test_stage(Some("true")), Ok(()));
        for (value, shown) in
            [(None, "not set"), (Some("false"), "`false`"), (Some("TRUE"), "`TRUE`"), (Some("1"), "`1`")]
        {
            let error = require_test_stage(value).unwrap_err().to_string();
            let said =
                format!("environment variable SHOP_TEST_STAGE: is {shown}, not `true`: SIMULATED_GATEWAY_REFUSED");
            assert!(error.starts_with(&said) && error.contains("--test-stage"), "{error}");
        }
    }
}
