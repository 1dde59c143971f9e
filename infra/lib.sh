# What the scripts of this folder share. Source it; it runs nothing by itself.
# shellcheck shell=bash

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
infra=$repo/infra
tools=$repo/.local/tools

# The functions, as the folders are named.
functions=()
for manifest in "$repo"/functions/*/Cargo.toml; do
  functions+=("$(basename "$(dirname "$manifest")")")
done

# Sets $stage, such as dev, and $stack, stepwell-dev: what is said about the stack below is said about this one.
use_stage() {
  [[ $1 =~ ^[a-z][a-z0-9]{0,15}$ ]] ||
    die "a stage is 1 to 16 small letters and digits, a letter first, not '$1'"
  stage=$1 stack=stepwell-$1
}

# ---- Talking to the person at the terminal ---------------------------------------------------------------------------
# Results go to stdout, everything said on the way to stderr.

say() { printf '%s\n' "$*" >&2; }
die() {
  say "$(basename "$0"): $*"
  exit 1
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

# need COMMAND PACKAGE: the command, installed from the Debian package if it is missing and we may.
need() {
  command -v "$1" >/dev/null || apt_install "$2" || die "$1 is missing. Install it: sudo apt-get install $2"
}

apt_install() {
  local as_root=()
  command -v apt-get >/dev/null || return 1
  if ((EUID != 0)); then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  say "==> Installing $* with apt-get"
  "${as_root[@]}" apt-get update -qq >&2 &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

# Rust, what it links with, and the Python tools in requirements.txt under .local/tools.
need_tools() {
  command -v cargo >/dev/null || die "cargo is missing. Install Rust, see https://rustup.rs, and open a new shell."
  need cc build-essential
  need curl curl
  need python3 python3
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    die "Python 3.10 or newer is needed, python3 is $(python3 -V 2>&1)"
  [[ $(wanted_tools) == "$(cat "$tools/installed" 2>/dev/null)" ]] || install_tools
}

# Where the tools are is part of it: a Python environment does not survive being moved.
wanted_tools() {
  echo "$tools"
  cat "$infra/requirements.txt"
}

install_tools() {
  mkdir -p "$tools"
  (
    flock --nonblock 8 || { say "==> Waiting for another script to install the tools" && flock 8; }
    [[ $(wanted_tools) != "$(cat "$tools/installed" 2>/dev/null)" ]] || exit 0
    say "==> Installing the tools of infra/requirements.txt into .local/tools; a minute or two"
    # Without python3-venv Debian's python3 makes the environment and then fails to put pip into it.
    python3 -m venv --clear "$tools" >/dev/null 2>&1 ||
      { apt_install python3-venv && python3 -m venv --clear "$tools" >&2; } ||
      die "python3 cannot make a virtual environment. Install it: sudo apt-get install python3-venv"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$infra/requirements.txt" >&2 ||
      die "the tools could not be installed, see above"
    wanted_tools >"$tools/installed"
  ) 8>"$repo/.local/tools.lock"
}

# awscli 1 leaves AWS_ENDPOINT_URL out of account for some services, SQS among them, so it is always said.
aws() { "$tools/bin/aws" ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# Sets $AWS_REGION, and $account and $caller to whose credentials these are.
need_account() {
  AWS_REGION=${1:-${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region)}}} ||
    die "say which region: --region REGION, or set AWS_REGION"
  # Some of the tools read the one, some the other.
  export AWS_REGION AWS_DEFAULT_REGION=$AWS_REGION
  local identity
  identity=$(AWS_MAX_ATTEMPTS=2 aws sts get-caller-identity --cli-connect-timeout 10 --output text \
    --query '[Account, Arn]') || die "AWS does not say who you are, see above. Set AWS_PROFILE, or log in."
  # shellcheck disable=SC2034 # $caller is for the scripts to show
  read -r account caller <<<"$identity"
}

# This machine's, in Lambda's words.
architecture() { if [[ $(uname -m) == aarch64 ]]; then echo arm64; else echo x86_64; fi; }

# need_target arm64|x86_64: that this Rust can build for it.
need_target() {
  local target=x86_64-unknown-linux-gnu installed
  [[ $1 == x86_64 ]] || target=aarch64-unknown-linux-gnu
  if ! command -v rustup >/dev/null; then return; fi
  installed=$(cd "$repo" && rustup target list --installed) || die "rustup does not work, see above"
  grep -qx "$target" <<<"$installed" ||
    die "Rust cannot build for $1 yet. Run: rustup target add $target"
}

# ---- Build and package -----------------------------------------------------------------------------------------------

# Each leaves every function's binary at $binaries/NAME, or $binaries/NAME/bootstrap.
build_for_this_machine() {
  say "==> Building ${#functions[@]} functions; the first time ten minutes on two cores"
  (cd "$repo" && cargo build --release "${functions[@]/#/--package=}" >&2 9>&-) || die "the build failed, see above"
  binaries=${CARGO_TARGET_DIR:-$repo/target}/release
}

# build_for_lambda arm64|x86_64: against the C library that Lambda has, which may be older than this machine's.
build_for_lambda() {
  local flag=--x86-64
  [[ $1 == x86_64 ]] || flag=--arm64
  say "==> Building the functions for Lambda on $1"
  (cd "$repo" && PATH=$tools/bin:$PATH cargo lambda build --release "$flag" "${functions[@]/#/--package=}" >&2 9>&-) ||
    die "the build failed, see above"
  binaries=${CARGO_TARGET_DIR:-$repo/target}/lambda
}

# build_with_crash_points FOLDER: debug builds, stripped into FOLDER. The test is named so that cargo chooses the features
# of the tests' builds, and does not compile the AWS SDK once more.
build_with_crash_points() {
  local name
  say "==> Building the functions with crash points"
  (cd "$repo" && cargo build --workspace --bins --test it --features stepwell/crash-points >&2 9>&-) ||
    die "the build failed, see above"
  binaries=$1
  mkdir -p "$binaries"
  for name in "${functions[@]}"; do
    strip -o "$binaries/$name" "${CARGO_TARGET_DIR:-$repo/target}/debug/$name"
  done
}

# package FOLDER: the zips in it, and in FOLDER/functions a line for each: name, key, hash.
package() {
  local name pairs=()
  for name in "${functions[@]}"; do
    local binary=$binaries/$name
    [[ ! -d $binary ]] || binary+=/bootstrap
    pairs+=("$name=$binary")
  done
  mkdir -p "$1"
  "$tools/bin/python" "$infra/package.py" "$1" "${pairs[@]}" >"$1/functions"
}

# ---- The stack -------------------------------------------------------------------------------------------------------

tables=(tasks products payments reservations orders)

code_bucket() {
  local account
  account=$(aws sts get-caller-identity --query Account --output text) || die "AWS does not say who you are, see above"
  echo "stepwell-code-$account-$AWS_REGION"
}

# The functions' zips are kept apart by stage, so that one stage can be taken down without the others.
upload() {
  local code=$1 bucket=$2 location=()
  if ! aws s3api head-bucket --bucket "$bucket" >/dev/null 2>&1; then
    say "==> Making the bucket $bucket"
    [[ $AWS_REGION == us-east-1 ]] || location=(--create-bucket-configuration "LocationConstraint=$AWS_REGION")
    aws s3api create-bucket --bucket "$bucket" "${location[@]}" >/dev/null
    aws s3api put-public-access-block --bucket "$bucket" --public-access-block-configuration \
      BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
    aws s3api put-bucket-encryption --bucket "$bucket" --server-side-encryption-configuration \
      '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}'
  fi
  aws s3 sync "$code" "s3://$bucket/$stage" --exclude '*' --include '*.zip' --size-only --only-show-errors >&2
}

# deploy CODE ARCHITECTURE [NAME=VALUE]...: the template's stack, with the zips in the folder CODE.
deploy() {
  local code=$1 bucket name key hash parameters
  bucket=$(code_bucket)
  parameters=("Stage=$stage" "CodeBucket=$bucket" "Architecture=$2" "${@:3}")
  while read -r name key hash; do
    parameters+=("$(camel_case "$name")Code=$stage/$key")
  done <"$code/functions"

  upload "$code" "$bucket"
  say "==> Deploying $stack"
  # A stack whose first deployment failed holds nothing and cannot be updated, only deleted.
  [[ $(stack_status) != ROLLBACK_COMPLETE ]] || delete_stack
  aws cloudformation deploy --stack-name "$stack" --template-file "$infra/template.yaml" \
    --capabilities CAPABILITY_IAM CAPABILITY_AUTO_EXPAND --no-fail-on-empty-changeset \
    --tags project=stepwell "stage=$stage" --parameter-overrides "${parameters[@]}" >&2 || {
    aws cloudformation describe-stack-events --stack-name "$stack" --max-items 100 --output text --query \
      "StackEvents[?ends_with(ResourceStatus, 'FAILED')].[LogicalResourceId, ResourceStatusReason]" |
      grep -v '^None$' >&2 || true
    die "the stack $stack could not be deployed, see above"
  }
  check_code "$code"
}

# That each function runs the code just uploaded. An emulator may deploy a function without any, and answer for it.
check_code() {
  local name key hash deployed
  deployed=$(aws lambda list-functions --output text --query \
    "Functions[?starts_with(FunctionName, '$stack-')].[FunctionName, CodeSha256]")
  while read -r name key hash; do
    grep -qxF "$stack-$name"$'\t'"$hash" <<<"$deployed" ||
      die "the function $stack-$name does not run the code that was uploaded for it, $key"
  done <"$1/functions"
}

# validate_cart -> ValidateCart
camel_case() {
  local word camel=
  for word in ${1//_/ }; do camel+=${word^}; done
  echo "$camel"
}

# Nothing where there is no such stack.
stack_status() {
  aws cloudformation describe-stacks --stack-name "$stack" --query 'Stacks[0].StackStatus' --output text 2>/dev/null ||
    true
}

delete_stack() {
  say "==> Deleting the stack $stack"
  aws cloudformation delete-stack --stack-name "$stack"
  aws cloudformation wait stack-delete-complete --stack-name "$stack" ||
    die "the stack $stack was not deleted. Its events say why:
  aws cloudformation describe-stack-events --stack-name $stack"
}

# The stack's tables that exist, with or without the stack.
tables_left() {
  local table
  for table in "${tables[@]}"; do
    if aws dynamodb describe-table --table-name "$stack-$table" >/dev/null 2>&1; then echo "$stack-$table"; fi
  done
}

delete_tables() {
  local table
  for table in $(tables_left); do
    say "==> Deleting the table $table"
    aws dynamodb delete-table --table-name "$table" >/dev/null
  done
}

# The stage's zips, and the bucket if no other stage has any in it.
delete_code() {
  local bucket
  bucket=$(code_bucket)
  aws s3api head-bucket --bucket "$bucket" >/dev/null 2>&1 || return 0
  say "==> Deleting the code of $stage"
  aws s3 rm "s3://$bucket/$stage" --recursive --only-show-errors >&2
  aws s3api delete-bucket --bucket "$bucket" >/dev/null 2>&1 ||
    say "    kept: the bucket $bucket, which has other stages' code"
}

load_products() {
  say "==> Loading the sample products"
  "$tools/bin/python" "$infra/load_products.py" "$infra/products.json" "$stack-products"
}

api_url() {
  local url id
  read -r id url < <(aws cloudformation describe-stacks --stack-name "$stack" --output text --query \
    "sort_by(Stacks[0].Outputs[?OutputKey=='ApiId' || OutputKey=='ApiUrl'], &OutputKey)[].OutputValue")
  # A name under localhost resolves on some machines only, so there the emulator's address by path is used.
  case $url in
    *.localhost | *.localhost:*) echo "$AWS_ENDPOINT_URL/_aws/execute-api/$id" ;;
    *) echo "$url" ;;
  esac
}

# smoke_test URL [SECONDS]: that the API answers, from a function of ours and the table behind it.
smoke_test() {
  local answer until=$((SECONDS + ${2:-1}))
  say "==> Asking the API for its products"
  until answer=$(curl -sS --max-time 15 --fail-with-body "$1/products" 2>&1) && [[ $answer != *"Mock response"* ]]; do
    ((SECONDS < until)) || die "GET $1/products failed: $answer"
    sleep 1
  done
}

mail_sender() {
  aws lambda get-function-configuration --function-name "$stack-send_confirmation" \
    --query Environment.Variables.SHOP_MAIL_SENDER --output text
}

warn_of_unverified_sender() {
  local sender identity
  sender=$(mail_sender)
  for identity in "$sender" "${sender#*@}"; do
    if [[ $(aws sesv2 get-email-identity --email-identity "$identity" --query VerifiedForSendingStatus \
      --output text 2>/dev/null) == True ]]; then return; fi
  done
  say "    note: SES has not verified $sender, so confirmations cannot be sent.
          Verify it, or set the parameter MailSender to an address that is verified."
}
