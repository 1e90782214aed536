# The usual verbs; meson and ninja do the work. `make help` lists them.
BUILD ?= build
DATA ?= .irori
LISTEN ?= 127.0.0.1:9000
VENV ?= .venv
S ?= 60
LONG ?= 0
export PYTHONDONTWRITEBYTECODE = 1

.PHONY: all help packages up down test unit e2e asan fuzz bench vm-test lint install clean

all: packages $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@BUILD=$(BUILD) tools/compile-clients.sh

help:
	@echo 'make          build into build/ (installs missing packages when run as root)'
	@echo 'make up       build, start Irori on $(LISTEN), deploy the example, call it twice (SDK=no: without the AWS SDKs)'
	@echo 'make down     stop it'
	@echo 'make test     unit, fuzz corpora and end-to-end tests (as root; LONG=1: also those that take minutes)'
	@echo 'make asan     the same with address and undefined behaviour sanitizers'
	@echo 'make fuzz     run every fuzz target for S=60 seconds (T=name for one)'
	@echo 'make bench    measure; table on the terminal, JSON in build/bench/'
	@echo 'make vm-test  sandbox tests on the kernel of Debian with cgroup v2, in a virtual machine'
	@echo 'make lint     formatting, static analysis, spelling'
	@echo 'make install  install under /usr/local (DESTDIR and PREFIX are honoured)'

packages:
	@tools/packages.sh build run

$(BUILD)/build.ninja:
	@meson setup $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }; mv $(BUILD).log $(BUILD)/setup.log

up:
	@DATA=$(DATA) LISTEN=$(LISTEN) BUILD=$(BUILD) tools/up.sh

down:
	@DATA=$(DATA) tools/down.sh

test:
	@BUILD=$(BUILD) VENV=$(VENV) IRORI_LONG=$(LONG) tools/test.sh

unit: all
	@meson test -C $(BUILD) --print-errorlogs

asan:
	@BUILD=build-asan VENV=$(VENV) IRORI_LONG=$(LONG) tools/asan.sh

fuzz:
	@T=$(T) S=$(S) tools/fuzz.sh

bench: all
	@BUILD=$(BUILD) tools/bench.sh

vm-test: all
	@tools/venv.sh $(VENV)
	@BUILD=$(BUILD) tools/vm-test.sh

lint:
	@tools/lint.sh

install: all
	@meson install -C $(BUILD)

clean:
	@rm -rf build build-* $(VENV)
