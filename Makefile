# `make run` and `make test` set up everything they need; the other targets are for those who change the code.

CARGO ?= cargo
COMPILER = cc=gcc make=make
SERVERS = docker-registry=docker-registry skopeo=skopeo etcd=etcd-server htpasswd=apache2-utils openssl=openssl kubectl=kubernetes-client
NEXTEST := $(shell command -v cargo-nextest 2>/dev/null)

.PHONY: run test conformance schemathesis bench bench-api bench-follow bench-import bench-store fmt lint fuzz-check help

help:            ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

run:             ## build, start the server and a sample registry, preview and import images, leave the server running
	@scripts/need $(COMPILER) protoc=protobuf-compiler curl=curl
	$(CARGO) build --locked --package imagestream --package imagestream-testkit --bins
	@scripts/demo target/debug

test:            ## all tests, against real registries and etcd servers
	@scripts/need $(COMPILER) protoc=protobuf-compiler $(SERVERS)
	$(CARGO) build --locked --workspace --bins
ifdef NEXTEST
	IMAGESTREAM_REQUIRE_TOOLS=1 $(CARGO) nextest run --locked --workspace --no-fail-fast
else
	IMAGESTREAM_REQUIRE_TOOLS=1 $(CARGO) test --locked --workspace --all-targets --no-fail-fast
endif
	$(CARGO) test --locked --workspace --doc --quiet

conformance:     ## replay recorded answers, where IMAGESTREAM_CONFORMANCE_DIR names the recordings
ifdef IMAGESTREAM_CONFORMANCE_DIR
	@scripts/need $(COMPILER) protoc=protobuf-compiler python3=python3 $(SERVERS)
	@python3 -c 'import yaml' 2>/dev/null || scripts/need python3-yaml=python3-yaml
	$(CARGO) build --locked --package imagestream --bins
endif
	@scripts/conformance $(CURDIR)/target/debug/imagestream

schemathesis:    ## send requests made of the OpenAPI document, and look for answers that say the server failed (minutes)
	@scripts/need $(COMPILER) protoc=protobuf-compiler python3=python3
	$(CARGO) build --locked --package imagestream --bins
	scripts/schemathesis $(CURDIR)/target/debug/imagestream

bench: bench-import bench-store bench-api bench-follow  ## all benchmarks

bench-import:    ## an import beside a loop of skopeo and the floor of three round trips
	@scripts/need $(COMPILER) protoc=protobuf-compiler skopeo=skopeo
	$(CARGO) build --locked --release --package imagestream --package imagestream-bench --bins
	target/release/bench-import

bench-store:     ## the store beside etcd on the same disk
	@scripts/need $(COMPILER) protoc=protobuf-compiler etcd=etcd-server
	$(CARGO) build --locked --release --package imagestream-bench --bins
	target/release/bench-store

bench-api:       ## the server as its clients see it: start, memory, reads, writes, watches, imports
	@scripts/need $(COMPILER) protoc=protobuf-compiler
	$(CARGO) build --locked --release --package imagestream --package imagestream-bench --bins
	target/release/bench-api

bench-follow:    ## how many scheduled tags a server can look at in a second, and their memory
	@scripts/need $(COMPILER) protoc=protobuf-compiler
	$(CARGO) build --locked --release --package imagestream --package imagestream-bench --bins
	target/release/bench-follow

fmt:             ## format the code
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml

lint:            ## what CI demands of the code before it is tested
	@scripts/need $(COMPILER) protoc=protobuf-compiler
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

fuzz-check:      ## the fuzz targets compile
	@scripts/need $(COMPILER)
	CARGO_TARGET_DIR=target/fuzz $(CARGO) check --locked --manifest-path fuzz/Cargo.toml
