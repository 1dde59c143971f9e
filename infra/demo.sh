#!/usr/bin/env bash
# Takes six checkouts through Stepwell and shows every step of them as it happens.
#
#   infra/demo.sh              on the local stack, which is started first; --install is for that, see infra/local.sh
#   infra/demo.sh --api URL    on the stack with this base URL, wherever it runs; without the last, which takes an operator
#
# It says what became of each checkout, and fails if one of them went otherwise than it should.

set -euo pipefail
# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

case ${1:-} in
  -h | --help) usage && exit ;;
  --api)
    [[ ${2:-} =~ ^https?://[^/]+ ]] || die "--api takes a URL such as http://127.0.0.1:4566/..., not '${2:-}'"
    set -- "$2"
    ;;
  '')
    api=$("$infra/local.sh" up) || exit
    set -- "$api" "$infra/tasks.sh"
    ;;
  *) die "there is no option '$1'. See infra/demo.sh --help" ;;
esac
exec python3 -Bu "$infra/demo.py" "$@"
