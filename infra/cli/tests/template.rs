//! Rules of the rendered template that cfn-lint does not have.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use stepwell_cli::{Project, render, template::Template};

fn template() -> Template {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
    render::render(&Project::read(&root).unwrap()).unwrap().1
}

/// The resources of a kind with their logical ids; at least one.
fn of_kind<'a>(template: &'a Template, kind: &str) -> Vec<(&'a str, &'a Value)> {
    let resources = template.value()["Resources"].as_object().unwrap();
    let found: Vec<_> =
        resources.iter().filter(|(_, resource)| resource["Type"] == kind).map(|(id, it)| (id.as_str(), it)).collect();
    assert!(!found.is_empty(), "there is a {kind}");
    found
}

#[test]
fn template_is_plain_cloudformation_with_the_policies_inside_the_roles() {
    let template = template();
    for section in ["Transform", "Mappings"] {
        assert_eq!(template.value().get(section), None);
    }
    assert!(!template.value().to_string().contains("Fn::ForEach"));
    assert_eq!(template.of_kind("AWS::IAM::Policy").count(), 0);
    let resources = template.value()["Resources"].as_object().unwrap();
    assert!(resources.values().all(|resource| resource.get("DependsOn").is_none()));
    // A role with an explicit name would need the capability CAPABILITY_NAMED_IAM.
    assert!(of_kind(&template, "AWS::IAM::Role").iter().all(|(_, role)| role["Properties"].get("RoleName").is_none()));
}

#[test]
fn tables_outlive_the_stack_and_are_protected_by_default() {
    let template = template();
    let tables = of_kind(&template, "AWS::DynamoDB::Table");
    assert_eq!(tables.len(), 7);
    // Tokens of cards are to be kept nowhere longer than they have to, and nobody misses a counter: these tables go with their stack,
    // and have no backups.
    let goes = |id: &str| matches!(id, "CardTokensTable" | "CountersTable");
    let (fleeting, lasting): (Vec<_>, Vec<_>) = tables.into_iter().partition(|(id, _)| goes(id));
    assert_eq!(fleeting.len(), 2);
    for (_, table) in fleeting {
        let backups = table["Properties"].get("PointInTimeRecoverySpecification");
        assert_eq!((table.get("DeletionPolicy"), backups), (None, None));
        assert_eq!(table["Properties"]["TimeToLiveSpecification"]["AttributeName"], "expires_at");
    }
    for (id, table) in lasting {
        assert!(table["Properties"].get("DeletionProtectionEnabled").is_some(), "{id}");
        assert_eq!(table["DeletionPolicy"], "RetainExceptOnCreate", "{id}");
    }
    assert_eq!(template.value()["Parameters"]["ProtectTables"]["Default"], "true");
}

/// The metrics of log lines are made by the lines themselves: a filter beside them would be a second rule.
#[test]
fn every_function_makes_its_metrics_in_the_namespace_of_the_stack() {
    let template = template();
    assert_eq!(template.of_kind("AWS::Logs::MetricFilter").count(), 0);
    for (id, function) in of_kind(&template, "AWS::Lambda::Function") {
        let namespace = &function["Properties"]["Environment"]["Variables"]["STEPWELL_METRICS"];
        assert_eq!(namespace["Fn::Sub"], "stepwell-${Stage}", "{id}");
    }
}

/// One parameter turns all of it on. Otherwise there is no layer, and a function makes no span.
#[test]
fn every_function_has_the_collector_of_spans_where_one_is_named() {
    let template = template();
    let only_if = |condition: &str, value: Value| json!({"Fn::If": [condition, value, {"Ref": "AWS::NoValue"}]});
    for (id, function) in of_kind(&template, "AWS::Lambda::Function") {
        let properties = &function["Properties"];
        let variable = |name: &str| &properties["Environment"]["Variables"][name];
        assert_eq!(properties["Layers"], only_if("SpansAreCollected", json!([{"Ref": "CollectorLayer"}])), "{id}");
        let endpoint = only_if("SpansAreCollected", json!("http://127.0.0.1:4318"));
        assert_eq!(variable("OTEL_EXPORTER_OTLP_ENDPOINT"), &endpoint, "{id}");
        let config = only_if("SpansAreCollected", json!({"Ref": "CollectorConfig"}));
        assert_eq!(variable("OPENTELEMETRY_COLLECTOR_CONFIG_URI"), &config, "{id}");
        let role = &template.value()["Resources"][properties["Role"]["Fn::GetAtt"][0].as_str().unwrap()]["Properties"];
        assert_eq!(
            role["ManagedPolicyArns"],
            only_if("CollectorHasRights", json!([{"Ref": "CollectorPolicy"}])),
            "{id}"
        );
    }
}

#[test]
fn failed_scheduled_run_is_not_repeated_and_a_missing_one_is_alarmed() {
    let template = template();
    let resources = &template.value()["Resources"];
    let scheduled = of_kind(&template, "AWS::Events::Rule");
    assert_eq!(scheduled.len(), 3, "the watchdog, the timer feeder and the reconciliation");
    for (rule, schedule) in scheduled {
        let id = rule.strip_suffix("Schedule").unwrap();
        let function = format!("{id}Function");
        let invocations = &resources[format!("{id}Invocations")]["Properties"];
        assert_eq!(invocations["FunctionName"]["Ref"], *function);
        assert_eq!(
            (&invocations["MaximumRetryAttempts"], &invocations["MaximumEventAgeInSeconds"]),
            (&0.into(), &60.into())
        );
        let target = &schedule["Properties"]["Targets"][0];
        assert_eq!(target["Arn"]["Fn::GetAtt"][0], *function);
        assert_eq!(target["RetryPolicy"], json!({"MaximumRetryAttempts": 0, "MaximumEventAgeInSeconds": 60}));
        let alarm = |kind: &str| &resources[format!("{id}{kind}Alarm")]["Properties"];
        for (kind, metric) in [("NotRunning", "Invocations"), ("Failed", "Errors")] {
            let of = &alarm(kind)["Metrics"][1]["MetricStat"]["Metric"];
            let of_function = (&of["Dimensions"][0]["Value"]["Ref"], &of["MetricName"]);
            assert_eq!(of_function, (&json!(function), &json!(metric)));
        }
        let not_running = alarm("NotRunning");
        assert_eq!(
            (&not_running["Threshold"], &not_running["TreatMissingData"]),
            (&json!(1), &json!("breaching")),
            "no data is no run"
        );
        assert_eq!(alarm("Behind")["DatapointsToAlarm"], 2);
    }
}

#[test]
fn topic_of_the_alarms_gets_a_test_each_week_where_there_is_one() {
    let template = template();
    let [test, role] = ["AlarmTest", "AlarmTestRole"].map(|id| &template.value()["Resources"][id]);
    for resource in [test, role] {
        assert_eq!(resource["Condition"], "SomebodyIsCalled");
    }
    let (test, role) = (&test["Properties"], &role["Properties"]);
    assert_eq!(
        (&test["ScheduleExpression"], &test["FlexibleTimeWindow"]["Mode"]),
        (&json!("cron(0 9 ? * MON *)"), &json!("OFF"))
    );
    let set_state = json!({"Fn::Sub": "arn:${AWS::Partition}:scheduler:::aws-sdk:cloudwatch:setAlarmState"});
    assert_eq!(test["Target"]["Arn"], set_state);
    let input: Value = serde_json::from_str(test["Target"]["Input"]["Fn::Sub"].as_str().unwrap()).unwrap();
    assert_eq!((&input["AlarmName"], &input["StateValue"]), (&json!("${TestAlarm}"), &json!("ALARM")));
    let notified = json!({"Fn::If": ["SomebodyIsCalled", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]});
    for (id, alarm) in of_kind(&template, "AWS::CloudWatch::Alarm") {
        assert_eq!(alarm["Properties"]["AlarmActions"], notified, "{id} notifies as the test does");
    }
    assert_eq!(test["Target"]["RoleArn"], json!({"Fn::GetAtt": ["AlarmTestRole", "Arn"]}));
    let alarm =
        json!({"Fn::Sub": "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:alarm:${TestAlarm}"});
    let allowed = json!([{"Effect": "Allow", "Action": "cloudwatch:SetAlarmState", "Resource": alarm}]);
    assert_eq!(role["Policies"][0]["PolicyDocument"]["Statement"], allowed);
}

/// A route without an authorizer leads to the customers' API, never to the operators'.
#[test]
fn routes_of_the_operators_api_know_their_caller() {
    let template = template();
    for (id, route) in of_kind(&template, "AWS::ApiGatewayV2::Route") {
        let properties = &route["Properties"];
        let of_tasks = properties["Target"] == json!({"Fn::Sub": "integrations/${TasksIntegration}"});
        assert_eq!(properties.get("AuthorizationType").is_some(), of_tasks, "{id}");
        // Without a scope a token that is no access token would do.
        assert_eq!(properties.get("AuthorizationScopes").is_some(), of_tasks, "{id}");
    }
}

#[test]
fn nothing_of_the_console_exists_unless_it_is_asked_for() {
    let template = template();
    assert_eq!(template.value()["Parameters"]["ConsoleDomain"]["Default"], "");
    for section in ["Resources", "Outputs"] {
        let of_console =
            template.value()[section].as_object().unwrap().iter().filter(|(id, _)| id.starts_with("Console"));
        let of_console: Vec<_> = of_console.collect();
        assert!(!of_console.is_empty(), "{section}");
        for (id, it) in of_console {
            assert_eq!(it["Condition"], "ConsoleIsOpen", "{id}");
        }
    }
    for (id, it) in template.value()["Resources"].as_object().unwrap() {
        let is_cognito = it["Type"].as_str().unwrap().starts_with("AWS::Cognito::");
        assert!(!is_cognito || id.starts_with("Console"), "{id}");
    }
}

#[test]
fn people_of_the_console_are_made_by_an_administrator_and_log_in_by_the_code_flow_alone() {
    let template = template();
    let named = |id: &str| &template.value()["Resources"][id]["Properties"];
    let people = named("ConsolePeople");
    let made = &people["AdminCreateUserConfig"];
    assert_eq!(made["AllowAdminCreateUserOnly"], true);
    let invitation = made["InviteMessageTemplate"]["EmailMessage"]["Fn::Sub"].as_str().unwrap();
    assert!(invitation.contains("{username}") && invitation.contains("{####}"), "Cognito fills both in: {invitation}");
    assert_eq!((&people["MfaConfiguration"], &people["EnabledMfas"]), (&json!("ON"), &json!(["SOFTWARE_TOKEN_MFA"])));
    let client = named("ConsoleClient");
    assert_eq!((&client["GenerateSecret"], &client["AllowedOAuthFlows"]), (&json!(false), &json!(["code"])));
    assert_eq!(client["ExplicitAuthFlows"], json!(["ALLOW_REFRESH_TOKEN_AUTH"]), "no password is taken by an API");
    let home = json!([{"Fn::Sub": "${Api.ApiEndpoint}/console/"}]);
    assert_eq!((&client["CallbackURLs"], &client["LogoutURLs"]), (&home, &home));
    assert_eq!(
        (&client["RefreshTokenValidity"], &client["TokenValidityUnits"]["RefreshToken"]),
        (&json!(12), &json!("hours"))
    );
    let accepted = &named("ConsoleAuthorizer")["JwtConfiguration"];
    assert_eq!(accepted["Audience"], json!([{"Ref": "ConsoleClient"}]));
    let issuer = json!({"Fn::Sub": "https://${ConsolePeople.ProviderName}"});
    assert_eq!(accepted["Issuer"], issuer);
    let known = &named("TasksApiFunction")["Environment"]["Variables"]["STEPWELL_CONSOLE_ISSUER"];
    assert_eq!(
        *known,
        json!({"Fn::If": ["ConsoleIsOpen", issuer, {"Ref": "AWS::NoValue"}]}),
        "the group counts for all of them"
    );
}

#[test]
fn log_level_cannot_silence_the_lines_that_alarms_are_made_of() {
    let template = template();
    let pattern = &template.value()["Parameters"]["LogLevel"]["AllowedPattern"];
    assert_eq!(pattern, "^(info|debug|trace)(,[A-Za-z0-9_:]+=(info|debug|trace))*$");
}

#[test]
fn message_that_may_hang_on_a_service_has_an_invocation_of_its_own() {
    let template = template();
    let limits = |step: &str| {
        let mapping = &template.value()["Resources"][format!("Checkout{step}Messages")]["Properties"];
        (mapping["BatchSize"].as_u64().unwrap(), mapping["ScalingConfig"]["MaximumConcurrency"].as_u64().unwrap())
    };
    assert_eq!(limits("ProcessPayment"), (1, 200), "its settings say so");
    assert_eq!(limits("RefundPayment"), (1, 50));
    assert_eq!(limits("SendCancellation"), (1, 50));
    assert_eq!(limits("ValidateCart"), (10, 10), "it waits on the stack's own tables alone");
    assert_eq!(limits("ReleaseStock"), (10, 5));
}

#[test]
fn visibility_timeout_covers_the_function_timeout() {
    let template = template();
    let resources = &template.value()["Resources"];
    for (id, mapping) in of_kind(&template, "AWS::Lambda::EventSourceMapping") {
        let properties = &mapping["Properties"];
        let named = |id: &Value| &resources[id.as_str().unwrap()]["Properties"];
        let function = named(&properties["FunctionName"]["Ref"]);
        let queue = named(&properties["EventSourceArn"]["Fn::GetAtt"][0]);
        assert!(function["Timeout"].is_number() && function["Timeout"] == queue["VisibilityTimeout"], "{id}");
    }
}
