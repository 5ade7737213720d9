# The ways into this repository. Each target is one script or one cargo command; `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo build test kafka chaos fuzz soak bench lint deny ci

# Options for the demo, e.g. make demo DEMO_ARGS='--exit --count 1000 --json'
DEMO_ARGS ?=
# Options for cargo test, e.g. make test TEST_ARGS='--test it'
TEST_ARGS ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' $(MAKEFILE_LIST) | expand -t 8

demo: build ## build the release binary and run the demo: Kafka, receiver and bridge in one terminal
	"$(TARGET)/release/setbridge" demo $(DEMO_ARGS)

build: ## install what is missing and build the release binary
	scripts/setup.sh
	scripts/crypto_mb.sh
	cargo build --release --locked --bin setbridge

test: ## run every test; on Apache Kafka too where it can be had
	scripts/test.sh $(TEST_ARGS)

kafka: ## fetch Apache Kafka for the tests into target/kafka (Java, Maven)
	KAFKA_VERSION="$(KAFKA_VERSION)" scripts/kafka.sh

chaos: ## prove the promises under faults: SEED= MINUTES= RECORDS= STATE= PROTOCOL=; leaves target/chaos/summary.json
	SEED="$(SEED)" MINUTES="$(MINUTES)" RECORDS="$(RECORDS)" STATE="$(STATE)" PROTOCOL="$(PROTOCOL)" scripts/chaos.sh

fuzz: ## feed random input to what reads foreign bytes: SECONDS= for each target; a crash fails it
	scripts/fuzz.sh "$(or $(SECONDS),60)" $(FUZZ_TARGETS)

soak: ## a bridge under load and faults for MINUTES= at RATE= a second, STATE=redis or SQLite: everything stays flat
	MINUTES="$(MINUTES)" RATE="$(RATE)" STATE="$(STATE)" scripts/soak.sh

bench: ## measure the whole path against openssl speed; leaves target/bench/summary.json
	scripts/setup.sh
	scripts/crypto_mb.sh
	scripts/bench.sh

lint: ## format, clippy and documentation, with warnings as errors; then deny
	scripts/setup.sh
	scripts/lint.sh

deny: ## licences, bans, sources and, where reachable, advisories of the dependencies
	scripts/deny.sh

ci: ## what CI runs
	.ci/run
