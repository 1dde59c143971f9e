#!/usr/bin/env bash
# The fake AWS CLI of tests/scripts.sh: it records each call in $FAKE_AWS/calls, fails those that $FAKE_AWS/errors names, and
# answers the others from the files in $FAKE_AWS, with the texts of the real one.
#
# Like DynamoDB and CloudFormation it refuses to delete protected resources. Unlike S3 it refuses a call without the expected
# owner of the bucket, and unlike DynamoDB it refuses to change the tables of an existing stack.

set -euo pipefail
case ${1:-} in -h | --help | '') sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" && exit ;; esac
[[ ${1:-} != --endpoint-url ]] || shift 2
cd "$FAKE_AWS"
call="$1 $2"
printf '%s\n' "$*" | tr '\n' ' ' >>calls
echo >>calls

fail() {
  echo "" >&2
  echo "An error occurred $*" >&2
  exit 255
}
refuse() {
  echo "fake AWS: $*" >&2
  exit 99
}

# option NAME: prints the option's value in this call.
option() {
  local word found=
  for word in "${arguments[@]}"; do
    [[ -z $found ]] || { echo "$word" && return; }
    [[ $word != "$1" ]] || found=yes
  done
}
arguments=("$@")
has() { [[ " ${arguments[*]} " == *" $1 "* ]]; }

while IFS=$'\t' read -r from operation error; do
  [[ $operation != "$call" ]] || (($(grep -c "^$call " calls) < from)) || fail "$error"
done <errors

case $call in
  's3api list-buckets' | 's3api create-bucket') ;;
  s3api*) [[ $(option --expected-bucket-owner) == 111122223333 ]] || refuse "$call without an expected owner" ;;
esac
table=$(option --table-name) key=$(option --key)

case $call in
  'sts get-caller-identity')
    [[ $(option --query) == Account ]] || printf '%s\t' 111122223333
    [[ $(option --query) == Account ]] && echo 111122223333 || echo arn:aws:iam::111122223333:user/me
    ;;

  'cloudformation describe-stacks')
    [[ -f stack ]] ||
      fail "(ValidationError) when calling the DescribeStacks operation: Stack with id $(option --stack-name) does not exist"
    if [[ $(option --query) == *Outputs* ]]; then
      printf 'abc\thttps://abc.example.com\n'
    else
      printf '%s\t%s\t%s\n' "$(<stack)" "$([[ -f termination_protection ]] && echo True || echo False)" \
        "$(cat test_stage 2>/dev/null || echo None)"
    fi
    ;;
  'cloudformation delete-stack')
    [[ ! -f termination_protection ]] || fail "(ValidationError) Stack cannot be deleted while TerminationProtection is enabled"
    mv stack deleted
    [[ ! -f stack_comes_back ]] || echo CREATE_IN_PROGRESS >stack
    ;;
  'cloudformation wait') ;;
  'cloudformation update-termination-protection')
    if has --no-enable-termination-protection; then rm -f termination_protection; else touch termination_protection; fi
    ;;
  'cloudformation deploy')
    [[ -f stack || -z $(ls tables) ]] || fail "(ValidationError) Table already exists"
    [[ ! -f stack || $(<stack) != ROLLBACK_COMPLETE ]] || refuse "a stack in ROLLBACK_COMPLETE cannot be updated"
    [[ -f stack ]] && echo UPDATE_COMPLETE >stack || echo CREATE_COMPLETE >stack
    for value in true false; do ! has "TestStage=$value" || echo "$value" >test_stage; done
    for name in tasks products payments reservations orders; do
      has ProtectTables=false && echo False >"tables/stepwell-dev-$name" || echo True >"tables/stepwell-dev-$name"
    done
    ;;
  'cloudformation describe-stack-events') ;;
  'cloudformation list-stack-resources')
    for name in $(sed -n 's/^\([^# ]*\) .*/\1/p' "$(dirname "$FAKE_AWS")/infra/functions.txt") undeliverable $(cat old_steps 2>/dev/null); do
      echo "https://sqs.eu-west-1.amazonaws.com/111122223333/stepwell-dev-$name"
    done
    ;;
  'cloudformation create-change-set')
    has --import-existing-resources || refuse "a change set that does not take over tables"
    ! grep -qx False tables/* || refuse "tables are taken over that a rollback could delete"
    [[ $(option --parameters) == *'{"ParameterKey": "ProtectTables", "ParameterValue": "true"}'* ]] || refuse "ProtectTables is not true"
    ;;
  'cloudformation describe-change-set')
    for table in tables/*; do printf '%s\t%s\n' "${table#tables/}" "$(cat "action_${table#tables/}" 2>/dev/null || echo Import)"; done
    ;;
  'cloudformation execute-change-set') echo CREATE_COMPLETE >stack && echo true >test_stage ;;

  'dynamodb describe-table')
    [[ -f tables/$table ]] || fail "(ResourceNotFoundException) when calling the DescribeTable operation: Requested" \
      "resource not found: Table: $table not found"
    printf '7\t%s\n' "$(<"tables/$table")"
    ;;
  'dynamodb query')
    [[ -f tables/$table ]] || fail "(ResourceNotFoundException) when calling the Query operation: Requested resource not found"
    values=$(option --expression-attribute-values)
    [[ $values =~ \":partition\":\ \{\"S\":\ \"([a-z]+#[0-9]+)\" ]] || refuse "a query of no shard"
    if [[ -f open/${BASH_REMATCH[1]} ]] && { [[ $values != *:workflow* ]] || [[ $values == *'"/checkout@"'* ]]; }; then
      cat "open/${BASH_REMATCH[1]}"
    else
      printf '0\tFalse\n'
    fi
    ;;
  'dynamodb update-table' | 'dynamodb delete-table')
    [[ ! -f stack ]] || refuse "$call while its stack is there"
    if [[ $call == *update-table ]]; then
      has --deletion-protection-enabled && echo True >"tables/$table" || echo False >"tables/$table"
    else
      [[ $(<"tables/$table") == False ]] || fail "(ValidationException) Table is protected against deletion"
      rm "tables/$table"
    fi
    ;;
  'dynamodb wait') ;;

  's3api list-buckets') cat buckets ;;
  's3api create-bucket') option --bucket >>buckets ;;
  's3api head-bucket' | 's3api put-public-access-block' | 's3api put-bucket-encryption') ;;
  's3api head-object')
    [[ -f objects/$key ]] || fail "(404) when calling the HeadObject operation: Not Found"
    cat "objects/$key"
    ;;
  's3api put-object')
    [[ -z $(option --checksum-sha256) ]] || [[ $(openssl dgst -sha256 -binary "$(option --body)" | base64) == "$(option --checksum-sha256)" ]] ||
      fail "(BadDigest) The SHA256 you specified did not match the calculated checksum."
    mkdir -p "$(dirname "objects/$key")"
    option --checksum-sha256 >"objects/$key"
    ;;
  's3api list-objects-v2')
    # One at a time, so that the caller has to request the next page.
    key=$(find objects -type f -path "objects/$(option --prefix)*" | head -n 1)
    [[ -n $key ]] && echo "{\"Objects\": [{\"Key\": \"${key#objects/}\"}], \"Quiet\": true}" || echo null
    ;;
  's3api delete-objects')
    [[ ! -f objects_are_locked ]] || { echo "Access Denied" && exit; }
    [[ $(option --delete) =~ \"Key\":\ \"([^\"]*)\" ]]
    rm "objects/${BASH_REMATCH[1]}"
    find objects -mindepth 1 -type d -empty -delete
    echo None
    ;;
  's3api delete-bucket')
    [[ -z $(find objects -type f) ]] || fail "(BucketNotEmpty) when calling the DeleteBucket operation: The bucket is not empty"
    : >buckets
    ;;

  'lambda list-functions')
    while read -r name _; do
      [[ $name == \#* ]] || printf 'stepwell-dev-%s\t%s\n' "$name" "$(cat objects/dev/"$name"/*.zip)"
    done <"$(dirname "$FAKE_AWS")/infra/functions.txt"
    ;;
  'lambda get-function-configuration') echo orders@example.com ;;
  'sesv2 get-email-identity') fail "(NotFoundException) when calling the GetEmailIdentity operation: no identity" ;;
  *) refuse "there is no $call" ;;
esac
