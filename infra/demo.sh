#!/usr/bin/env bash
# Takes six checkouts through Stepwell and shows every step of them as it happens.
#
#   infra/demo.sh              on the local stack, which is started first
#   infra/demo.sh --api URL    on the stack with this base URL, wherever it runs; without the last, which takes an operator
#
# It says what became of each checkout, and fails if one of them went otherwise than it should.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

api=
while (($# > 0)); do
  case $1 in
    --api)
      api=${2:-}
      [[ $api =~ ^https?://[^/]+ ]] || die "--api takes a URL such as http://127.0.0.1:4566/..., not '$api'"
      shift 2
      ;;
    -h | --help) usage && exit ;;
    *) die "there is no option '$1'. See infra/demo.sh --help" ;;
  esac
done

arguments=("${api%/}")
if [[ -z $api ]]; then
  api=$("$infra/local.sh" up | tail -n 1)
  arguments=("${api%/}" "$infra/tasks.sh")
fi
need python3 python3
export NO_PROXY=${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost
exec python3 -u "$infra/demo.py" "${arguments[@]}"
