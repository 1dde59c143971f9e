"""Creates the rendered template's stack in moto, as a second check besides cfn-lint. moto resolves CloudFormation's functions
and creates the resources that it knows, which are neither the API nor alarms and their dashboard. Each function's permissions
have to be those that `stepwell render --rights` prints.

usage: second_reader.py TEMPLATE RIGHTS
"""

import ast
import collections
import json
import os
import sys

import boto3
import yaml
from moto import mock_aws
from moto.cloudformation.utils import yaml_tag_constructor

REGION = "us-east-1"
STACK = "stepwell-local"
MADE = {
    "AWS::DynamoDB::Table",
    "AWS::Events::Rule",
    "AWS::IAM::Role",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Lambda::Function",
    "AWS::Lambda::Permission",
    "AWS::Logs::LogGroup",
    "AWS::SQS::Queue",
}


def main(template_path, rights_path):
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION=REGION)
    yaml.add_multi_constructor("", yaml_tag_constructor, Loader=yaml.SafeLoader)
    with open(template_path) as file:
        template = yaml.safe_load(file)
    # Attributes of the API and of alarms, which moto does not create.
    template["Outputs"].pop("ApiUrl")
    template["Resources"].pop("Dashboard")
    template = without_secrets(template)
    with mock_aws():
        made = make(template)
        found = {name: allowed(name, role) for name, role in functions()}
    wanted = collections.Counter(resource["Type"] for resource in template["Resources"].values())
    failures = [
        f"the template has {wanted[kind]} of {kind}, and moto has made {made[kind]}"
        for kind in sorted(MADE)
        if wanted[kind] != made[kind]
    ]
    with open(rights_path) as file:
        said = {
            name: {(one["action"], one["resource"].removesuffix(":*")) for one in rights}
            for name, rights in json.load(file).items()
        }
    for name in sorted(said.keys() | found.keys()):
        differs = said.get(name, set()) ^ found.get(name, set())
        failures += [f"{name}: only one of both readers sees {right}" for right in sorted(differs)]
    sys.exit("\n".join(failures) or None)


def without_secrets(template):
    """The template without its secrets, which moto does not make. An attribute of one is replaced by the name that `stepwell
    render --rights` gives to what only a deployment knows."""
    text = json.dumps(template)
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::SecretsManager::Secret":
            text = text.replace(json.dumps({"Fn::GetAtt": [name, "Id"]}), json.dumps(f"<{name}.Id>"))
    template = json.loads(text)
    resources = template["Resources"].items()
    template["Resources"] = {name: one for name, one in resources if one["Type"] != "AWS::SecretsManager::Secret"}
    return template


def make(template):
    """Creates the stack; returns the number of resources of each kind."""
    boto3.client("s3").create_bucket(Bucket="code")
    codes = [name for name in template["Parameters"] if name.endswith("Code")]
    for name in codes:
        boto3.client("s3").put_object(Bucket="code", Key=name, Body=b"PK\5\6" + bytes(18))
    stacks = boto3.client("cloudformation")
    parameters = {"Stage": "local", "CodeBucket": "code", "AlarmTopic": f"arn:aws:sns:{REGION}:123456789012:alarms"} | {name: name for name in codes}
    stacks.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    stack = stacks.describe_stacks(StackName=STACK)["Stacks"][0]
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    pages = stacks.get_paginator("list_stack_resources").paginate(StackName=STACK)
    return collections.Counter(one["ResourceType"] for page in pages for one in page["StackResourceSummaries"])


def functions():
    """The names of the functions and of their roles."""
    for page in boto3.client("lambda").get_paginator("list_functions").paginate():
        for function in page["Functions"]:
            yield function["FunctionName"], function["Role"].rpartition("/")[2]


def allowed(function, role):
    iam, found = boto3.client("iam"), set()
    for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        # moto returns the document in Python's syntax.
        document = ast.literal_eval(document) if isinstance(document, str) else document
        for statement in document["Statement"]:
            assert statement["Effect"] == "Allow", statement
            # moto leaves out the suffix that AWS appends to the ARN of a log group.
            resources = [resource.removesuffix(":*") for resource in statement["Resource"]]
            found |= {(action, resource) for action in statement["Action"] for resource in resources}
    return found


main(*sys.argv[1:])
