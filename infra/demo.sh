#!/usr/bin/env bash
# Takes six checkouts through Stepwell and shows every step of them as it happens.
#
#   infra/demo.sh              in one process on this machine; needs Rust with its linker, and nothing else
#   infra/demo.sh --lambda     on the local stack, which is started first: the functions as they are deployed; --install is for that,
#                              see infra/local.sh
#   infra/demo.sh --api URL    on the stack with this base URL, wherever it runs
#
# It says what became of each checkout, and fails if one of them went otherwise than it should.

set -euo pipefail

if (($# == 0)); then
  exec cargo run --locked --manifest-path "$(dirname "$0")/../Cargo.toml" --package checkout_local --bin checkout_local -- demo
fi

# shellcheck source=infra/lib.sh
source "$(dirname "$0")/lib.sh"

case ${1:-} in
  -h | --help) usage && exit ;;
  --api)
    [[ ${2:-} =~ ^https?://[^/]+ ]] || die "--api takes a URL such as http://127.0.0.1:4566/..., not '${2:-}'"
    (($# == 2)) || die "--api URL takes nothing else, not '$3'"
    need_packages
    stepwell demo --url "$2"
    ;;
  --lambda)
    (($# == 1)) || die "--lambda takes nothing but --install, not '$2'"
    api=$("$infra/local.sh" up) || exit
    stepwell demo --url "$api"
    ;;
  '') die "--install is for --lambda; without it nothing is installed" ;;
  *) die "there is no option '$1'. See infra/demo.sh --help" ;;
esac
