#!/usr/bin/env bash
# Deploys Stepwell to AWS, or brings what is deployed up to date. Prints the API's base URL as its last line.
#
#   infra/deploy.sh --stage NAME [options]
#
#   --stage NAME          which Stepwell, such as dev or prod; it becomes the stack stepwell-NAME
#   --region REGION       where; if not said, what your AWS configuration says
#   --arch ARCH           arm64, cheaper and the default, or x86_64
#   --set NAME=VALUE      a parameter of infra/template.yaml, such as MailSender=orders@example.com; may be repeated.
#                         One that is not set keeps the value it has; NAME= sets it to nothing
#   --sample-data         load the sample products, leaving those that are there as they are
#   --yes                 do not ask
#
# Your AWS credentials are taken from where every AWS tool takes them: AWS_PROFILE, AWS_ACCESS_KEY_ID, ...

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

arch=arm64 region='' yes='' sample_data='' given_stage='' settings=()
while (($#)); do
  case $1 in
    --stage | --region | --arch | --set) (($# > 1)) || die "$1 needs a value. See infra/deploy.sh --help" ;;&
    --stage) given_stage=$2 && shift 2 ;;
    --region) region=$2 && shift 2 ;;
    --arch) arch=$2 && shift 2 ;;
    --set) settings+=("$2") && shift 2 ;;
    --sample-data) sample_data=yes && shift ;;
    --yes) yes=yes && shift ;;
    -h | --help) usage && exit ;;
    *) die "there is no option '$1'. See infra/deploy.sh --help" ;;
  esac
done
[[ -n $given_stage ]] || die "say which stage: infra/deploy.sh --stage NAME"
use_stage "$given_stage"
[[ $arch == arm64 || $arch == x86_64 ]] || die "--arch is arm64 or x86_64, not '$arch'"
for setting in "${settings[@]}"; do
  [[ $setting =~ ^[A-Za-z]+= ]] || die "--set wants NAME=VALUE, not '$setting'"
done

need_tools
need_account "$region"
need_target "$arch"

existing=$(stack_status)
if [[ -z $existing ]]; then
  left=$(tables_left)
  # CloudFormation would fail on the first of them, and roll everything back.
  [[ -z $left ]] || die "there is no stack $stack, but these tables of an earlier one were kept:
$left
Choose another stage, or delete them and all that is in them: infra/destroy.sh --stage $stage --delete-tables"
fi

say "This will $([[ -n $existing ]] && echo update || echo create) in AWS:
  account       $account, as $caller
  region        $AWS_REGION
  stack         $stack${existing:+, now $existing}
  functions     ${#functions[@]}, for $arch
  parameters    ${settings[*]:-as they are}
  sample data   ${sample_data:-no}"
[[ -n $yes ]] || confirm "Go ahead?"

build_for_lambda "$arch"
package "$repo/.local/$stack"
deploy "$repo/.local/$stack" "$arch" "${settings[@]}"
[[ -z $sample_data ]] || load_products

# A new role's rights take some seconds to be known everywhere in AWS.
url=$(api_url)
smoke_test "$url" 60
warn_of_unverified_sender
say "==> $stack is deployed. Its logs:
      AWS_DEFAULT_REGION=$AWS_REGION .local/tools/bin/python infra/logs.py $stack --follow"
echo "$url"
