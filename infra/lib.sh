# What the scripts of this folder share. Source it; it runs nothing by itself. It is for bash 3.2 too, which macOS has: no
# associative arrays, no "${array[@]}" of one that may be empty, and `set -e` is off inside $(...).
# shellcheck shell=bash

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  echo "lib.sh is a part of the scripts beside it, and does nothing by itself" >&2
  exit 2
fi

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
infra=$repo/infra
tools=$repo/.local/tools
target=${CARGO_TARGET_DIR:-$repo/target}

# The functions' packages, each of which is its binary's name as well. `stepwell render` writes the list.
# shellcheck disable=SC2207 # they have no blanks, and bash 3.2 has no mapfile
packages=($(sed -n 's/^[^# ]* \([^ ]*\) .*/\1/p' "$infra/functions.txt"))

# Sets $stage, such as dev, and $stack, stepwell-dev: what is said about the stack below is said about this one.
use_stage() {
  [[ $1 =~ ^[a-z][a-z0-9]{0,9}$ ]] ||
    die "a stage is 1 to 10 small letters and digits, a letter first, not '$1'"
  stage=$1 stack=stepwell-$1
}

# ---- Talking to the person at the terminal ---------------------------------------------------------------------------
# Results go to stdout, everything said on the way to stderr.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
}

# begin PHASE [WHAT]: a part of a long piece of work, so that nobody looks at a silent terminal and wonders. Says what is
# done, and of the phase before it how long that took. begin '' ends the last.
phase='' phase_began=0 phases=''
begin() {
  if [[ -n $phase ]]; then
    say "    $phase: $((SECONDS - phase_began)) s"
    phases+="${phases:+, }$phase $((SECONDS - phase_began)) s"
  fi
  phase=$1 phase_began=$SECONDS
  [[ -z ${2:-} ]] || say "==> $2"
}

# A script's help is the comment at its head.
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

confirm() {
  local answer
  [[ -t 0 ]] || die "there is no terminal to ask on. Pass --yes to go ahead."
  read -r -p "$1 [y/N] " answer
  [[ $answer == [yY]* ]] || die "nothing was done"
}

# ---- Tools -----------------------------------------------------------------------------------------------------------

# --install, at whatever place, is an option of all these scripts, and of the scripts that they call.
for argument in "$@"; do
  shift
  if [[ $argument == --install ]]; then export STEPWELL_INSTALL=1; else set -- "$@" "$argument"; fi
done

# Rust, what the scripts call, and the Python tools of requirements.txt under .local/tools.
need_tools() {
  need_packages
  need_python_tools
}

# Rust, and what Debian has.
need_packages() {
  local lacking=()
  command -v cargo >/dev/null || die "cargo is missing. Install Rust, see https://rustup.rs, and open a new shell."
  command -v cc >/dev/null || lacking+=(build-essential)
  command -v curl >/dev/null || lacking+=(curl)
  # Debian's python3 alone makes a virtual environment and then fails to put pip into it.
  python3 -c 'import ensurepip' 2>/dev/null || lacking+=(python3-venv)
  ((${#lacking[@]} == 0)) || install_packages "${lacking[@]}"
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "Python 3.10 or newer is needed, python3 is $(python3 -V 2>&1)"
}

# install_packages PACKAGE...: installs these packages of Debian where we may: as root, and with sudo after --install; it may then
# ask for a password.
install_packages() {
  local as_root=(env DEBIAN_FRONTEND=noninteractive apt-get -qq)
  command -v apt-get >/dev/null ||
    die "something is missing. Install what Debian calls $*. On macOS: xcode-select --install, brew install python"
  if ((EUID != 0)); then
    [[ ${STEPWELL_INSTALL:-} == 1 ]] || die "something is missing. Run this again with --install, or install it:
  sudo apt-get install $*"
    as_root=(sudo "${as_root[@]}")
  fi
  begin install "Installing $* with apt-get"
  { "${as_root[@]}" update && "${as_root[@]}" install -y "$@"; } >&2 || die "that failed, see above"
}

need_python_tools() { have_python_tools || install_python_tools || exit 1; }

# Where they are is noted with them: a Python environment does not survive being moved.
have_python_tools() { (echo "$tools" && cat "$infra/requirements.txt") | cmp -s - "$tools/installed"; }

install_python_tools() (
  lock tools "another script to install the tools"
  ! have_python_tools || exit 0
  begin "Python tools" "Installing the tools of infra/requirements.txt into .local/tools; a minute or two"
  { python3 -m venv --clear "$tools" &&
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$infra/requirements.txt"; } >&2 ||
    die "the tools could not be installed, see above"
  (echo "$tools" && cat "$infra/requirements.txt") >"$tools/installed"
  begin ''
)

# need_python NAME FILE: a Python environment of its own in .local/NAME, with the packages of FILE.
need_python() {
  local folder=$repo/.local/$1 file=$2
  if (echo "$folder" && cat "$file") | cmp -s - "$folder/installed"; then return; fi
  say "==> Installing what $file names into .local/$1; a minute or two"
  python3 -m venv --clear "$folder" &&
    "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$file" &&
    (echo "$folder" && cat "$file") >"$folder/installed"
}

# lock NAME WHAT: waits for WHAT, until nobody else holds this lock. It is ours for as long as file 9 is open. Not by
# flock(1), which macOS lacks.
lock() {
  local take='import fcntl; fcntl.flock(9, fcntl.LOCK_EX'
  command -v python3 >/dev/null || die "python3 is missing, see README.md"
  mkdir -p "$repo/.local"
  exec 9>"$repo/.local/$1.lock"
  python3 -c "$take | fcntl.LOCK_NB)" 2>/dev/null && return
  say "==> Waiting for $2"
  python3 -c "$take)"
}

# is_locked NAME: whether somebody holds this lock.
is_locked() {
  [[ -f $repo/.local/$1.lock ]] &&
    ! python3 -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null 9<"$repo/.local/$1.lock"
}

# ---- Questions to AWS ------------------------------------------------------------------------------------------------

# awscli 1 leaves AWS_ENDPOINT_URL out of account for some services, SQS among them, so it is always said.
aws() { "$tools/bin/aws" ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# ask ABSENT COMMAND...: sets $answer to what the AWS command prints. Returns 1 where it failed with an error that the
# regular expression ABSENT matches, none if that is empty, and ends the script on every other failure: whoever is
# throttled, lacks a right or has no network does not know whether a thing exists, and must neither make nor delete anything.
#
# It sets a variable, so that nobody calls it inside $(...), where `die` would end no more than the subshell.
ask() {
  local absent=$1 errors error
  shift
  errors=$(mktemp)
  if answer=$(aws "$@" 2>"$errors"); then
    rm -f "$errors"
    return 0
  fi
  error=$(<"$errors") answer=
  rm -f "$errors"
  [[ -z $absent || ! $error =~ $absent ]] || return 1
  die "aws $1 $2 failed, and without its answer nothing more is done:
${error#$'\n'}
See that AWS can be reached and that ${caller:-the caller} may make this call. Then run this again."
}

# change WHAT COMMAND...: an AWS command that changes something; where it fails the script ends, and says that WHAT.
change() { aws "${@:2}" >/dev/null || die "$1, see above"; }

account='' caller=''

# Sets $AWS_REGION, and $account and $caller to whose credentials these are.
need_account() {
  AWS_REGION=${1:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region)}}} ||
    die "say which region: --region REGION, or set AWS_REGION"
  # Some of the tools read the one, some the other.
  export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION
  local identity
  identity=$(AWS_MAX_ATTEMPTS=2 aws sts get-caller-identity --cli-connect-timeout 10 --output text \
    --query '[Account, Arn]') || die "AWS does not say who you are, see above. Set AWS_PROFILE, or log in."
  read -r account caller <<<"$identity"
}

no_such_stack='\(ValidationError\).*does not exist'

# Sets $stack_status, to nothing where there is no such stack, $terminable to whether it may be deleted as it is, and
# $test_stage to whether it was deployed as a test stage: true or false, None by an older template, nothing without a stack.
look_up_stack() {
  local protected
  stack_status='' terminable=yes test_stage=''
  ask "$no_such_stack" cloudformation describe-stacks --stack-name "$stack" --output text --query \
    "Stacks[0].[StackStatus, EnableTerminationProtection, Parameters[?ParameterKey=='TestStage'] | [0].ParameterValue]" ||
    return 0
  # shellcheck disable=SC2034 # $test_stage is for infra/deploy.sh
  read -r stack_status protected test_stage <<<"$answer"
  [[ -n $stack_status ]] || die "CloudFormation does not say in which state the stack $stack is"
  # shellcheck disable=SC2034 # $terminable is for infra/destroy.sh
  [[ $protected != True ]] || terminable=no
}

# Sets $url to the API's base URL, to nothing where there is no such stack, and $console to the console's, where the stack has one.
look_up_url() {
  local id
  # shellcheck disable=SC2034 # $console is for infra/deploy.sh
  url='' console=''
  ask "$no_such_stack" cloudformation describe-stacks --stack-name "$stack" --output text --query \
    "sort_by(Stacks[0].Outputs[?OutputKey=='ApiId' || OutputKey=='ApiUrl' || OutputKey=='ConsoleUrl'], &OutputKey)[].OutputValue" || return 0
  # shellcheck disable=SC2034
  read -r id url console <<<"$answer"
  # A name under localhost resolves on some machines only, so there the emulator's address by path is used.
  case $url in
    *.localhost | *.localhost:*) url=$AWS_ENDPOINT_URL/_aws/execute-api/$id ;;
  esac
}

# Sets $left to the stack's tables that exist, with or without the stack. A line for each: its name, how many items
# DynamoDB has counted in it, some hours ago, and True if it may not be deleted.
look_up_tables() {
  local table
  left=
  for table in tasks products payments reservations orders; do
    ask '\(ResourceNotFoundException\)' dynamodb describe-table --table-name "$stack-$table" --output text \
      --query 'Table.[ItemCount, DeletionProtectionEnabled]' || continue
    left+="${left:+$'\n'}$stack-$table $answer"
  done
}

# Sets $open to a sentence's worth of words on the tasks that the engine has yet to do something for, to nothing where there
# are none: those that run, and those that failed and are to be redriven or compensated. They are in two partitions of the
# index, each in 16 shards. With a WORKFLOW, only its tasks. The index is a second or so behind.
# shellcheck disable=SC2034 # $open is for the scripts
look_up_open_tasks() {
  local partition shard number found more left_out='' numbers=() total=0 filter=() values
  say "==> Counting the open tasks of $stack; about half a minute"
  for partition in pending compensating; do
    number=0
    for ((shard = 0; shard < 16; shard++)); do
      values="\":partition\": {\"S\": \"$partition#$shard\"}"
      if [[ -n ${1:-} ]]; then
        filter=(--filter-expression 'contains(workflow, :workflow)')
        values+=", \":workflow\": {\"S\": \"/$1@\"}"
      fi
      # One page of the index, 1 MB or some thousand tasks: beyond that, how many there are makes no difference.
      # shellcheck disable=SC2016 # the query is JMESPath
      ask '\(ResourceNotFoundException\)' dynamodb query --table-name "$stack-tasks" --index-name by_status \
        --key-condition-expression 'status_shard = :partition' ${filter[@]+"${filter[@]}"} \
        --expression-attribute-values "{$values}" --select COUNT --no-paginate \
        --query '[Count, LastEvaluatedKey != `null`]' --output text || break 2
      read -r found more <<<"$answer"
      number=$((number + found))
      [[ $more != True ]] || left_out='at least '
    done
    numbers+=("$number") total=$((total + number))
  done
  open=
  [[ $total == 0 && -z $left_out ]] ||
    open="$left_out$total open: ${numbers[0]} pending or in progress,\
 ${numbers[1]} compensating, or failed with a redrive or a compensation due"
}

# The commands that show what look_up_open_tasks has counted.
show_open_tasks() {
  printf '  cargo stepwell list --stage %s --status %s\n' "$stage" pending "$stage" compensating \
    "$stage" 'error --compensated false'
}

# Sets $bucket to the bucket with the functions' zips, or to nothing if it is yet to be made, and $owned to the options
# that name it and whose it has to be.
#
# Its name ends in a random part. A name that can be guessed can be taken by somebody else, who lets us write to it and
# exchanges the code before Lambda reads it. The bucket is found again among our own, which are all that list-buckets
# shows; and every call says whose it has to be, should it be deleted and taken by another in between.
look_up_bucket() {
  local name
  [[ -n $account ]] || need_account
  ask '' s3api list-buckets --prefix "stepwell-code-$account-$AWS_REGION-" --query 'Buckets[].[Name]' --output text
  bucket=
  for name in $answer; do
    # Should two deployments have made one each at the same time, everybody takes the same.
    [[ ! $name =~ ^stepwell-code-$account-$AWS_REGION-[0-9a-f]{12}$ || (-n $bucket && $bucket < $name) ]] || bucket=$name
  done
  owned=(--bucket "$bucket" --expected-bucket-owner "$account")
  [[ -z $bucket ]] || ask '\((403|AccessDenied)\)' s3api head-bucket "${owned[@]}" ||
    die "the bucket $bucket does not belong to the account $account, or these credentials may not use it.
No code is taken from it or put into it. If it is yours, allow s3:ListBucket; else see who has made it."
}

# ---- Check, build, package -------------------------------------------------------------------------------------------

# Without file 9: what cargo leaves running, such as a cache, must not keep a lock of ours.
run_cargo() (cd "$repo" && PATH=$tools/bin:$PATH cargo "$@" >&2 9>&-)

# stepwell ARGUMENT...: as `cargo stepwell` does it, but a build that fails is told apart from a command that does.
stepwell() {
  run_cargo build --workspace --features lambda --bin=stepwell || die "the command stepwell could not be built, see above"
  (cd "$repo" && "$target/debug/stepwell" "$@")
}

# That workflows, steps, settings, template and events fit together, before minutes are spent on a build.
check_project() {
  begin check "Checking the workflows and all that has to fit to them; the first time the check is compiled, two minutes or so"
  stepwell check >&2 || die "the workflows and what belongs to them do not fit together, see above"
}

# This machine's, in Lambda's words.
architecture() { if [[ $(uname -m) == a*64 ]]; then echo arm64; else echo x86_64; fi; }

# build_functions KIND: leaves every function's binary at $binaries/PACKAGE, or $binaries/PACKAGE/bootstrap. The KINDs fast,
# crash-points and release are for the local stack; the former two are built for the whole workspace, although the programs
# are named: that way cargo chooses the features of the tests' builds, and compiles no crate for both. arm64 and x86_64 are
# for Lambda, whose C library may be older than this machine's.
build_functions() {
  local how=(build --release --features lambda) which=--package= minutes=ten
  case $1 in
    fast) how=(build --workspace --features lambda) ;;
    crash-points) how=(build --workspace --features "lambda,stepwell_aws/crash-points") ;;
    release) binaries=$target/release ;;
    *) how=(lambda "${how[@]}" "--${1/_/-}") binaries=$target/lambda ;;
  esac
  [[ ${how[1]} != --workspace ]] || which=--bin= minutes=three binaries=$target/debug
  begin build "Building ${#packages[@]} functions, the $1 build; the first time $minutes minutes on two cores"
  run_cargo "${how[@]}" "${packages[@]/#/$which}" || die "the build failed, see above"
}

# package FOLDER [--fast]: the zips in it, as small as can be or as quickly; and in FOLDER/functions a line for each: its
# name, its parameter of the template, its key in the bucket, its hash.
package() {
  begin package "Packaging what has changed of ${#packages[@]} functions"
  mkdir -p "$1"
  python3 "$infra/package.py" "$1" "$binaries" "${@:2}" >"$1/functions" ||
    die "the functions could not be packaged, see above"
}

# ---- Deploy ----------------------------------------------------------------------------------------------------------

# The lines of a folder's `functions` that are known to be in the bucket as they should be, so that nobody has to ask. Only
# a local stack knows any: nobody else writes to its bucket.
known_code=

# upload CODE: the zips in the folder CODE, into $bucket, which is made if there is none. They are kept apart by stage, so
# that one stage can be taken down without the others. A key carries a hash of the zip, and S3 keeps the SHA-256 of what is
# really stored under it: where the two do not agree, the object is replaced. So there is nothing that versions of it would
# be good for.
upload() {
  local name parameter key hash place=
  look_up_bucket
  if [[ -z $bucket ]]; then
    bucket=stepwell-code-$account-$AWS_REGION-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
    owned=(--bucket "$bucket" --expected-bucket-owner "$account")
    say "==> Making the bucket $bucket"
    [[ $AWS_REGION == us-east-1 ]] || place=LocationConstraint=$AWS_REGION
    change "the bucket was not made" s3api create-bucket --bucket "$bucket" ${place:+--create-bucket-configuration "$place"}
  fi
  # Each time, in case that somebody has loosened it.
  change "the bucket $bucket could not be closed to the public" s3api put-public-access-block "${owned[@]}" \
    --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
  change "the encryption of the bucket $bucket could not be set" s3api put-bucket-encryption "${owned[@]}" \
    --server-side-encryption-configuration '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}'
  # `aws s3 sync` would be one call, but knows neither an expected owner nor checksums.
  while read -r name parameter key hash; do
    [[ $known_code != *"$name $parameter $key $hash"* ]] || continue
    if ask '\(404\)' s3api head-object "${owned[@]}" --key "$stage/$key" --checksum-mode ENABLED \
      --query ChecksumSHA256 --output text && [[ $answer == "$hash" ]]; then continue; fi
    say "==> Uploading $name"
    change "$1/$key could not be uploaded to $bucket" s3api put-object "${owned[@]}" --key "$stage/$key" \
      --body "$1/$key" --checksum-algorithm SHA256 --checksum-sha256 "$hash"
  done <"$1/functions"
}

# deploy CODE ARCHITECTURE [NAME=VALUE]...: the template's stack, with the zips in the folder CODE. Where $adopt is yes, the
# stack is made around the tables in $left.
adopt=
deploy() {
  local name parameter key hash parameters
  upload "$1"
  parameters=("Stage=$stage" "CodeBucket=$bucket" "Architecture=$2" "${@:3}")
  while read -r name parameter key hash; do parameters+=("$parameter=$stage/$key"); done <"$1/functions"
  if [[ $adopt == yes ]]; then
    adopt_tables "${parameters[@]}"
  else
    say "==> Deploying $stack"
    deploy_template "${parameters[@]}"
  fi

  # That each function runs the code just uploaded. An emulator may deploy a function without any, and answer for it.
  ask '' lambda list-functions --output text --query \
    "Functions[?starts_with(FunctionName, '$stack-')].[FunctionName, CodeSha256]"
  while read -r name _ key hash; do
    grep -qxF "$stack-$name"$'\t'"$hash" <<<"$answer" ||
      die "the function $stack-$name does not run the code that was uploaded for it, $key"
  done <"$1/functions"
}

# deploy_template NAME=VALUE...: the other parameters keep the values that they have. The template goes by $bucket, because
# CloudFormation takes one of more than 51,200 bytes from nowhere else.
deploy_template() {
  aws cloudformation deploy --stack-name "$stack" --template-file "$infra/template.yaml" \
    --s3-bucket "$bucket" --s3-prefix "$stage/template" --capabilities CAPABILITY_IAM --no-fail-on-empty-changeset \
    --tags project=stepwell "stage=$stage" --parameter-overrides "$@" >&2 || {
    aws cloudformation describe-stack-events --stack-name "$stack" --max-items 100 --output text --query \
      "StackEvents[?ends_with(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]" |
      grep -v '^None$' >&2 || true
    die "the stack $stack could not be deployed, see above"
  }
}

# adopt_tables NAME=VALUE...: makes the stack with these parameters. It takes over the tables that an earlier one has left,
# instead of failing because they exist: a change set can import what has a name in the template and is to be kept, and
# `aws cloudformation deploy` makes no such change set.
#
# The tables are protected from deletion first. That is what the template says of them, and a rollback of the new stack
# cannot delete them.
adopt_tables() {
  local table protected key=$stage/template/adopt.yaml set at parameters
  while read -r table _ protected; do
    [[ $protected != True ]] || continue
    change "the table $table could not be protected from deletion, so it is not taken over" \
      dynamodb update-table --table-name "$table" --deletion-protection-enabled
    change "the table $table is not ready to be taken over" dynamodb wait table-exists --table-name "$table"
  done <<<"$left"
  change "the template could not be uploaded to $bucket" s3api put-object "${owned[@]}" --key "$key" \
    --body "$infra/template.yaml"
  at=https://$bucket.s3.$AWS_REGION.amazonaws.com
  [[ $AWS_REGION != cn-* ]] || at+=.cn
  # As JSON, because a value may have a comma in it.
  parameters=$(python3 -c 'import json, sys
pairs = (argument.split("=", 1) for argument in sys.argv[1:])
print(json.dumps([{"ParameterKey": name, "ParameterValue": value} for name, value in pairs]))' "$@")
  set=adopt-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
  say "==> Deploying $stack around the tables that were kept"
  change "no change set could be made that takes over the tables" cloudformation create-change-set --stack-name "$stack" \
    --change-set-name "$set" --change-set-type CREATE --import-existing-resources --template-url "$at/$key" \
    --capabilities CAPABILITY_IAM --parameters "$parameters" --tags Key=project,Value=stepwell "Key=stage,Value=$stage"
  aws cloudformation wait change-set-create-complete --stack-name "$stack" --change-set-name "$set" || {
    aws cloudformation describe-change-set --stack-name "$stack" --change-set-name "$set" --query StatusReason \
      --output text >&2 || true
    die "no change set could be made that takes over the tables, see above. The tables are as they were, and protected."
  }
  ask '' cloudformation describe-change-set --stack-name "$stack" --change-set-name "$set" --output text --query \
    "Changes[?ResourceChange.ResourceType=='AWS::DynamoDB::Table'].ResourceChange.[PhysicalResourceId, Action]"
  while read -r table _; do
    grep -qxF "$table"$'\t'Import <<<"$answer" ||
      die "CloudFormation would not take over the table $table but do this with the tables, so nothing was deployed:
$answer"
  done <<<"$left"
  change "the stack was not made around the tables" cloudformation execute-change-set --stack-name "$stack" \
    --change-set-name "$set"
  aws cloudformation wait stack-create-complete --stack-name "$stack" ||
    die "the stack $stack was not made. The tables are protected, and still there. Its events say why:
  aws cloudformation describe-stack-events --stack-name $stack"
}

load_products() {
  say "==> Loading the sample products"
  "$tools/bin/python" "$infra/load_products.py" "$stack-products" || die "the products were not loaded, see above"
}

# smoke_test URL [SECONDS]: that the API answers, from a function of ours and the table behind it.
smoke_test() {
  local answer until=$((SECONDS + ${2:-1}))
  say "==> Asking the API for its products"
  until answer=$(curl -sS --max-time 15 --fail "$1/products" 2>&1) && [[ $answer != *"Mock response"* ]]; do
    ((SECONDS < until)) || die "GET $1/products failed: $answer"
    sleep 1
  done
}

# ---- Take down -------------------------------------------------------------------------------------------------------

delete_stack() {
  say "==> Deleting the stack $stack"
  change "the stack $stack was not deleted" cloudformation delete-stack --stack-name "$stack"
  aws cloudformation wait stack-delete-complete --stack-name "$stack" ||
    die "the stack $stack was not deleted. Its events say why:
  aws cloudformation describe-stack-events --stack-name $stack"
}

# The tables of a stack that is gone, and of no other: this is asked again, whatever was known a moment ago.
delete_tables() {
  local table protected
  look_up_stack
  [[ -z $stack_status ]] || die "the stack $stack is still there, $stack_status, so its tables are not deleted"
  look_up_tables
  while read -r table _ protected; do
    [[ -n $table ]] || break
    say "==> Deleting the table $table"
    if [[ $protected == True ]]; then
      change "the deletion protection of the table $table could not be taken off" \
        dynamodb update-table --table-name "$table" --no-deletion-protection-enabled
      # Until it is ACTIVE again, and can be deleted.
      change "the table $table is not ready to be deleted" dynamodb wait table-exists --table-name "$table"
    fi
    change "the table $table was not deleted" dynamodb delete-table --table-name "$table"
  done <<<"$left"
}

# The stage's zips, and the bucket if no other stage has any in it.
delete_code() {
  local refused
  look_up_bucket
  [[ -n $bucket ]] || return 0
  say "==> Deleting the code of $stage"
  # 500 at a time: 1,000 can be deleted at once, but the longest names would not fit into one argument of a command.
  # shellcheck disable=SC2016 # the query is JMESPath
  while
    ask '' s3api list-objects-v2 "${owned[@]}" --prefix "$stage/" --max-keys 500 --no-paginate --output json \
      --query 'Contents && {Objects: Contents[].{Key: Key}, Quiet: `true`}'
    [[ $answer != null ]]
  do
    refused=$(aws s3api delete-objects "${owned[@]}" --delete "$answer" --query 'Errors[0].Message' --output text) ||
      die "the code of $stage was not deleted, see above"
    [[ $refused == None ]] || die "the code of $stage was not deleted: $refused"
  done
  ask '\(BucketNotEmpty\)' s3api delete-bucket "${owned[@]}" ||
    say "    kept: the bucket $bucket, which is not empty: other stages have code in it"
}
