# What the scripts of this folder share. Source it; it runs nothing by itself.
# shellcheck shell=bash

((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] >= 404)) || {
  echo "$0 needs bash 4.4 or newer, and this is $BASH_VERSION. On macOS: brew install bash" >&2
  exit 1
}

# Without it `set -e` is off inside $(...), and a command that fails there in the middle goes unnoticed.
shopt -s inherit_errexit

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
infra=$repo/infra
tools=$repo/.local/tools

# The functions, by the names that they are deployed under, without stepwell-STAGE-; the package of each, which is its
# binary's name as well; and the template's parameter for its code. `stepwell render` writes the list.
functions=()
declare -A package_of=() parameter_of=()
while read -r name package parameter; do
  [[ $name != \#* ]] || continue
  functions+=("$name")
  package_of[$name]=$package parameter_of[$name]=$parameter
done <"$infra/functions.txt"
unset name package parameter

# A line for each function: its name, its package.
list_functions() {
  local name
  for name in "${functions[@]}"; do echo "$name ${package_of[$name]}"; done
}

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
# done, and of the phase before it how long that took. `end_phases` ends the last.
phase='' phase_began=0 phases=''
begin() {
  end_phases
  phase=$1 phase_began=$SECONDS
  [[ -z ${2:-} ]] || say "==> $2"
}

end_phases() {
  [[ -n $phase ]] || return 0
  say "    $phase: $((SECONDS - phase_began)) s"
  phases+="${phases:+, }$phase $((SECONDS - phase_began)) s"
  phase=
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

# need COMMAND PACKAGE: the command, from the Debian package if it is missing and we may install it.
need() {
  command -v "$1" >/dev/null || install_packages "$2" || die "$1 is missing. $(how_to_install "$2")"
}

# We may as root, and with sudo where STEPWELL_INSTALL=1 says so; it may then ask for a password.
install_packages() {
  local as_root=()
  command -v apt-get >/dev/null || return 1
  if ((EUID != 0)); then
    [[ ${STEPWELL_INSTALL:-} == 1 ]] || return 1
    as_root=(sudo)
  fi
  begin install "Installing $* with apt-get"
  "${as_root[@]}" apt-get update -qq >&2 &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >&2
}

how_to_install() {
  if command -v apt-get >/dev/null; then
    printf '%s\n' "Install it:
  sudo apt-get install $*
or set STEPWELL_INSTALL=1, and the scripts do so with sudo."
  elif [[ $(uname -s) == Darwin && $1 == build-essential ]]; then
    echo "Install it: xcode-select --install"
  else
    echo "Install what Debian calls $*, and run this again."
  fi
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
    lock 8 "another script to install the tools"
    [[ $(wanted_tools) != "$(cat "$tools/installed" 2>/dev/null)" ]] || exit 0
    begin "Python tools" "Installing the tools of infra/requirements.txt into .local/tools; a minute or two"
    # Without python3-venv Debian's python3 makes the environment and then fails to put pip into it.
    python3 -m venv --clear "$tools" >/dev/null 2>&1 ||
      { install_packages python3-venv && python3 -m venv --clear "$tools" >&2; } ||
      die "python3 cannot make a virtual environment. $(how_to_install python3-venv)"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement "$infra/requirements.txt" >&2 ||
      die "the tools could not be installed, see above"
    wanted_tools >"$tools/installed"
    end_phases
  ) 8>"$repo/.local/tools.lock"
}

# lock FD WHAT: waits for WHAT, until nobody else holds the lock on the file that is open as FD. As long as that is open, it
# is ours. Not by flock(1), which macOS lacks.
lock() {
  local take='import fcntl, sys; fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX | int(sys.argv[2]) * fcntl.LOCK_NB)'
  python3 -c "$take" "$1" 1 2>/dev/null && return
  say "==> Waiting for $2"
  python3 -c "$take" "$1" 0
}

# awscli 1 leaves AWS_ENDPOINT_URL out of account for some services, SQS among them, so it is always said.
aws() { "$tools/bin/aws" ${AWS_ENDPOINT_URL:+--endpoint-url "$AWS_ENDPOINT_URL"} "$@"; }

# ask ABSENT COMMAND...: sets $answer to what the AWS command prints. Returns 1 where it failed with an error that the
# regular expression ABSENT matches, none if that is empty, and ends the script on every other failure: whoever is throttled, lacks a right or
# has no network does not know whether a thing exists, and must neither make nor delete anything.
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
  error=$(<"$errors")
  rm -f "$errors"
  answer=
  [[ -z $absent || ! $error =~ $absent ]] || return 1
  die "aws $1 $2 failed, and without its answer nothing more is done:
${error#$'\n'}
See that AWS can be reached and that ${caller:-the caller} may make this call. Then run this again."
}

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
  # shellcheck disable=SC2034 # $caller is for the scripts to show
  read -r account caller <<<"$identity"
}

# This machine's, in Lambda's words.
architecture() { if [[ $(uname -m) == a*64 ]]; then echo arm64; else echo x86_64; fi; }

# need_target arm64|x86_64: that this Rust can build for it.
need_target() {
  local target=x86_64-unknown-linux-gnu installed
  [[ $1 == x86_64 ]] || target=aarch64-unknown-linux-gnu
  if ! command -v rustup >/dev/null; then return; fi
  installed=$(cd "$repo" && rustup target list --installed) || die "rustup does not work, see above"
  grep -qx "$target" <<<"$installed" ||
    die "Rust cannot build for $1 yet. Run: rustup target add $target"
}

# ---- The command stepwell --------------------------------------------------------------------------------------------

target=${CARGO_TARGET_DIR:-$repo/target}

# stepwell ARGUMENT...: built for the whole workspace, so that cargo chooses the features of all other builds; for its
# package alone the engine and what that is built from would be compiled once more.
stepwell() (
  cd "$repo" || exit
  cargo build --workspace --features lambda --bin=stepwell >&2 9>&- && "$target/debug/stepwell" "$@" 9>&-
)

# ---- Check -----------------------------------------------------------------------------------------------------------

# That workflows, steps, settings, template and events fit together, before minutes are spent on a build.
check_project() {
  begin check "Checking the workflows and all that has to fit to them"
  stepwell check >&2 ||
    die "the workflows and what belongs to them do not fit together, see above"
}

# ---- Build and package -----------------------------------------------------------------------------------------------

# Each leaves every function's binary at $binaries/PACKAGE, or $binaries/PACKAGE/bootstrap. Without the feature `lambda`
# there is nothing but the libraries.

# build_for_this_machine fast|release|crash-points FOLDER: for the local stack. `release` is what is deployed. The others
# are stripped into FOLDER, which makes packages small, and they are built for the whole workspace, although the programs
# are named: that way cargo chooses the features of the tests' builds, and compiles no crate for both.
build_for_this_machine() {
  local features=lambda package
  case $1 in
    release)
      begin build "Building ${#functions[@]} functions as they are deployed; the first time ten minutes on two cores"
      (cd "$repo" && cargo build --release --features lambda "${package_of[@]/#/--package=}" >&2 9>&-) ||
        die "the build failed, see above"
      binaries=$target/release
      return
      ;;
    crash-points) features+=,stepwell_aws/crash-points ;;
  esac
  begin build "Building ${#functions[@]} functions, the $1 build; the first time three minutes on two cores"
  (cd "$repo" && cargo build --workspace --features "$features" "${package_of[@]/#/--bin=}" >&2 9>&-) ||
    die "the build failed, see above"
  binaries=$2/$1
  mkdir -p "$binaries"
  for package in "${package_of[@]}"; do
    strip_changed "$target/debug/$package" "$binaries/$package"
  done
}

# strip_changed BINARY STRIPPED: the time of BINARY is kept, and says whether it is still the same.
strip_changed() {
  if [[ -f $2 && ! $1 -nt $2 && ! $1 -ot $2 ]]; then return; fi
  { strip -o "$2" "$1" && touch -r "$1" "$2"; } || die "$1 could not be stripped, see above"
}

# build_for_lambda arm64|x86_64: against the C library that Lambda has, which may be older than this machine's.
build_for_lambda() {
  local flag=--x86-64
  [[ $1 == x86_64 ]] || flag=--arm64
  begin build "Building ${#functions[@]} functions for Lambda on $1; the first time ten minutes on two cores"
  (cd "$repo" && PATH=$tools/bin:$PATH cargo lambda build --release "$flag" --features lambda \
    "${package_of[@]/#/--package=}" >&2 9>&-) ||
    die "the build failed, see above"
  binaries=$target/lambda
}

# package FOLDER [--fast]: the zips in it, as small as can be or as quickly; and in FOLDER/functions a line for each: name,
# key, hash.
package() {
  local name pairs=()
  begin package "Packaging what has changed of ${#functions[@]} functions"
  for name in "${functions[@]}"; do
    local binary=$binaries/${package_of[$name]}
    [[ ! -d $binary ]] || binary+=/bootstrap
    pairs+=("$name=$binary")
  done
  mkdir -p "$1"
  "$tools/bin/python" "$infra/package.py" "${@:2}" "$1" "${pairs[@]}" >"$1/functions" ||
    die "the functions could not be packaged, see above"
}

# ---- The stack -------------------------------------------------------------------------------------------------------

tables=(tasks products payments reservations orders)

# Sets $bucket to the bucket with the functions' zips, or to nothing if it is yet to be made.
#
# Its name ends in a random part. A name that can be guessed can be taken by somebody else, who lets us write to it and
# exchanges the code before Lambda reads it. The bucket is found again among our own, which are all that list-buckets
# shows; and every call says whose it has to be, should it be deleted and taken by another in between.
look_up_bucket() {
  local prefix name
  [[ -n $account ]] ||
    account=$(aws sts get-caller-identity --query Account --output text) || die "AWS does not say who you are, see above"
  prefix=stepwell-code-$account-$AWS_REGION-
  bucket=
  ask '' s3api list-buckets --prefix "$prefix" --query 'Buckets[].[Name]' --output text
  for name in $answer; do
    # Should two deployments have made one each at the same time, everybody takes the same.
    [[ ! $name =~ ^"$prefix"[0-9a-f]{12}$ || (-n $bucket && $bucket < $name) ]] || bucket=$name
  done
  [[ -z $bucket ]] ||
    ask '\((403|AccessDenied)\)' s3api head-bucket --bucket "$bucket" --expected-bucket-owner "$account" ||
    die "the bucket $bucket does not belong to the account $account, or these credentials may not use it.
No code is taken from it or put into it. If it is yours, allow s3:ListBucket; else see who has made it."
}

make_bucket() {
  local location=()
  bucket=stepwell-code-$account-$AWS_REGION-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')
  say "==> Making the bucket $bucket"
  [[ $AWS_REGION == us-east-1 ]] || location=(--create-bucket-configuration "LocationConstraint=$AWS_REGION")
  aws s3api create-bucket --bucket "$bucket" "${location[@]}" >/dev/null || die "the bucket was not made, see above"
}

# The lines of a folder's `functions` that are known to be in the bucket as they should be, so that nobody has to ask. Only a
# local stack knows any: nobody else writes to its bucket.
known_code=

# upload CODE: the zips in the folder CODE, into $bucket. They are kept apart by stage, so that one stage can be taken
# down without the others. A key carries a hash of the zip, and S3 keeps the SHA-256 of what is really stored under it:
# where the two do not agree, the object is replaced. So there is nothing that versions of it would be good for.
upload() {
  local code=$1 owned name key hash
  look_up_bucket
  [[ -n $bucket ]] || make_bucket
  owned=(--bucket "$bucket" --expected-bucket-owner "$account")
  # Each time, in case that somebody has loosened it.
  aws s3api put-public-access-block "${owned[@]}" --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true ||
    die "the bucket $bucket could not be closed to the public, see above"
  aws s3api put-bucket-encryption "${owned[@]}" --server-side-encryption-configuration \
    '{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}' ||
    die "the encryption of the bucket $bucket could not be set, see above"
  # `aws s3 sync` would be one call, but knows neither an expected owner nor checksums.
  while read -r name key hash; do
    [[ $known_code != *"$name $key $hash"* ]] || continue
    if ask '\(404\)' s3api head-object "${owned[@]}" --key "$stage/$key" --checksum-mode ENABLED \
      --query ChecksumSHA256 --output text && [[ $answer == "$hash" ]]; then continue; fi
    say "==> Uploading $name"
    aws s3api put-object "${owned[@]}" --key "$stage/$key" --body "$code/$key" \
      --checksum-algorithm SHA256 --checksum-sha256 "$hash" >/dev/null ||
      die "$code/$key could not be uploaded to $bucket, see above"
  done <"$code/functions"
}

# deploy CODE ARCHITECTURE [NAME=VALUE]...: the template's stack, with the zips in the folder CODE.
deploy() {
  local code=$1 name key hash parameters
  upload "$code"
  parameters=("Stage=$stage" "CodeBucket=$bucket" "Architecture=$2" "${@:3}")
  while read -r name key hash; do
    parameters+=("${parameter_of[$name]}=$stage/$key")
  done <"$code/functions"

  say "==> Deploying $stack"
  deploy_template "${parameters[@]}"
  check_code "$code"
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

# That each function runs the code just uploaded. An emulator may deploy a function without any, and answer for it.
check_code() {
  local name key hash deployed
  deployed=$(aws lambda list-functions --output text --query \
    "Functions[?starts_with(FunctionName, '$stack-')].[FunctionName, CodeSha256]") ||
    die "Lambda does not say what the functions run, see above"
  while read -r name key hash; do
    grep -qxF "$stack-$name"$'\t'"$hash" <<<"$deployed" ||
      die "the function $stack-$name does not run the code that was uploaded for it, $key"
  done <"$1/functions"
}

no_such_stack='\(ValidationError\).*does not exist'

# Sets $stack_status, to nothing where there is no such stack, and $terminable to whether it may be deleted as it is.
look_up_stack() {
  local protected
  stack_status='' terminable=yes
  ask "$no_such_stack" cloudformation describe-stacks --stack-name "$stack" --output text \
    --query 'Stacks[0].[StackStatus, EnableTerminationProtection]' || return 0
  read -r stack_status protected <<<"$answer"
  [[ -n $stack_status ]] || die "CloudFormation does not say in which state the stack $stack is"
  # shellcheck disable=SC2034 # $terminable is for infra/destroy.sh
  [[ $protected != True ]] || terminable=no
}

delete_stack() {
  say "==> Deleting the stack $stack"
  aws cloudformation delete-stack --stack-name "$stack" || die "the stack $stack was not deleted, see above"
  aws cloudformation wait stack-delete-complete --stack-name "$stack" ||
    die "the stack $stack was not deleted. Its events say why:
  aws cloudformation describe-stack-events --stack-name $stack"
}

# A stack whose first deployment failed holds nothing and cannot be updated, only deleted.
delete_failed_stack() {
  look_up_stack
  [[ $stack_status != ROLLBACK_COMPLETE ]] || delete_stack
}

# Sets $left to the stack's tables that exist, with or without the stack; and of each, $items to how many items DynamoDB
# has counted in it, some hours ago, and $protected to whether it may not be deleted.
# shellcheck disable=SC2034 # $items is for infra/destroy.sh
declare -A items protected
look_up_tables() {
  local table
  left=()
  for table in "${tables[@]/#/$stack-}"; do
    ask '\(ResourceNotFoundException\)' dynamodb describe-table --table-name "$table" --output text \
      --query 'Table.[ItemCount, DeletionProtectionEnabled]' || continue
    left+=("$table")
    read -r "items[$table]" "protected[$table]" <<<"$answer"
  done
}

# The tables of a stack that is gone, and of no other: this is asked again, whatever was known a moment ago.
delete_tables() {
  local table
  look_up_stack
  [[ -z $stack_status ]] || die "the stack $stack is still there, $stack_status, so its tables are not deleted"
  look_up_tables
  for table in "${left[@]}"; do
    say "==> Deleting the table $table"
    if [[ ${protected[$table]} == True ]]; then
      aws dynamodb update-table --table-name "$table" --no-deletion-protection-enabled >/dev/null ||
        die "the deletion protection of the table $table could not be taken off, see above"
      # Until it is ACTIVE again, and can be deleted.
      aws dynamodb wait table-exists --table-name "$table" || die "the table $table is not ready to be deleted, see above"
    fi
    aws dynamodb delete-table --table-name "$table" >/dev/null || die "the table $table was not deleted, see above"
  done
}

# The stage's zips, and the bucket if no other stage has any in it.
delete_code() {
  local owned objects refused
  look_up_bucket
  [[ -n $bucket ]] || return 0
  owned=(--bucket "$bucket" --expected-bucket-owner "$account")
  say "==> Deleting the code of $stage"
  # A page of at most 1,000 at a time, as many as can be deleted at once.
  # shellcheck disable=SC2016 # the query is JMESPath
  while
    ask '' s3api list-objects-v2 "${owned[@]}" --prefix "$stage/" --no-paginate --output json \
      --query 'Contents && {Objects: Contents[].{Key: Key}, Quiet: `true`}'
    objects=$answer
    [[ $objects != null ]]
  do
    refused=$(aws s3api delete-objects "${owned[@]}" --delete "$objects" --query 'Errors[0].Message' --output text) ||
      die "the code of $stage was not deleted, see above"
    [[ $refused == None ]] || die "the code of $stage was not deleted: $refused"
  done
  ask '\(BucketNotEmpty\)' s3api delete-bucket "${owned[@]}" ||
    say "    kept: the bucket $bucket, which is not empty: other stages have code in it"
}

load_products() {
  say "==> Loading the sample products"
  "$tools/bin/python" "$infra/load_products.py" "$infra/products.json" "$stack-products"
}

# Sets $url to the API's base URL, to nothing where there is no such stack.
look_up_url() {
  local id
  url=
  ask "$no_such_stack" cloudformation describe-stacks --stack-name "$stack" --output text --query \
    "sort_by(Stacks[0].Outputs[?OutputKey=='ApiId' || OutputKey=='ApiUrl'], &OutputKey)[].OutputValue" || return 0
  read -r id url <<<"$answer"
  # A name under localhost resolves on some machines only, so there the emulator's address by path is used.
  case $url in
    *.localhost | *.localhost:*) url=$AWS_ENDPOINT_URL/_aws/execute-api/$id ;;
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
  aws lambda get-function-configuration --function-name "$stack-checkout_api" \
    --query Environment.Variables.SHOP_MAIL_SENDER --output text
}

# It is a hint and no more, so that a question without an answer does not end what has been deployed by now.
warn_of_unverified_sender() {
  local sender identity said unknown=
  sender=$(mail_sender) || die "Lambda does not say which address confirmations are sent from, see above"
  for identity in "$sender" "${sender#*@}"; do
    said=$(aws sesv2 get-email-identity --email-identity "$identity" --query VerifiedForSendingStatus \
      --output text 2>&1) || [[ $said == *'(NotFoundException)'* ]] || unknown=$said
    [[ $said != True ]] || return 0
  done
  if [[ -n $unknown ]]; then
    say "    note: it is not known whether SES has verified $sender, which confirmations need: ${unknown#$'\n'}"
  else
    say "    note: SES has not verified $sender, so confirmations cannot be sent.
          Verify it, or set the parameter MailSender to an address that is verified."
  fi
}
