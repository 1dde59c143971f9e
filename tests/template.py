"""Checks of infra/template.yaml that cfn-lint has no rule for, on the template with its loops expanded.

usage: template.py TEMPLATE
"""

import sys

from cfnlint.api import lint_file  # noqa: F401 # loads cfn-lint's decoders
from cfnlint.decode import decode
from cfnlint.template import Template
from cfnlint.template.transforms._language_extensions import language_extension


def main(path):
    template, problems = decode(path)
    problems, expanded = language_extension(Template(path, template, ["us-east-1"]))
    assert not problems, problems
    resources = expanded["Resources"]

    def named(kind):
        return [name for name, resource in resources.items() if resource["Type"] == kind]

    def waits_for(name):
        depends = resources[name].get("DependsOn", [])
        return {depends} if isinstance(depends, str) else set(depends)

    failures = []
    # A policy that stands apart from its role orders nothing by itself: what needs the right has to wait for it.
    waited_for = waits_for("ApiStage") | waits_for("DeadLettersMessages")
    for policy in named("AWS::IAM::Policy"):
        if policy not in waited_for:
            failures.append(f"nothing waits for the policy {policy}: add it under ApiStage's DependsOn")
    if "DeadLettersTakesItsMessages" not in waits_for("DeadLettersMessages"):
        failures.append("DeadLettersMessages does not wait for the right to read its queue")
    for table in named("AWS::DynamoDB::Table"):
        if "DeletionProtectionEnabled" not in resources[table]["Properties"]:
            failures.append(f"{table} has no deletion protection")
        if resources[table].get("DeletionPolicy") != "RetainExceptOnCreate":
            failures.append(f"{table} would be deleted with the stack")
    if expanded["Parameters"]["ProtectTables"]["Default"] != "true":
        failures.append("the tables are not protected by default")
    # Whatever is counted in a log is told of, and from the log of every function of the engine's.
    counted = {}
    for name in named("AWS::Logs::MetricFilter"):
        properties = resources[name]["Properties"]
        for metric in properties["MetricTransformations"]:
            counted.setdefault(str(metric["MetricName"]), []).append(name)
    told = {str(resources[name]["Properties"].get("MetricName")) for name in named("AWS::CloudWatch::Alarm")}
    failures += [f"no alarm looks at {metric}, which {names[0]} counts" for metric, names in counted.items() if metric not in told]
    filters = set(named("AWS::Logs::MetricFilter"))
    for log in named("AWS::Logs::LogGroup"):
        function = log.removesuffix("Log")
        if f"{function}Function" in resources and f"{function}NewerFormats" not in filters:
            failures.append(f"nobody hears of items of a newer format from {function}")
    assert len(named("AWS::DynamoDB::Table")) == 5 and len(named("AWS::IAM::Policy")) > 10, "the loops were not expanded"
    sys.exit("\n".join(failures) or None)


main(*sys.argv[1:])
