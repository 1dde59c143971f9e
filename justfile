# The commands that a person types. Each is one call, so it works without `just` as well. `just` alone lists them.

export CARGO_TERM_COLOR := "always"

[private]
default:
    @just --list --unsorted

# The smallest example: two steps and a compensation in memory
hello:
    cargo run -p stepwell --features testing --example hello

# Take six checkouts through a shop in one process, step by step
demo:
    infra/demo.sh

# Run the shop in one process, on ports of this machine
serve:
    cargo run --package checkout_local --bin checkout_local -- serve

# Run the shop in one process, rebuilt and replaced after each change of a source
dev:
    cargo stepwell dev

# Start the local stack and take six checkouts through it, step by step
demo-lambda:
    infra/demo.sh --lambda

# Start the local stack, or bring it up to date
up:
    infra/local.sh up

# Stop the local stack; what was in it is gone
down:
    infra/local.sh down

# Some parts of the tests, or everything: just test lint unit
test *parts:
    tests/run.sh {{ parts }}

# What is worth waiting for before each commit
quick:
    tests/run.sh quick

# Formatting, clippy, documentation, scripts, the template
lint:
    tests/run.sh lint

# Format everything
fmt:
    cargo fmt --all

# The engine's documentation, in a browser
doc:
    cargo doc -p stepwell --features testing --no-deps --open

# Hold workflow, steps, settings, template and events against each other
check:
    cargo stepwell check

# Render the template and what else follows from the workflow
render:
    cargo stepwell render
