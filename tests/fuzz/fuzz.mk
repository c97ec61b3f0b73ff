# Builds the fuzz targets in the folder where it is run, apart from configure:
# everything is compiled anew for libFuzzer, ASan and UBSan, and nothing else
# of the tree is touched.
#
#   make -f .../tests/fuzz/fuzz.mk TOP=.../ [DEPS=.../.deps]

CC = clang
DEPS = $(TOP)/.deps
PKGS = libxml-2.0 yaml-0.1 libsodium nettle jansson

vpath %.c $(TOP)

TARGETS = $(patsubst $(TOP)/tests/fuzz/%.c,%,$(wildcard $(TOP)/tests/fuzz/fuzz_*.c))
LAYERS = base sandbox conf shm s3 creds fuse http workers
# (workers/ has rooms below it)
SOURCES = $(patsubst $(TOP)/%,%,$(wildcard $(LAYERS:%=$(TOP)/%/*.c) $(TOP)/workers/*/*.c \
	$(TOP)/daemon/driver_message.c))
SAN = -fsanitize=address,undefined -fno-sanitize-recover=undefined
CFLAGS = -g -O1 -fno-omit-frame-pointer $(SAN) -fsanitize=fuzzer-no-link
WARN = -std=gnu11 -Wall -Wextra -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wformat=2 -Wvla -Werror
VERSION := $(shell sed -n 's/^AC_INIT(\[stateproxy\], \[\(.*\)\])$$/\1/p' $(TOP)/configure.ac)
CPPFLAGS := -D_GNU_SOURCE -DPACKAGE_VERSION='"$(VERSION)"' -iquote $(TOP) -DCURL_STATICLIB \
	-isystem $(DEPS)/include $(shell pkg-config --cflags $(PKGS))
LIBS := -L$(DEPS)/lib $(shell cat $(DEPS)/libs) \
	$(shell pkg-config --libs $(PKGS)) -pthread

all: $(TARGETS)

# (what a target does not call is left out by the linker)
libfuzzed.a: $(SOURCES:.c=.o)
	rm -f $@
	ar rcs $@ $^

HELPERS = tests/fuzz/responder.o tests/fuzz/toy_s3.o

fuzz_%: tests/fuzz/fuzz_%.o $(HELPERS) libfuzzed.a
	$(CC) -o $@ $(CFLAGS) -fsanitize=fuzzer $^ $(LIBS)

%.o: %.c
	@mkdir -p $(@D)
	$(CC) -c -MMD -o $@ $(CPPFLAGS) $(WARN) $(CFLAGS) $<

.PHONY: all
.SECONDARY:
-include $(SOURCES:.c=.d) $(TARGETS:%=tests/fuzz/%.d) $(HELPERS:.o=.d)
